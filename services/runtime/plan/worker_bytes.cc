// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/plan/worker_bytes.h"

#include "services/runtime/base/status_macros.h"
#include "services/runtime/kv/kv_layout.h"
#include "services/runtime/model/config/shard.h"
#include "services/runtime/model/model.h"
#include "services/runtime/plan/counting_backend.h"
#include "services/runtime/plan/weight_sizes.h"

namespace tandem {
namespace {

// Of one process on one GPU; an allowance, for what driver and NCCL take is not ours to compute.
// Decode and prefill of V4-Flash on the same two H200 had 3.0 GB more than is counted
// (tests/bench/results/steps.md), 1.5 a process: some 0.6 of it CUDA's context and code, the rest
// NCCL, graphs and scratch. A third more, for what that run did not ask for: every batch size's
// graph, penalties, links by NCCL.
constexpr int64_t kReserve = 2'000'000'000;

// The working memory of a step, as Model takes it.
absl::StatusOr<int64_t> WorkingBytes(const ModelConfig& config, int tokens, int64_t positions) {
  CountingBackend counting;
  Weights none;
  none.layers.resize(static_cast<size_t>(config.num_hidden_layers));
  const kernels::KernelTable table{};
  RETURN_IF_ERROR(Model::Create({.config = config, .weights = none, .kernels = {table, counting}},
                                {.max_tokens_per_step = tokens,
                                 .max_chunks_per_step = tokens,
                                 .max_positions = positions})
                      .status());
  return counting.bytes();
}

}  // namespace

absl::StatusOr<int64_t> PoolBytes(const ModelConfig& config, const PoolSize& size) {
  ASSIGN_OR_RETURN(const KvLayout layout,
                   KvLayout::Create(config, {.pages = size.pages, .slots = size.slots}));
  return static_cast<int64_t>(layout.bytes());
}

int64_t TokensIn(int64_t pages) {
  return pages * kPageTokens;
}

int64_t PagesFor(int64_t tokens) {
  return KvLayout::PagesFor(tokens);
}

absl::StatusOr<WorkerBytes> BytesOf(const ModelConfig& config, const WorkerSize& size) {
  ASSIGN_OR_RETURN(const ModelConfig part, ShardConfig(config, {.ranks = size.ranks}));
  WorkerBytes out{.weights = SizesOf(part).total(), .reserve = kReserve};
  ASSIGN_OR_RETURN(out.working, WorkingBytes(part, size.tokens_per_step, size.context));
  if (size.pool.pages == 0) return out;
  // Every rank has the whole of it.
  ASSIGN_OR_RETURN(out.pool, PoolBytes(config, size.pool));
  return out;
}

}  // namespace tandem
