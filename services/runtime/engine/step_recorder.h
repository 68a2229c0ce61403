// SPDX-License-Identifier: Apache-2.0
// StepRecorder: which steps can be run again as a whole, and their recordings (CUDA graphs).
//
// Hundreds of small operations cost the host more time to queue than a GPU to run; a recording is
// queued as one. What can be recorded: a decode step, that is, one token of each sequence, all
// drawn; and a prompt's chunk of up to kSmallStep tokens alone in its step, its last token
// drawn or not; nothing penalised or scored. Steps of one key queue the same operations on the same
// addresses, so the key holds everything else. The first step of a key runs plainly, which also
// allocates what its operations need; the second is recorded; from then on it is replayed. Sizes
// are not rounded up: a padded sequence would need a slot, and a padded token a row, that nobody
// uses. A step that cannot be recorded runs plainly. Not thread-safe.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>

#include "kernels/common/backend/backend.h"
#include "services/runtime/model/step.h"
#include "services/runtime/sampling/draws.h"

namespace tandem {

struct StepKey {
  StepShape step;
  Draws::Shape draws;
  int64_t inputs_moves = 0;  // Mirror::moves() of its inputs
  // The pool, and what of a layout differs between two: where its regions lie hangs on it. Another
  // pool may come to the same address, when a decode worker goes and comes back.
  const std::byte* pool = nullptr;
  int pages = 0, slots = 0;

  friend auto operator<=>(const StepKey&, const StepKey&) = default;
};

class StepRecorder {
 public:
  StepRecorder(kernels::Backend& backend, kernels::Stream& stream)
      : backend_(backend), stream_(stream) {}

  // The recording of a step whose operations `queue` queues: made now if the key has come once
  // before. Null: it has none, and runs plainly. Valid until the next call.
  const kernels::Recording* Find(const StepKey& key, const std::function<void()>& queue);
  // Whether the last Find has tried to make one in vain. Then the caller calls GiveUp.
  bool failed() const { return failed_; }
  // Of the step of the last Find, which could not be recorded, here or by another rank. Memory may
  // be what lacked: the first time all recordings go, and it is tried again when the step comes
  // again; the second time this step stays a plain one.
  void GiveUp();

 private:
  struct Recorded {
    std::unique_ptr<kernels::Recording> recording;  // null: has run once
    int failures = 0;
    int64_t asked = 0;  // the number of the last Find
  };
  void ForgetOldest();

  kernels::Backend& backend_;
  kernels::Stream& stream_;
  std::map<StepKey, Recorded> recordings_;
  Recorded* last_ = nullptr;  // that Find was asked for
  int64_t asked_ = 0;
  bool failed_ = false;
  bool told_ = false;  // the log
};

}  // namespace tandem
