// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/engine/model_engine.h"

#include <utility>

#include "services/runtime/base/check.h"
#include "services/runtime/base/status_macros.h"

namespace tandem {
namespace {

LogitsRows RowsOf(const EngineChunk& chunk) {
  if (!chunk.targets.empty()) return LogitsRows::kAll;
  return chunk.sampler != nullptr ? LogitsRows::kLast : LogitsRows::kNone;
}

size_t RowCount(const EngineChunk& chunk) {
  const LogitsRows rows = RowsOf(chunk);
  return rows == LogitsRows::kAll ? chunk.tokens.size() : rows == LogitsRows::kLast ? 1 : 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelEngine>> ModelEngine::Create(const Parts& parts,
                                                                 const StepLimits& limits) {
  ASSIGN_OR_RETURN(std::unique_ptr<Model> model,
                   Model::Create(parts.config, parts.weights, parts.kernels, limits));
  return std::unique_ptr<ModelEngine>(new ModelEngine(std::move(model), parts.record));
}

// A chunk's part of the step, and what is wanted of its rows, in the order in which they come.
void ModelEngine::Plan(const EngineChunk& chunk) {
  CHECK_LE(chunk.targets.size(), chunk.tokens.size());
  sequences_.push_back({.tokens = chunk.tokens,
                        .start = chunk.start,
                        .slot = chunk.slot,
                        .pages = chunk.pages,
                        .logits = RowsOf(chunk)});
  const size_t size = chunk.tokens.size();
  for (size_t token = size - RowCount(chunk); token < size; ++token) {
    rows_.push_back({.sampler = token + 1 == size ? chunk.sampler : nullptr,
                     .target = token < chunk.targets.size() ? chunk.targets[token] : -1});
  }
}

void ModelEngine::Launch(absl::Span<const EngineChunk> chunks, const KvView& kv,
                         std::function<void()> done) {
  chunks_ = chunks;
  sequences_.clear();
  rows_.clear();
  for (const EngineChunk& chunk : chunks) Plan(chunk);
  if (!chunks.empty()) Compute(kv);
  backend_.Notify(std::move(done), model_->stream());
}

void ModelEngine::Compute(const KvView& kv) {
  inputs_.Reset(model_->step_room() + Draws::Room(rows_));
  draws_.Begin(rows_, inputs_);
  const tandem::Step step = model_->Describe(sequences_, kv, inputs_);
  const auto queue = [&] {
    inputs_.ToDevice(model_->stream());
    model_->Queue({.chunks = sequences_, .step = step, .kv = kv},
                  [this](const LogitsBlock& block) { draws_.Run(block.logits); });
    draws_.Fetch();
  };
  const std::optional<StepKey> key = KeyOf(step, kv);
  replayed_ = 0;
  if (key.has_value()) {
    replayed_ = recorder_.Run(*key, queue);
  } else {
    queue();
  }
}

// None if the step is none that can be replayed.
std::optional<StepKey> ModelEngine::KeyOf(const tandem::Step& step, const KvView& kv) const {
  const std::optional<Draws::Shape> draws = draws_.ShapeOf();
  if (!record_ || !draws.has_value() || draws->rows != step.size()) return std::nullopt;
  return StepKey{
      .step = ShapeOf(step), .draws = *draws, .inputs_moves = inputs_.moves(), .pool = kv.base};
}

std::vector<ChunkResult> ModelEngine::Collect() {
  if (!backend_.Synchronize(model_->stream())) {
    CheckFailed(__FILE__, __LINE__, backend_.Describe() + ": " + model_->stream().error());
  }
  std::vector<ChunkResult> results(chunks_.size());
  size_t row = 0;
  for (size_t i = 0; i < chunks_.size(); ++i) {
    for (const size_t end = row + RowCount(chunks_[i]); row < end; ++row) {
      const auto at = static_cast<int64_t>(row);
      if (rows_[row].target >= 0) {
        results[i].target_logprobs.push_back(draws_.TargetLogprob(at));
      }
      if (rows_[row].sampler != nullptr) results[i].choice = draws_.Choice(at);
    }
  }
  return results;
}

}  // namespace tandem
