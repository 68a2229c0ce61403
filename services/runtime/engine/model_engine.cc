// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/engine/model_engine.h"

#include <utility>

#include "services/runtime/base/check.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/base/thread.h"

namespace tandem {
namespace {

// Mostly it was `done` that told its caller to collect, and it is about to return: to be woken
// takes longer.
constexpr absl::Duration kLookForDone = absl::Microseconds(200);

// In which layers are told of: an eighth of the rows is left to travel behind the last layer, and
// the five or more layers of a V4 in each are worth a copy's launch and who is woken for it.
constexpr int kLayerGroups = 8;

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
  ASSIGN_OR_RETURN(std::unique_ptr<Model> model, Model::Create({.config = parts.config,
                                                                .weights = parts.weights,
                                                                .kernels = parts.kernels,
                                                                .communicator = parts.communicator,
                                                                .sums_mlps = parts.sums_mlps,
                                                                .logits = parts.draws},
                                                               limits));
  return std::unique_ptr<ModelEngine>(new ModelEngine(std::move(model), parts));
}

ModelEngine::ModelEngine(std::unique_ptr<Model> model, const Parts& parts)
    : model_(std::move(model)),
      record_(parts.record),
      has_draws_(parts.draws),
      backend_(model_->kernels().backend),
      inputs_(backend_),
      draws_(model_->kernels(), model_->stream(), model_->limits().max_chunks_per_step),
      recorder_(backend_, model_->stream()) {
  // Inputs that moved would be another step's for every recording.
  inputs_.Reset(model_->step_room() + Draws::Room(model_->limits().max_chunks_per_step));
  // Ranks have a limit of their own.
  if (parts.communicator == nullptr && !backend_.ReadsHost()) {
    watch_.emplace(backend_.Describe(), parts.step_limit);
  }
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
                         StepListener listener) {
  if (!Prepare(chunks, kv, std::move(listener.layers))) RunPlainly();
  if (watch_.has_value()) watch_->Begin();
  Queue();
  told_.emplace();
  backend_.Notify(
      [this, done = std::move(listener.done)] {
        if (watch_.has_value()) watch_->End();
        done();
        told_->Notify();
      },
      model_->stream());
}

bool ModelEngine::Prepare(absl::Span<const EngineChunk> chunks, const KvView& kv,
                          std::function<void(int)> layers) {
  chunks_ = chunks;
  kv_ = kv;
  layers_ = std::move(layers);
  sequences_.clear();
  rows_.clear();
  recording_ = nullptr;
  for (const EngineChunk& chunk : chunks) Plan(chunk);
  if (chunks.empty()) return true;
  inputs_.Reset(model_->step_room() + Draws::Room(rows_));
  draws_.Begin(rows_, inputs_);
  step_ = model_->Describe(sequences_, kv_, inputs_);
  const std::optional<StepKey> key = KeyOf();
  if (!key.has_value()) return true;
  recording_ = recorder_.Find(*key, [this] { QueuePlainly(); });
  return !recorder_.failed();
}

void ModelEngine::RunPlainly() {
  recording_ = nullptr;
  recorder_.GiveUp();
}

void ModelEngine::Queue() {
  if (chunks_.empty()) return;
  if (recording_ == nullptr) return QueuePlainly();
  backend_.Replay(*recording_, model_->stream());
}

void ModelEngine::QueuePlainly() {
  inputs_.ToDevice(model_->stream());
  model_->Queue(
      {.chunks = sequences_, .step = step_, .kv = kv_},
      [this](const LogitsBlock& block) { draws_.Run(block.logits); },
      [this](int layers) { TellOf(layers); });
  if (has_draws_) draws_.Fetch();
}

// So many layers are queued. Ends of groups are told of; a backend tells in the order in which it
// is asked, so before `done`.
void ModelEngine::TellOf(int layers) {
  const int all = config().num_hidden_layers;
  if (!layers_ || layers * kLayerGroups / all == (layers - 1) * kLayerGroups / all) return;
  // Its own copy: a rank may say so when the step is over for it (Prepare).
  backend_.Notify([layers, tell = layers_] { tell(layers); }, model_->stream());
}

// None if the step is none that can be replayed: one that tells of its layers would tell of another
// step.
std::optional<StepKey> ModelEngine::KeyOf() const {
  const std::optional<Draws::Shape> draws = draws_.ShapeOf();
  if (!record_ || layers_ || !draws.has_value()) return std::nullopt;
  const bool decodes = draws->rows == step_.size();
  // Its shape says that at most the last token is drawn: for more it has targets.
  const bool chunk = chunks_.size() == 1 && step_.size() <= kSmallStep;
  if (!decodes && !chunk) return std::nullopt;
  return StepKey{.step = ShapeOf(step_),
                 .draws = *draws,
                 .inputs_moves = inputs_.moves(),
                 .pool = kv_.base,
                 .pages = kv_.layout->pages(),
                 .slots = kv_.layout->slots()};
}

std::vector<ChunkResult> ModelEngine::Collect() {
  if (!backend_.Synchronize(model_->stream())) {
    CheckFailed(__FILE__, __LINE__, backend_.Describe() + ": " + model_->stream().error());
  }
  if (told_.has_value()) {
    LookFor(kLookForDone, [this] { return told_->HasBeenNotified(); });
    told_->WaitForNotification();
  }
  std::vector<ChunkResult> results(chunks_.size());
  if (!has_draws_) return results;
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
