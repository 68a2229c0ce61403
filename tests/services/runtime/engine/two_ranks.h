// SPDX-License-Identifier: Apache-2.0
// tiny-v4 as two ranks on the host, each as on a device of its own.
#pragma once

#include <memory>
#include <vector>

#include "services/runtime/engine/tensor_parallel_engine.h"
#include "services/runtime/parallel/host_group.h"
#include "tests/services/runtime/model/golden.h"

namespace tandem {

template <typename Device>
struct TwoRanks {
  std::vector<Device> devices = std::vector<Device>(2);
  HostGroup group{kernels::kCpuKernels, {.ranks = 2}};
  std::vector<std::unique_ptr<LoadedModel>> loaded = Load();
  TensorParallelEngine engine{MakeRanks(), {.config = loaded[0]->config()}};
  const std::unique_ptr<KvStorage> pool = *KvStorage::CreatePrivate(
      *KvLayout::Create(engine.config(), {.pages = 4, .slots = 4}), {&devices[0], &devices[1]});

 private:
  static constexpr Shard ShardOf(int rank) { return {.rank = rank, .ranks = 2}; }
  static std::vector<std::unique_ptr<LoadedModel>> Load() {
    std::vector<std::unique_ptr<LoadedModel>> out;
    for (int r = 0; r < 2; ++r) out.push_back(ShardNamed("tiny", kernels::kCpuKernels, ShardOf(r)));
    return out;
  }
  std::vector<TensorParallelEngine::Rank> MakeRanks() {
    std::vector<TensorParallelEngine::Rank> ranks;
    for (int r = 0; r < 2; ++r) {
      ranks.push_back(
          {.engine = *ModelEngine::Create({.config = loaded[r]->shard_config(),
                                           .weights = loaded[r]->weights(),
                                           .kernels = {kernels::kCpuKernels, devices[r]},
                                           .communicator = &group.rank(r),
                                           .sums_mlps = CutsMlps(loaded[r]->config(), ShardOf(r)),
                                           .draws = r == 0},
                                          {.max_tokens_per_step = 64, .max_positions = 512}),
           .communicator = &group.rank(r)});
    }
    return ranks;
  }
};

}  // namespace tandem
