// SPDX-License-Identifier: Apache-2.0
// WorkerEngine: the engine that a worker's config asks for, with what it stands on, and the numbers
// that follow from both. Movable; owned by main().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "services/runtime/engine/engine.h"
#include "services/runtime/loader/loaded_model.h"
#include "tandem/v1/config.pb.h"

namespace tandem {

struct WorkerEngine {
  std::unique_ptr<kernels::Backend> gpu;  // null on a CPU
  std::unique_ptr<LoadedModel> loaded;    // null if simulated
  std::unique_ptr<Engine> engine;         // borrows both; destroyed first
  int64_t context_tokens_max = 0;         // the longest sequence, prompt and answer

  const ModelConfig& config() const { return engine->config(); }
  // Where the engine expects its KV pool.
  kernels::Backend& backend() const { return gpu != nullptr ? *gpu : kernels::HostBackend(); }
};

struct WorkerEngineOptions {
  bool reads_prompts = false;  // a prefill worker's
  int tokens_per_step = 0;     // at most
  int chunks_per_step = 0;
  std::optional<int64_t> pool_tokens;  // what the pool holds; absent = another process's
};

// Loads the checkpoint, or for ENGINE_SIM its config.json alone. Errors: those of LoadedModel,
// Model and SimEngine; FAILED_PRECONDITION when there is no such GPU; INVALID_ARGUMENT when
// worker.context_tokens_max is more than model or pool hold.
absl::StatusOr<WorkerEngine> MakeWorkerEngine(const v1::WorkerConfig& config,
                                              const WorkerEngineOptions& options);

// Random at every call: names a process.
uint64_t RandomId();

}  // namespace tandem
