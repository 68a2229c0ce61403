// SPDX-License-Identifier: Apache-2.0
// ModelEngine: the Engine that computes: Model's forward pass and its draws, on one kernel set. On
// the host a step has run when Launch returns; on a GPU it is queued there, its inputs go over by
// one copy and its results come back by another. A device that fails ends the process. Borrows
// weights, table and backend; they outlive it. Not thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "services/runtime/engine/engine.h"
#include "services/runtime/model/model.h"
#include "services/runtime/sampling/draws.h"

namespace tandem {

class ModelEngine final : public Engine {
 public:
  struct Parts {
    const ModelConfig& config;
    const Weights& weights;
    kernels::KernelSet kernels;
  };
  // Errors: Model::Create.
  static absl::StatusOr<std::unique_ptr<ModelEngine>> Create(const Parts& parts,
                                                             const StepLimits& limits);

  const ModelConfig& config() const override { return model_->config(); }
  void Launch(absl::Span<const EngineChunk> chunks, const KvView& kv,
              std::function<void()> done) override;
  std::vector<ChunkResult> Collect() override;

 private:
  explicit ModelEngine(std::unique_ptr<Model> model)
      : model_(std::move(model)),
        backend_(model_->kernels().backend),
        inputs_(backend_),
        draws_(model_->kernels(), model_->stream()) {}
  void Plan(const EngineChunk& chunk);

  const std::unique_ptr<Model> model_;
  kernels::Backend& backend_;
  // Of the running step.
  absl::Span<const EngineChunk> chunks_;
  std::vector<SequenceChunk> sequences_;
  std::vector<RowWish> rows_;
  kernels::Mirror inputs_;
  Draws draws_;
};

}  // namespace tandem
