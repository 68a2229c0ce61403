// SPDX-License-Identifier: Apache-2.0
// WorkerPlan: what fits on the GPUs of one decode worker, alone or with a prefill worker beside it
// that shares its pool and, by WEIGHTS_SHARED, its weights. Pure functions of what WorkerBytes
// counts.
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
#include "services/runtime/plan/worker_bytes.h"

namespace tandem {

struct PlanRequest {
  int gpus = 1;               // that there are
  int64_t gpu_bytes = 0;      // of each
  int64_t context = 131'072;  // tokens of a sequence, prompt and answer
  int sequences = 64;         // that hold memory at once
  int batch_max = 64;         // as in DecodeConfig
  int chunk_tokens = 4096;    // as in PrefillConfig
  int staging_pages = 256;    // likewise, where rows are written in place
  int staging_slots = 16;     // likewise
};

struct WorkerPlan {
  int ranks = 1;           // GPUs of the worker
  bool prefill = false;    // a prefill worker runs on them too
  int64_t weights = 0;     // a GPU, as everything below; one copy, whether one worker or two
  int64_t replicated = 0;  // of them, on every GPU alike
  int64_t working = 0;     // working memory of a step, of both workers where there are two
  int64_t reserve = 0;     // CUDA's context, graphs, the kernels' scratch
  // Of the prefill worker's staging pool: on these GPUs with `prefill`; else on its own, where it
  // holds a prompt of the whole context.
  int staging_pages = 0;
  int64_t staging = 0;
  int64_t reader = 0;  // all that a prefill worker takes there; 0 with `prefill`
  int64_t pool = 0;    // left for the pool
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
  // beside it if it has no GPUs of its own, or not enough memory there. -1: none fits.
  int chosen = -1;
};

// INVALID_ARGUMENT naming field, limit and value.
absl::StatusOr<MachinePlan> PlanMachine(const ModelConfig& config, const PlanRequest& request);

}  // namespace tandem
