// SPDX-License-Identifier: Apache-2.0
// HostGroup: ranks as threads that sum in host memory: tensor parallelism on a CPU table, and the
// way in which all of it but the devices' own is tested without one.
//
// The bits are all_reduce's: an fp32 sum in rank order, rounded once. A rank that does not come
// within the limit, or aborts, is an error of every rank's stream and Wait. The table outlives the
// group.
#pragma once

#include <memory>
#include <vector>

#include "services/runtime/parallel/rank_barrier.h"
#include "services/runtime/parallel/rank_group.h"

namespace tandem {

class HostGroup final : public RankGroup {
 public:
  struct Options {
    int ranks = 1;
    absl::Duration limit = absl::Seconds(60);  // ranks share processors, so one may lag
  };
  HostGroup(const kernels::KernelTable& table, const Options& options);
  ~HostGroup() override;

  Communicator& rank(int rank) override;

 private:
  class Rank;

  const kernels::KernelTable& table_;
  RankBarrier barrier_;
  // Of the running call.
  std::vector<kernels::TensorView<const kernels::Bf16, 2>> parts_;
  std::vector<kernels::TensorView<const float, 2>> columns_;
  std::vector<std::unique_ptr<Rank>> ranks_;
};

}  // namespace tandem
