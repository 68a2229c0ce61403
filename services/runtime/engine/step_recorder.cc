// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/engine/step_recorder.h"

#include <utility>

#include "services/runtime/base/check.h"
#include "services/runtime/base/log.h"

namespace tandem {
namespace {

// 64 batch sizes by a handful of lengths. Past that all begin anew: what is in use comes back.
constexpr size_t kRecordingsMax = 512;
// Of a step that cannot be recorded.
constexpr int kAttempts = 2;

}  // namespace

const kernels::Recording* StepRecorder::Find(const StepKey& key,
                                             const std::function<void()>& queue) {
  failed_ = false;
  const auto it = recordings_.find(key);
  if (it == recordings_.end()) {
    if (recordings_.size() == kRecordingsMax) recordings_.clear();
    last_ = &recordings_[key];
    return nullptr;
  }
  last_ = &it->second;
  if (last_->recording != nullptr || last_->failures == kAttempts) return last_->recording.get();
  kernels::Recorded made = backend_.Record(queue, stream_);
  last_->recording = std::move(made.recording);
  failed_ = !made.error.empty();
  if (failed_ && !std::exchange(told_, true)) {
    LogWarning("step-not-recorded", {{"device", backend_.Describe()},
                                     {"sequences", key.step.sequences},
                                     {"error", made.error}});
  }
  return last_->recording.get();
}

void StepRecorder::GiveUp() {
  CHECK(last_ != nullptr);
  last_->recording = nullptr;
  if (++last_->failures == kAttempts) return;
  for (auto& [key, recorded] : recordings_) recorded.recording = nullptr;
}

}  // namespace tandem
