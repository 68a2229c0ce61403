// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/model/model.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/model/layer.h"

namespace tandem {
namespace {

constexpr int kHeadRows = 64;  // a decode step's usual batch, at most: its head runs once

absl::Status CheckLimit(absl::string_view field, int64_t value, int64_t max) {
  if (value >= 1 && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("model: ", field, " must be from 1 to ", max, ", got ", value));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> Model::Create(const Parts& parts, const StepLimits& limits) {
  RETURN_IF_ERROR(CheckLimit("max_tokens_per_step", limits.max_tokens_per_step, 1 << 16));
  RETURN_IF_ERROR(CheckLimit("max_chunks_per_step", limits.max_chunks_per_step, 1 << 16));
  RETURN_IF_ERROR(
      CheckLimit("max_positions", limits.max_positions, parts.config.max_position_embeddings));
  CHECK_EQ(static_cast<int>(parts.weights.layers.size()), parts.config.num_hidden_layers);
  std::unique_ptr<Model> model(new Model(parts, limits));
  if (model->memory_.ok()) return model;
  return absl::ResourceExhaustedError(absl::StrCat("model: no memory for ", model->memory_.bytes(),
                                                   " bytes of a step of ",
                                                   limits.max_tokens_per_step, " tokens"));
}

Model::Model(const Parts& parts, const StepLimits& limits)
    : config_(parts.config),
      weights_(parts.weights),
      kernels_(parts.kernels),
      communicator_(parts.communicator),
      sums_mlps_(parts.sums_mlps),
      has_logits_(parts.logits),
      cuts_head_(config_.head_rows < config_.vocab_size),
      block_rows_(has_logits_ || cuts_head_ ? kHeadRows : 0),
      limits_(limits),
      memory_(kernels_.backend),
      frequencies_(config_, memory_),
      stream_(kernels_.backend.MakeStream()),
      work_(config_, limits, memory_),
      inputs_(kernels_.backend),
      head_streams_(memory_, block_rows_ * kHcMult * config_.hidden_size),
      head_x_(memory_, block_rows_ * config_.hidden_size),
      part_(memory_, cuts_head_ ? block_rows_ * config_.head_rows : 0),
      logits_(memory_, has_logits_ ? block_rows_ * config_.vocab_size : 0) {}

Step Model::Describe(absl::Span<const SequenceChunk> chunks, const KvView& kv,
                     kernels::Mirror& inputs) {
  CHECK_LE(chunks.size(), static_cast<size_t>(limits_.max_chunks_per_step));
  for (const SequenceChunk& chunk : chunks) {
    CHECK(chunk.slot >= 0 && chunk.slot < kv.layout->slots());
    CHECK_LE(chunk.start + static_cast<int64_t>(chunk.tokens.size()), limits_.max_positions);
    for (const int32_t page : chunk.pages) CHECK(page >= 0 && page < kv.layout->pages());
    for (const int32_t token : chunk.tokens) CHECK(token >= 0 && token < config_.vocab_size);
  }
  return DescribeStep(chunks,
                      {.config = config_, .limits = limits_, .work = work_, .inputs = inputs});
}

Context Model::ContextOf(const Step& step, const KvView& kv) {
  return {config_, kernels_.table, stream_,   frequencies_, work_, step,
          kv,      communicator_,  sums_mlps_};
}

void Model::Forward(absl::Span<const SequenceChunk> chunks, const KvView& kv, LogitsSink sink) {
  if (chunks.empty()) return;
  inputs_.Reset(step_room());
  const Step step = Describe(chunks, kv, inputs_);
  inputs_.ToDevice(stream_);
  Queue({.chunks = chunks, .step = step, .kv = kv}, sink, [](int) {});
}

void Model::Queue(const Running& run, LogitsSink sink, LayersSink queued) {
  const Context c = ContextOf(run.step, run.kv);
  PrepareStep(c);
  const Streams streams = work_.streams.View(run.step.size(), kHcMult, config_.hidden_size);
  c.kernels.hc_embed({.tokens = run.step.tokens, .embed = weights_.embed, .streams = streams},
                     stream_);
  const std::vector<LayerWeights>& layers = weights_.layers;
  EnterLayer(c, layers[0], streams);
  for (int layer = 0; layer < config_.num_hidden_layers; ++layer) {
    const bool last = layer + 1 == config_.num_hidden_layers;
    Layer(c, layers[layer], layer, last ? nullptr : &layers[layer + 1], streams);
    queued(layer + 1);
  }
  if (block_rows_ > 0) Head(run.chunks, streams, sink);
}

void Model::RunLayer(int layer, absl::Span<const SequenceChunk> chunks, const KvView& kv,
                     absl::Span<uint16_t> streams) {
  inputs_.Reset(step_room());
  const Step step = Describe(chunks, kv, inputs_);
  inputs_.ToDevice(stream_);
  const Context c = ContextOf(step, kv);
  PrepareStep(c);
  const Streams inner = work_.streams.View(step.size(), kHcMult, config_.hidden_size);
  CHECK_EQ(static_cast<int64_t>(streams.size()), inner.size());
  const int64_t bytes = inner.size() * static_cast<int64_t>(sizeof(uint16_t));
  kernels_.backend.CopyNow({.to = inner.data, .from = streams.data(), .bytes = bytes});
  EnterLayer(c, weights_.layers[layer], inner);
  Layer(c, weights_.layers[layer], layer, /*next=*/nullptr, inner);
  CHECK(kernels_.backend.Synchronize(stream_));
  kernels_.backend.CopyNow({.to = streams.data(), .from = inner.data, .bytes = bytes});
}

// Wanted rows on their way to a block. Takes nothing from the heap.
class Model::HeadRows {
 public:
  bool empty() const { return count_ == 0; }
  int room() const { return kHeadRows - count_; }
  absl::Span<const LogitsRow> rows() const { return {rows_, static_cast<size_t>(count_)}; }
  absl::Span<const Run> runs() const { return {runs_, static_cast<size_t>(run_count_)}; }

  // Tokens `first` … of the step are `count` rows from `row` on.
  void Add(int64_t first, LogitsRow row, int count) {
    const bool goes_on =
        run_count_ > 0 && runs_[run_count_ - 1].first + runs_[run_count_ - 1].count == first;
    if (!goes_on) runs_[run_count_++] = {.first = first};
    runs_[run_count_ - 1].count += count;
    for (int i = 0; i < count; ++i, ++row.token) rows_[count_++] = row;
  }

 private:
  LogitsRow rows_[kHeadRows];
  Run runs_[kHeadRows];
  int count_ = 0;
  int run_count_ = 0;
};

void Model::Head(absl::Span<const SequenceChunk> chunks, const Streams& streams, LogitsSink sink) {
  HeadRows block;
  int64_t first = 0;  // of the chunk, among the step's tokens
  for (size_t i = 0; i < chunks.size(); ++i) {
    const int size = static_cast<int>(chunks[i].tokens.size());
    int token = chunks[i].logits == LogitsRows::kNone   ? size
                : chunks[i].logits == LogitsRows::kLast ? size - 1
                                                        : 0;
    while (token < size) {
      const int count = std::min(size - token, block.room());
      block.Add(first + token, {.chunk = static_cast<int>(i), .token = token}, count);
      token += count;
      if (block.room() > 0) continue;
      HeadBlock(block.rows(), Gather(block.runs(), streams), sink);
      block = HeadRows();
    }
    first += size;
  }
  if (!block.empty()) HeadBlock(block.rows(), Gather(block.runs(), streams), sink);
}

// The runs' streams side by side; in place where they are so already, as in a decode step.
Streams Model::Gather(absl::Span<const Run> runs, const Streams& streams) {
  const auto rows_of = [&streams](kernels::Bf16* data, int64_t rows) {
    return Streams{data, {rows, streams.shape[1], streams.shape[2]}};
  };
  if (runs.size() == 1) return rows_of(streams.row(runs[0].first), runs[0].count);
  const Streams gathered = head_streams_.View(kHeadRows, streams.shape[1], streams.shape[2]);
  int64_t rows = 0;
  for (const Run& run : runs) {
    kernels_.backend.Copy(
        {.to = gathered.row(rows),
         .from = streams.row(run.first),
         .bytes = run.count * streams.row_size() * static_cast<int64_t>(sizeof(kernels::Bf16))},
        stream_);
    rows += run.count;
  }
  return rows_of(gathered.data, rows);
}

void Model::HeadBlock(absl::Span<const LogitsRow> rows, const Streams& streams, LogitsSink sink) {
  const kernels::KernelTable& table = kernels_.table;
  const int64_t count = static_cast<int64_t>(rows.size());
  const auto x = head_x_.View(count, config_.hidden_size);
  const auto part = (cuts_head_ ? part_ : logits_).View(count, config_.head_rows);
  const float norm_eps = static_cast<float>(config_.rms_norm_eps);
  table.hc_head({.streams = streams,
                 .fn = weights_.hc_head.fn,
                 .base = weights_.hc_head.base,
                 .scale = weights_.hc_head.scale,
                 .norm_eps = norm_eps,
                 .hc_eps = static_cast<float>(config_.hc_eps),
                 .x = x},
                stream_);
  table.rms_norm({.x = x, .weight = weights_.norm, .eps = norm_eps, .y = x}, stream_);
  table.bf16_linear({.x = x, .weight = weights_.head, .y = part}, stream_);
  kernels::TensorView<float, 2> logits = part;
  if (cuts_head_ && communicator_ != nullptr) {
    logits = {};
    if (has_logits_) logits = logits_.View(count, config_.vocab_size);
    communicator_->Gather({.x = part, .y = logits}, stream_);
  }
  if (has_logits_) sink({.rows = rows, .logits = logits});
}

}  // namespace tandem
