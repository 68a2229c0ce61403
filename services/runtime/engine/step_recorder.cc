// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/engine/step_recorder.h"

#include <utility>

#include "absl/algorithm/container.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/log.h"

namespace tandem {
namespace {

// 64 batch sizes, or chunks, by a handful of lengths.
constexpr size_t kRecordingsMax = 512;
// Of a step that cannot be recorded.
constexpr int kAttempts = 2;

}  // namespace

const kernels::Recording* StepRecorder::Find(const StepKey& key,
                                             const std::function<void()>& queue) {
  failed_ = false;
  const auto it = recordings_.find(key);
  if (it == recordings_.end()) {
    if (recordings_.size() == kRecordingsMax) ForgetOldest();
    last_ = &recordings_[key];
    last_->asked = ++asked_;
    return nullptr;
  }
  last_ = &it->second;
  last_->asked = ++asked_;
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

void StepRecorder::ForgetOldest() {
  recordings_.erase(absl::c_min_element(
      recordings_, [](const auto& a, const auto& b) { return a.second.asked < b.second.asked; }));
}

void StepRecorder::GiveUp() {
  CHECK(last_ != nullptr);
  last_->recording = nullptr;
  if (++last_->failures == kAttempts) return;
  for (auto& [key, recorded] : recordings_) recorded.recording = nullptr;
}

}  // namespace tandem
