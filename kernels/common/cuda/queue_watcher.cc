// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/queue_watcher.h"

#include <utility>

namespace tandem::kernels {

QueueWatcher::QueueWatcher(int device) : device_(device), thread_([this] { Watch(); }) {}

QueueWatcher::~QueueWatcher() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
  }
  asked_.notify_one();
  thread_.join();
  for (cudaEvent_t event : unused_) (void)cudaEventDestroy(event);
}

cudaError_t QueueWatcher::TakeEvent(cudaEvent_t* event) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!unused_.empty()) {
      *event = unused_.back();
      unused_.pop_back();
      return cudaSuccess;
    }
  }
  return cudaEventCreateWithFlags(event, cudaEventDisableTiming);
}

cudaError_t QueueWatcher::Tell(cudaStream_t queue, std::function<void()> done) {
  cudaEvent_t event = nullptr;
  cudaError_t error = TakeEvent(&event);
  if (error == cudaSuccess) error = cudaEventRecord(event, queue);
  if (error != cudaSuccess) {
    done();
    return error;
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    points_.push_back({.event = event, .done = std::move(done)});
  }
  asked_.notify_one();
  return cudaSuccess;
}

void QueueWatcher::Watch() {
  (void)cudaSetDevice(device_);
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    asked_.wait(lock, [this] { return closed_ || !points_.empty(); });
    if (points_.empty()) return;
    Point point = std::move(points_.front());
    points_.pop_front();
    lock.unlock();
    // An error means that the device has failed, which whoever waits for the queue finds out.
    (void)cudaEventSynchronize(point.event);
    point.done();
    lock.lock();
    unused_.push_back(point.event);
  }
}

}  // namespace tandem::kernels
