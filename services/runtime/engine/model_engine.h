// SPDX-License-Identifier: Apache-2.0
// ModelEngine: the Engine that computes: Model's forward pass and its draws, on one kernel set. On
// the host a step has run when Launch returns; on a GPU it is queued there, its inputs go over by
// one copy and its results come back by another, and decode steps are replayed as CUDA graphs. A
// device that fails ends the process. Borrows weights, table and backend; they outlive it. Not
// thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "services/runtime/engine/engine.h"
#include "services/runtime/engine/step_recorder.h"
#include "services/runtime/model/model.h"
#include "services/runtime/sampling/draws.h"

namespace tandem {

class ModelEngine final : public Engine {
 public:
  struct Parts {
    const ModelConfig& config;
    const Weights& weights;
    kernels::KernelSet kernels;
    bool record = true;  // replay decode steps, where the backend can
  };
  // Errors: Model::Create.
  static absl::StatusOr<std::unique_ptr<ModelEngine>> Create(const Parts& parts,
                                                             const StepLimits& limits);

  const ModelConfig& config() const override { return model_->config(); }
  void Launch(absl::Span<const EngineChunk> chunks, const KvView& kv,
              std::function<void()> done) override;
  std::vector<ChunkResult> Collect() override;

  // Of the last step, if it was replayed; else 0.
  int64_t replayed_operations() const { return replayed_; }

 private:
  ModelEngine(std::unique_ptr<Model> model, bool record)
      : model_(std::move(model)),
        record_(record),
        backend_(model_->kernels().backend),
        inputs_(backend_),
        draws_(model_->kernels(), model_->stream()),
        recorder_(backend_, model_->stream()) {}
  void Plan(const EngineChunk& chunk);
  void Compute(const KvView& kv);
  std::optional<StepKey> KeyOf(const tandem::Step& step, const KvView& kv) const;

  const std::unique_ptr<Model> model_;
  const bool record_;
  kernels::Backend& backend_;
  // Of the running step.
  absl::Span<const EngineChunk> chunks_;
  std::vector<SequenceChunk> sequences_;
  std::vector<RowWish> rows_;
  kernels::Mirror inputs_;
  Draws draws_;
  StepRecorder recorder_;
  int64_t replayed_ = 0;
};

}  // namespace tandem
