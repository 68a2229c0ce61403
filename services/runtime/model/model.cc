// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/model/model.h"

#include <algorithm>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/model/layer.h"

namespace tandem {
namespace {

constexpr int kHeadRows = 32;

absl::Status CheckLimit(absl::string_view field, int64_t value, int64_t max) {
  if (value >= 1 && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("model: ", field, " must be from 1 to ", max, ", got ", value));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> Model::Create(const ModelConfig& config,
                                                     const Weights& weights,
                                                     const kernels::KernelTable& kernels,
                                                     const StepLimits& limits) {
  RETURN_IF_ERROR(CheckLimit("max_tokens_per_step", limits.max_tokens_per_step, 1 << 16));
  RETURN_IF_ERROR(CheckLimit("max_chunks_per_step", limits.max_chunks_per_step, 1 << 16));
  RETURN_IF_ERROR(
      CheckLimit("max_positions", limits.max_positions, config.max_position_embeddings));
  CHECK_EQ(static_cast<int>(weights.layers.size()), config.num_hidden_layers);
  return std::unique_ptr<Model>(new Model(config, weights, kernels, limits));
}

Model::Model(const ModelConfig& config, const Weights& weights, const kernels::KernelTable& kernels,
             const StepLimits& limits)
    : config_(config),
      weights_(weights),
      kernels_(kernels),
      limits_(limits),
      frequencies_(config),
      work_(config, limits),
      head_streams_(int64_t{kHeadRows} * kHcMult * config.hidden_size),
      head_x_(int64_t{kHeadRows} * config.hidden_size),
      logits_(int64_t{kHeadRows} * config.vocab_size) {}

Step Model::Begin(absl::Span<const SequenceChunk> chunks, const KvView& kv) {
  CHECK_LE(chunks.size(), static_cast<size_t>(limits_.max_chunks_per_step));
  for (const SequenceChunk& chunk : chunks) {
    CHECK(chunk.slot >= 0 && chunk.slot < kv.layout->slots());
    CHECK_LE(chunk.start + static_cast<int64_t>(chunk.tokens.size()), limits_.max_positions);
    for (const int32_t page : chunk.pages) CHECK(page >= 0 && page < kv.layout->pages());
    for (const int32_t token : chunk.tokens) CHECK(token >= 0 && token < config_.vocab_size);
  }
  return BeginStep(chunks, config_, frequencies_, kernels_, stream_, work_);
}

void Model::Forward(absl::Span<const SequenceChunk> chunks, const KvView& kv, LogitsSink sink) {
  if (chunks.empty()) return;
  const Step step = Begin(chunks, kv);
  const Context c{config_, kernels_, stream_, frequencies_, work_, step, kv};
  const Streams streams = work_.streams.View(step.size(), kHcMult, config_.hidden_size);
  kernels_.hc_embed({.tokens = step.tokens, .embed = weights_.embed, .streams = streams}, stream_);
  const std::vector<LayerWeights>& layers = weights_.layers;
  EnterLayer(c, layers[0], streams);
  for (int layer = 0; layer < config_.num_hidden_layers; ++layer) {
    const bool last = layer + 1 == config_.num_hidden_layers;
    Layer(c, layers[layer], layer, last ? nullptr : &layers[layer + 1], streams);
  }
  Head(chunks, streams, sink);
}

void Model::RunLayer(int layer, absl::Span<const SequenceChunk> chunks, const KvView& kv,
                     absl::Span<uint16_t> streams) {
  const Step step = Begin(chunks, kv);
  const Context c{config_, kernels_, stream_, frequencies_, work_, step, kv};
  const Streams inner = work_.streams.View(step.size(), kHcMult, config_.hidden_size);
  CHECK_EQ(static_cast<int64_t>(streams.size()), inner.size());
  std::memcpy(inner.data, streams.data(), streams.size() * sizeof(uint16_t));
  EnterLayer(c, weights_.layers[layer], inner);
  Layer(c, weights_.layers[layer], layer, /*next=*/nullptr, inner);
  std::memcpy(streams.data(), inner.data, streams.size() * sizeof(uint16_t));
}

void Model::Head(absl::Span<const SequenceChunk> chunks, const Streams& streams, LogitsSink sink) {
  const Streams gathered = head_streams_.View(kHeadRows, kHcMult, config_.hidden_size);
  LogitsRow rows[kHeadRows];
  int count = 0;
  int64_t first = 0;  // of the chunk, among the step's tokens
  for (size_t i = 0; i < chunks.size(); ++i) {
    const int size = static_cast<int>(chunks[i].tokens.size());
    const int skipped = chunks[i].logits == LogitsRows::kNone   ? size
                        : chunks[i].logits == LogitsRows::kLast ? size - 1
                                                                : 0;
    for (int token = skipped; token < size; ++token) {
      std::copy_n(streams.row(first + token), streams.row_size(), gathered.row(count));
      rows[count++] = {.chunk = static_cast<int>(i), .token = token};
      if (count < kHeadRows) continue;
      HeadBlock(absl::MakeSpan(rows, count), gathered, sink);
      count = 0;
    }
    first += size;
  }
  if (count > 0) HeadBlock(absl::MakeSpan(rows, count), gathered, sink);
}

void Model::HeadBlock(absl::Span<LogitsRow> rows, const Streams& gathered, LogitsSink sink) {
  const int64_t count = static_cast<int64_t>(rows.size());
  const auto x = head_x_.View(count, config_.hidden_size);
  const auto logits = logits_.View(count, config_.vocab_size);
  const float norm_eps = static_cast<float>(config_.rms_norm_eps);
  kernels_.hc_head({.streams = {gathered.data, {count, gathered.shape[1], gathered.shape[2]}},
                    .fn = weights_.hc_head.fn,
                    .base = weights_.hc_head.base,
                    .scale = weights_.hc_head.scale,
                    .norm_eps = norm_eps,
                    .hc_eps = static_cast<float>(config_.hc_eps),
                    .x = x},
                   stream_);
  kernels_.rms_norm({.x = x, .weight = weights_.norm, .eps = norm_eps, .y = x}, stream_);
  kernels_.bf16_linear({.x = x, .weight = weights_.head, .y = logits}, stream_);
  for (int64_t i = 0; i < count; ++i) {
    rows[i].logits = absl::MakeConstSpan(logits.row(i), config_.vocab_size);
    sink(rows[i]);
  }
}

}  // namespace tandem
