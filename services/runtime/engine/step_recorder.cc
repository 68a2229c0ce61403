// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/engine/step_recorder.h"

namespace tandem {
namespace {

// 64 batch sizes by a handful of lengths. Past that all begin anew: what is in use comes back.
constexpr size_t kRecordingsMax = 512;

}  // namespace

const kernels::Recording* StepRecorder::Find(const StepKey& key,
                                             const std::function<void()>& queue) {
  const auto it = recordings_.find(key);
  if (it == recordings_.end()) {
    if (recordings_.size() == kRecordingsMax) recordings_.clear();
    recordings_.emplace(key, nullptr);
    return nullptr;
  }
  if (it->second == nullptr) it->second = backend_.Record(queue, stream_);
  return it->second.get();
}

}  // namespace tandem
