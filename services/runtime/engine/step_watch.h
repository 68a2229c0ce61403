// SPDX-License-Identifier: Apache-2.0
// StepWatch: ends the process when a device does not end a step. Nothing else would: a kernel that
// waits for what never comes holds its queue for ever, and with it every sequence, while the
// process goes on answering health checks.
//
// Counts its own looks at a step, not the time: a process that was stopped and goes on is not late.
// Begin and End are for one step at a time, from any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/runtime/base/thread.h"

namespace tandem {

// The longest step is a prompt's: some seconds.
constexpr absl::Duration kStepLimit = absl::Seconds(60);

class StepWatch {
 public:
  // `device` is for the last words.
  StepWatch(std::string device, absl::Duration limit);
  ~StepWatch();

  void Begin() { running_ = ++begun_; }
  void End() { running_ = 0; }

 private:
  void Watch();

  const std::string device_;
  const absl::Duration limit_;
  int64_t begun_ = 0;
  std::atomic<int64_t> running_ = 0;  // its number; 0: none
  absl::Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  Thread thread_;  // last: it uses what stands before
};

}  // namespace tandem
