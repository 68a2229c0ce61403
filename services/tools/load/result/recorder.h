// SPDX-License-Identifier: Apache-2.0
// Recorder: what happens during a run, counted as it happens. Every method may be called from any
// thread; an event takes one uncontended mutex of its thread's shard and touches no shared line but
// the count of running requests.
//
// Order: OnSend once a request, OnChunk once a delta with tokens, OnRequest once at its end. Events
// of one request need no order between threads. Finish comes after the last OnRequest.
#pragma once

#include <array>
#include <atomic>
#include <memory>

#include "absl/time/time.h"
#include "services/tools/load/result/load_result.h"

namespace tandem {

// What the live view shows; measured requests, but for `sent`, `running` and `tokens`.
struct LoadSnapshot {
  absl::Duration at;  // since the run's start
  uint64_t sent = 0;
  uint64_t ended = 0;
  uint64_t running = 0;
  uint64_t tokens = 0;
  uint64_t completed = 0;
  uint64_t failed = 0;
  uint64_t failed_checks = 0;
  LatencyHistogram ttft;  // corrected
  LatencyHistogram tpot;
  std::vector<ErrorCount> errors;
};

class Recorder {
 public:
  // `start` is the zero of all times in records, by Clock::Real(). CPU time counts from here.
  Recorder(absl::Time start, const Slo& slo);
  ~Recorder();

  void OnSend(absl::Duration at);
  void OnChunk(const ChunkRecord& chunk);
  void OnRequest(const RequestRecord& request);

  // Merges what there is; a few hundred microseconds.
  LoadSnapshot Snapshot(absl::Duration at) const;
  // Once.
  LoadResult Finish();

 private:
  struct Shard;
  Shard& Mine() const;

  static constexpr size_t kShards = 16;
  const absl::Time start_;
  const Slo slo_;
  const absl::Duration cpu_at_start_;
  std::array<std::unique_ptr<Shard>, kShards> shards_;
  std::atomic<int64_t> running_ = 0;
  std::atomic<int64_t> running_max_ = 0;
};

}  // namespace tandem
