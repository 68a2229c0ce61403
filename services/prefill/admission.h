// SPDX-License-Identifier: Apache-2.0
// Admission: whether a prefill worker takes a prompt, by its limits, by what waits there already
// and by the prompt itself. Not thread-safe.
#pragma once

#include <algorithm>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/prefill/queue_wait.h"
#include "services/runtime/scheduler/prefill_scheduler.h"
#include "tandem/v1/worker.pb.h"

namespace tandem {

struct AdmissionLimits {
  int requests_max = 256;
  int64_t context_tokens_max = 0;
  uint32_t vocab_size = 0;
  int chunk_tokens = 256;
  absl::Duration queue_wait_max = absl::InfiniteDuration();
};

class Admission {
 public:
  explicit Admission(const AdmissionLimits& limits) : limits_(limits), wait_(limits.chunk_tokens) {}

  void OnStep(int tokens, absl::Duration took) { wait_.OnStep(tokens, took); }

  struct Queue {
    int prompts = 0;
    int64_t tokens = 0;             // that are not read yet
    int64_t tokens_of_shorter = 0;  // of them, of prompts that have no more left than this one
  };
  // Tokens that are read before it, at the most, if nobody else comes: its turn is due when all
  // that came before is read, or when all that is as short is, to which a part of each step goes.
  static int64_t TokensAhead(const Queue& queue) {
    return std::min(queue.tokens, PrefillScheduler::kShare * queue.tokens_of_shorter);
  }
  // RESOURCE_EXHAUSTED QUEUE_FULL says when there will be room; INVALID_ARGUMENT names what is
  // wrong with the prompt.
  absl::Status Check(const v1::PrefillRequest& request, const Queue& queue) const;

 private:
  absl::Status CheckWait(const Queue& queue) const;

  const AdmissionLimits limits_;
  QueueWait wait_;
};

}  // namespace tandem
