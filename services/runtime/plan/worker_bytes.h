// SPDX-License-Identifier: Apache-2.0
// WorkerBytes: what one worker takes of each of its GPUs. Pure functions of config and sizes; bytes
// are counted as the worker takes them, but for the reserve, which is an allowance.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "services/runtime/model/config/model_config.h"

namespace tandem {

struct PoolSize {
  int pages = 0;
  int slots = 0;
};
// What a pool takes, of a GPU or, of a worker on a CPU, of /dev/shm.
absl::StatusOr<int64_t> PoolBytes(const ModelConfig& config, const PoolSize& size);

// Tokens that so many pages hold, and the pages that so many tokens take.
int64_t TokensIn(int64_t pages);
int64_t PagesFor(int64_t tokens);

struct WorkerSize {
  int ranks = 1;
  int tokens_per_step = 64;  // batch_max of a decode worker, chunk_tokens of a prefill worker
  int64_t context = 2;       // tokens of a sequence at most
  PoolSize pool;             // of a prefill worker: staging; no pages: none is counted
};

struct WorkerBytes {
  int64_t weights = 0;  // its own copy
  int64_t working = 0;  // of a step
  int64_t reserve = 0;  // CUDA's context, graphs, NCCL, the kernels' scratch
  int64_t pool = 0;

  int64_t total() const { return weights + working + reserve + pool; }
};

// INVALID_ARGUMENT where the model cannot be cut into so many ranks, or a size is out of range.
absl::StatusOr<WorkerBytes> BytesOf(const ModelConfig& config, const WorkerSize& size);

}  // namespace tandem
