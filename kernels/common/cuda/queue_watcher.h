// SPDX-License-Identifier: Apache-2.0
// QueueWatcher: says when a queue of a GPU has come to a point, from a thread of its own.
//
// A callback in the queue itself would hold it up: whoever waits for the queue then waits until a
// thread of the driver has been woken and has run (160 µs of a decode step of 1.4 ms on an H200).
// Here an event is recorded, and the thread waits for it beside the queue. Points are told in the
// order in which they were asked for, whatever their queues. Thread-safe. The thread is a plain
// one, for kernels know nothing of services/runtime/base/thread.h.
#pragma once

#include <cuda_runtime_api.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace tandem::kernels {

class QueueWatcher {
 public:
  explicit QueueWatcher(int device);
  // Tells what was asked for before.
  ~QueueWatcher();
  QueueWatcher(const QueueWatcher&) = delete;
  QueueWatcher& operator=(const QueueWatcher&) = delete;

  // `done` is called once, when all that `queue` holds now has run or has failed; before this
  // returns if the point cannot be recorded, as the error says.
  cudaError_t Tell(cudaStream_t queue, std::function<void()> done);

 private:
  struct Point {
    cudaEvent_t event;
    std::function<void()> done;
  };
  void Watch();
  cudaError_t TakeEvent(cudaEvent_t* event);

  const int device_;
  std::mutex mutex_;
  std::condition_variable asked_;
  std::deque<Point> points_;         // under mutex_, as what follows
  std::vector<cudaEvent_t> unused_;  // events of points that were told
  bool closed_ = false;
  std::thread thread_;  // last: it uses what stands before
};

}  // namespace tandem::kernels
