// SPDX-License-Identifier: Apache-2.0
// ModelEngine: the Engine that computes: Model's forward pass and the Sampler, both on one kernel
// table. Borrows weights and table; both outlive it. Not thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "services/runtime/engine/engine.h"
#include "services/runtime/model/model.h"

namespace tandem {

class ModelEngine final : public Engine {
 public:
  struct Parts {
    const ModelConfig& config;
    const Weights& weights;
    const kernels::KernelTable& kernels;
  };
  // Errors: Model::Create.
  static absl::StatusOr<std::unique_ptr<ModelEngine>> Create(const Parts& parts,
                                                             const StepLimits& limits);

  const ModelConfig& config() const override { return model_->config(); }
  // Computes on the calling thread.
  void Launch(absl::Span<const EngineChunk> chunks, const KvView& kv,
              std::function<void()> done) override;
  std::vector<ChunkResult> Collect() override { return std::exchange(results_, {}); }

 private:
  ModelEngine(std::unique_ptr<Model> model, const kernels::KernelTable& kernels)
      : model_(std::move(model)), kernels_(kernels) {}

  const std::unique_ptr<Model> model_;
  const kernels::KernelTable& kernels_;
  kernels::Stream stream_;
  std::vector<ChunkResult> results_;
};

}  // namespace tandem
