// SPDX-License-Identifier: Apache-2.0
// Placement: which prefill and which decode worker take a request. A pure function of what the
// workers last said.
//
// A pair must have the same cache format. Of the decode workers those with room for the request
// come first, then the least loaded, then the first of the list; the same for prefill workers,
// without the room. A decode worker's load is requests. A prefill worker's is prompt tokens, for
// one prompt may be as much work as thousands; requests where those are equal, or where a worker
// among them is too old to say.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "tandem/v1/worker.pb.h"

namespace tandem {

// What a worker last said. Shared: every request looks at what all workers said, and copies none of
// it.
using WorkerState = std::shared_ptr<const v1::WatchResponse>;
inline WorkerState MakeState(v1::WatchResponse state) {
  return std::make_shared<const v1::WatchResponse>(std::move(state));
}

struct WorkerView {
  std::string endpoint;
  bool usable = false;  // connected, heard of lately, not draining
  int assigned = 0;     // requests that this router has sent there and that have not ended
  int64_t unread = 0;   // prefill: prompt tokens of them that are not all read, as far as heard
  WorkerState state;    // as last heard; never null
  // Decode: it has no room for a request of so many tokens, as far as this router can know; 0 = not
  // so.
  uint32_t refused_tokens = 0;

  bool FullFor(uint32_t tokens) const { return refused_tokens != 0 && tokens >= refused_tokens; }
};

// What a request needs.
struct RequestTokens {
  uint32_t prompt = 0;
  uint32_t all = 0;  // prompt and answer
};

struct PlacementRequest {
  uint32_t tokens = 0;  // prompt and answer
  absl::Span<const WorkerView> prefill;
  absl::Span<const WorkerView> decode;
};

// Indices into the two lists.
struct PlacedPair {
  int prefill = 0;
  int decode = 0;
};

// For how many requests of so many tokens, above 0, a decode worker said that it has room.
int64_t PlacesFor(const v1::WatchResponse& decode, uint32_t tokens);

// Whether two workers may share a cache.
bool SameFormat(const v1::KvFormat& a, const v1::KvFormat& b);

// RESOURCE_EXHAUSTED KV_BUDGET: all that a worker could say is known.
absl::Status DecodeFull();

// UNAVAILABLE NO_WORKER when a side has no usable worker; FAILED_PRECONDITION LAYOUT_MISMATCH when
// both have and no pair fits; RESOURCE_EXHAUSTED KV_BUDGET when no usable decode worker can ever
// hold that many tokens, or
// when none of those that can has had anything to give since it refused as much.
absl::StatusOr<PlacedPair> Place(const PlacementRequest& request);

}  // namespace tandem
