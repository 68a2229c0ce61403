// SPDX-License-Identifier: Apache-2.0
// What a load run knows of its server before it begins: that it serves, its limits, and which token
// ids a prompt may have. Blocking calls, each with a deadline; thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/tools/load/plan/prompts.h"
#include "services/tools/request_flags.h"

namespace tandem {

// Asks grpc.health.v1 until it says SERVING. UNAVAILABLE with the last answer after `timeout`.
absl::Status WaitServing(const Connection& connection, absl::Duration timeout);

struct TargetInfo {
  std::string model;
  uint32_t context_tokens_max = 0;
  std::vector<uint32_t> eos_token_ids;
  Vocabulary vocabulary;  // of ordinary tokens
};
absl::StatusOr<TargetInfo> AskTarget(const Connection& connection);

}  // namespace tandem
