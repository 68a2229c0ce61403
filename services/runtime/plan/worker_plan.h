// SPDX-License-Identifier: Apache-2.0
// WorkerPlan: what fits on the GPUs of one decode worker, alone or with a prefill worker beside it
// that shares its pool and, by WEIGHTS_SHARED, its weights. Pure functions; bytes are counted as
// the workers take them, but for the reserve, which is an allowance.
//
// The ranks of a worker hold a part of the weights each, and all of the cache: so the pool is as
// large as one GPU has room for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/runtime/model/config/model_config.h"
#include "services/runtime/plan/weight_sizes.h"

namespace tandem {

struct PlanRequest {
  int gpus = 1;               // that there are
  int64_t gpu_bytes = 0;      // of each
  int64_t context = 131'072;  // tokens of a sequence, prompt and answer
  int sequences = 64;         // that hold memory at once
  int batch_max = 64;         // as in DecodeConfig
  int chunk_tokens = 4096;    // as in PrefillConfig
};

struct WorkerPlan {
  int ranks = 1;           // GPUs of the worker
  bool prefill = false;    // a prefill worker runs on them too
  int64_t weights = 0;     // a GPU, as everything below; one copy, whether one worker or two
  int64_t replicated = 0;  // of them, on every GPU alike
  int64_t working = 0;     // working memory of a step, of both workers where there are two
  int64_t reserve = 0;     // CUDA's context, graphs, the kernels' scratch
  int64_t pool = 0;        // left for the pool
  int slots = 0;
  int pages = 0;  // 0: it does not fit, as `why` says
  std::string why;
  int at_once = 0;  // sequences of the context that is asked for

  bool fits() const { return pages > 0; }
};

struct MachinePlan {
  WeightSizes weights;  // of the whole model
  int64_t page_bytes = 0;
  int64_t slot_bytes = 0;
  int64_t sequence_bytes = 0;       // pages and slot of one sequence of the context
  std::vector<WorkerPlan> workers;  // ranks rising, alone before with prefill
  // The worker to start: the fewest GPUs on which one sequence of the context fits, with prefill
  // beside it if there are no GPUs left for it. -1: none fits.
  int chosen = -1;
};

// What a pool takes, which a worker on a CPU keeps in /dev/shm.
struct PoolSize {
  int pages = 0;
  int slots = 0;
};
absl::StatusOr<int64_t> PoolBytes(const ModelConfig& config, const PoolSize& size);

// INVALID_ARGUMENT naming field, limit and value.
absl::StatusOr<MachinePlan> PlanMachine(const ModelConfig& config, const PlanRequest& request);

}  // namespace tandem
