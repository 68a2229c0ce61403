// SPDX-License-Identifier: Apache-2.0
// TimelineBuilder: events of a run counted by second. Its memory is bounded: past kPointsMax steps,
// two steps become one, again and again; only the tokens of every second stay apart (4 bytes each),
// for the peak rate. Not thread-safe; builders of threads add up.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "services/tools/load/result/load_result.h"

namespace tandem {

class TimelineBuilder {
 public:
  static constexpr size_t kPointsMax = 2048;

  void OnSend(absl::Duration at);
  void OnChunk(const ChunkRecord& chunk);
  void OnRequest(const RequestRecord& request);
  void Merge(const TimelineBuilder& other);

  absl::Duration step() const { return step_; }
  uint64_t TokensPerSecondMax() const;
  std::vector<TimelinePoint> Points() const;

 private:
  struct Step {
    uint64_t sent = 0;
    uint64_t finished = 0;
    uint64_t errors = 0;
    uint64_t ended = 0;
    uint64_t tokens = 0;
    LatencyHistogram ttft{LatencyHistogram::Precision::kCoarse};
    LatencyHistogram gap{LatencyHistogram::Precision::kCoarse};
    void Merge(const Step& other);
  };
  Step& At(absl::Duration at);
  void Coarsen();

  absl::Duration step_ = absl::Seconds(1);
  std::vector<Step> steps_;
  std::vector<uint32_t> tokens_by_second_;
};

}  // namespace tandem
