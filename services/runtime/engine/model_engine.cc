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

}  // namespace

absl::StatusOr<std::unique_ptr<ModelEngine>> ModelEngine::Create(const Parts& parts,
                                                                 const StepLimits& limits) {
  ASSIGN_OR_RETURN(std::unique_ptr<Model> model,
                   Model::Create(parts.config, parts.weights, parts.kernels, limits));
  return std::unique_ptr<ModelEngine>(new ModelEngine(std::move(model), parts.kernels));
}

void ModelEngine::Launch(absl::Span<const EngineChunk> chunks, const KvView& kv,
                         std::function<void()> done) {
  std::vector<SequenceChunk> sequences;
  sequences.reserve(chunks.size());
  for (const EngineChunk& chunk : chunks) {
    CHECK_LE(chunk.targets.size(), chunk.tokens.size());
    sequences.push_back({.tokens = chunk.tokens,
                         .start = chunk.start,
                         .slot = chunk.slot,
                         .pages = chunk.pages,
                         .logits = RowsOf(chunk)});
  }
  results_.assign(chunks.size(), {});
  const Kernels kernels{.table = kernels_, .stream = stream_};
  // Rows come in the order of chunks and tokens.
  model_->Forward(sequences, kv, [&](const LogitsRow& row) {
    const EngineChunk& chunk = chunks[row.chunk];
    ChunkResult& result = results_[row.chunk];
    const size_t token = static_cast<size_t>(row.token);
    if (token < chunk.targets.size()) {
      result.target_logprobs.push_back(LogProbability(kernels, row.logits, chunk.targets[token]));
    }
    if (chunk.sampler != nullptr && token + 1 == chunk.tokens.size())
      result.choice = chunk.sampler->Draw(kernels, row.logits);
  });
  done();
}

}  // namespace tandem
