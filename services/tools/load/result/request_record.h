// SPDX-License-Identifier: Apache-2.0
// RequestRecord and ChunkRecord: what the driver of `tandem load` hands to the Recorder. Plain
// values. Times are durations since the run's start, which is the Recorder's `start`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace tandem {

// What a request is for. The first three are honest; the others misbehave on purpose, are counted
// apart and stand in no latency, throughput, error or goodput.
enum class RequestKind : uint8_t {
  kNormal,
  kGolden,    // its answer is known
  kSentinel,  // its answer must consist of its own prompt
  kCancel,
  kVanish,
  kSlowRead,
  kAbsurdDeadline,
  kDuplicateId,
};
inline constexpr int kRequestKinds = 8;
inline bool IsNasty(RequestKind kind) {
  return kind >= RequestKind::kCancel;
}

// Timing of Finished: where the server says that the time went.
struct StageTimes {
  absl::Duration tokenize;
  absl::Duration reserve;
  absl::Duration prefill_queue;
  absl::Duration prefill;
  absl::Duration kv_transfer;
  absl::Duration decode;
  absl::Duration ttft;
  absl::Duration total;
};

// One request that has ended.
struct RequestRecord {
  RequestKind kind = RequestKind::kNormal;
  bool warm_up = false;  // counted, but in no number

  absl::Duration scheduled;  // when the plan wanted it; closed loop: = sent
  absl::Duration sent;       // when the call was started
  std::optional<absl::Duration> accepted;
  std::optional<absl::Duration> first_token;
  std::optional<absl::Duration> last_token;
  absl::Duration end;  // when the status came

  uint32_t prompt_tokens = 0;
  uint32_t tokens_wanted = 0;  // max_tokens
  uint32_t tokens = 0;         // received

  absl::StatusCode code = absl::StatusCode::kOk;
  std::string reason;         // ErrorInfo.reason; may be empty
  std::string finish_reason;  // "stop", "length", …; empty without Finished
  std::optional<StageTimes> stages;

  uint32_t checks = 0;  // made on it: index order, golden, sentinel, fitting status
  // A name for each that failed: "index", "golden", "leak", "status", ….
  std::vector<std::string> failed_checks;
};

// One delta with tokens, at its arrival.
struct ChunkRecord {
  absl::Duration at;
  // Since the chunk before. Absent for a request's first chunk, which TTFT tells of.
  std::optional<absl::Duration> gap;
  uint32_t tokens = 0;
  bool measured = true;  // of an honest request that is no warm-up
};

}  // namespace tandem
