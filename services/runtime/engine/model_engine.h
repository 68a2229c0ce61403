// SPDX-License-Identifier: Apache-2.0
// ModelEngine: the Engine that computes: Model's forward pass and its draws, on one kernel set. On
// the host a step has run when Launch returns; on a GPU it is queued there, its inputs go over by
// one copy and its results come back by another, and steps of few tokens are replayed as CUDA
// graphs (step_recorder.h). A device that fails, or does not end a step, ends the process. Borrows
// weights, table, backend and communicator; they outlive it. Not thread-safe.
//
// As one rank of several (tensor_parallel_engine.h) it is used part by part: Prepare does all that
// may take memory or wait for the device, recording included; RunPlainly is for what it could not
// record; Queue only queues.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "services/runtime/engine/engine.h"
#include "services/runtime/engine/step_recorder.h"
#include "services/runtime/engine/step_watch.h"
#include "services/runtime/model/model.h"
#include "services/runtime/sampling/draws.h"

namespace tandem {

class ModelEngine final : public Engine {
 public:
  struct Parts {
    const ModelConfig& config;
    const Weights& weights;
    kernels::KernelSet kernels;
    bool record = true;                      // replay steps, where the backend can
    Communicator* communicator = nullptr;    // of a rank that has peers
    bool sums_mlps = true;                   // with them (CutsMlps)
    bool draws = true;                       // false: rank 0 has the logits, and draws
    absl::Duration step_limit = kStepLimit;  // of a step on a device, by Launch
  };
  // Errors: Model::Create.
  static absl::StatusOr<std::unique_ptr<ModelEngine>> Create(const Parts& parts,
                                                             const StepLimits& limits);

  const ModelConfig& config() const override { return model_->config(); }
  void Launch(absl::Span<const EngineChunk> chunks, const KvView& kv,
              StepListener listener) override;
  std::vector<ChunkResult> Collect() override;
  StepRuns runs() const override {
    return backend_.ReadsHost() ? StepRuns::kInLaunch : StepRuns::kOnDevice;
  }
  int64_t launches() const override { return recording_ == nullptr ? 0 : recording_->launches(); }

  // Launch in parts, without `done`; `layers` is the listener's, and may come after Collect.
  // Prepare is false where the step should have been recorded and could not be: then RunPlainly
  // comes before Queue, on all ranks.
  [[nodiscard]] bool Prepare(absl::Span<const EngineChunk> chunks, const KvView& kv,
                             std::function<void(int)> layers = nullptr);
  void RunPlainly();
  void Queue();
  kernels::Stream& stream() { return model_->stream(); }

 private:
  ModelEngine(std::unique_ptr<Model> model, const Parts& parts);
  void Plan(const EngineChunk& chunk);
  void QueuePlainly();
  void TellOf(int layers);
  std::optional<StepKey> KeyOf() const;

  const std::unique_ptr<Model> model_;
  const bool record_;
  const bool has_draws_;
  kernels::Backend& backend_;
  // Of the running step.
  absl::Span<const EngineChunk> chunks_;
  KvView kv_;
  std::function<void(int)> layers_;
  tandem::Step step_;
  std::vector<SequenceChunk> sequences_;
  std::vector<RowWish> rows_;
  kernels::Mirror inputs_;
  Draws draws_;
  StepRecorder recorder_;
  const kernels::Recording* recording_ = nullptr;
  std::optional<absl::Notification> told_;  // `done` has been called; none if not by Launch
  std::optional<StepWatch> watch_;          // of a device's steps by Launch
};

}  // namespace tandem
