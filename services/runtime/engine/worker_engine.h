// SPDX-License-Identifier: Apache-2.0
// WorkerEngine: the engine that a worker's config asks for, with what it stands on, and the numbers
// that follow from both. Movable; owned by main().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "services/runtime/engine/engine.h"
#include "services/runtime/loader/loaded_model.h"
#include "services/runtime/parallel/rank_group.h"
#include "tandem/v1/config.pb.h"

namespace tandem {

struct WorkerEngine {
  // Each rank's; there is one at least.
  std::vector<std::unique_ptr<kernels::Backend>> gpus;  // empty on a CPU
  std::vector<kernels::Backend*> backends;              // where the engine expects its KV pool
  std::vector<std::unique_ptr<LoadedModel>> loaded;     // empty if simulated
  std::unique_ptr<RankGroup> group;                     // null for one rank
  std::unique_ptr<Engine> engine;                       // borrows all of it; destroyed first
  int64_t context_tokens_max = 0;                       // the longest sequence, prompt and answer

  const ModelConfig& config() const { return engine->config(); }
};

struct WorkerEngineOptions {
  bool reads_prompts = false;  // a prefill worker's
  int tokens_per_step = 0;     // at most
  int chunks_per_step = 0;
  std::optional<int64_t> pool_tokens;  // what the pool holds; absent = another process's
};

// Loads the checkpoint, all ranks' parts at once, or for ENGINE_SIM its config.json alone. Errors:
// those of LoadedModel, Model, SimEngine and RankGroup; FAILED_PRECONDITION when there is no such
// GPU; INVALID_ARGUMENT when worker.context_tokens_max is more than model or pool hold.
absl::StatusOr<WorkerEngine> MakeWorkerEngine(const v1::WorkerConfig& config,
                                              const WorkerEngineOptions& options);

}  // namespace tandem
