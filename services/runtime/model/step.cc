// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/model/step.h"

#include <algorithm>
#include <bit>

#include "services/runtime/base/check.h"

namespace tandem {
namespace {

constexpr int kCsaRatio = 4;
constexpr int kHcaRatio = 128;

int64_t WidestInput(const ModelConfig& c) {
  return std::max({c.hidden_size, c.q_lora_rank, c.o_groups * c.o_lora_rank});
}

// Columns of a list of rows, never 0: a view needs room even when every entry is -1.
int64_t CsaColumns(const ModelConfig& c, int64_t positions) {
  return std::max<int64_t>(1, std::min<int64_t>(c.index_topk, positions / kCsaRatio));
}
int64_t HcaColumns(int64_t positions) {
  return std::max<int64_t>(1, positions / kHcaRatio);
}

int64_t ChunkRowBytes(int64_t tokens) {
  const int64_t pages = (tokens + kernels::kBlockRows - 1) / kernels::kBlockRows;
  return pages * kernels::KvPageBytes(kernels::kBlockRows);
}

// A model's frequencies, made on the host, where the kernels read them. Null where there is no
// memory.
FloatVector Frequencies(const kernels::RopeScaling& scaling, kernels::Memory& memory) {
  float values[kRopeDim / 2];
  kernels::RopeFrequencies(scaling, {values, {kRopeDim / 2}});
  float* const at = reinterpret_cast<float*>(memory.Take(sizeof values));
  if (at != nullptr) memory.backend().CopyNow({.to = at, .from = values, .bytes = sizeof values});
  return {at, {kRopeDim / 2}};
}

// Longest of all sequences, in few sizes: a page, two, four …
int64_t RoundedPositions(int64_t positions, const StepLimits& limits) {
  const auto pages = static_cast<uint64_t>(KvLayout::PagesFor(positions));
  return std::min(static_cast<int64_t>(std::bit_ceil(pages)) * kPageTokens, limits.max_positions);
}

struct Extent {
  int64_t tokens = 0;
  int64_t positions = 0;  // at least one beyond the last position of any chunk
  int64_t pages = 0;
  int64_t ring = 0;   // most window rows that a token may find in the ring
  int64_t chunk = 0;  // most that it finds among the step's own rows
};

Extent Measure(absl::Span<const SequenceChunk> chunks, const StepLimits& limits) {
  Extent e;
  for (const SequenceChunk& chunk : chunks) {
    const int64_t count = static_cast<int64_t>(chunk.tokens.size());
    CHECK_GE(count, 1);
    CHECK_GE(chunk.start, 0);
    e.tokens += count;
    e.positions = std::max(e.positions, chunk.start + count);
    if (chunk.start > 0) e.ring = kSlidingWindow - 1;
    e.chunk = std::max(e.chunk, std::min<int64_t>(count, kSlidingWindow));
  }
  e.positions = RoundedPositions(e.positions, limits);
  e.pages = KvLayout::PagesFor(e.positions);
  return e;
}

struct Layout {
  kernels::Batch batch;
  kernels::TensorView<const int32_t, 1> tokens;
  kernels::TensorView<const int32_t, 1> token_index;
};

Layout LayOut(absl::Span<const SequenceChunk> chunks, const Extent& e, kernels::Mirror& inputs) {
  const auto sequences = static_cast<int64_t>(chunks.size());
  const auto tokens = inputs.Take<int32_t>(e.tokens), positions = inputs.Take<int32_t>(e.tokens);
  const auto sequence = inputs.Take<int32_t>(e.tokens), index = inputs.Take<int32_t>(e.tokens);
  const auto begin = inputs.Take<int32_t>(sequences + 1), slot = inputs.Take<int32_t>(sequences);
  const auto pages = inputs.Take<int32_t>(sequences * e.pages);
  std::fill_n(pages.host, sequences * e.pages, -1);
  int32_t t = 0;
  for (int64_t s = 0; s < sequences; ++s) {
    const SequenceChunk& chunk = chunks[s];
    const int64_t end = chunk.start + static_cast<int64_t>(chunk.tokens.size());
    const int needed = KvLayout::PagesFor(end);
    CHECK_GE(static_cast<int64_t>(chunk.pages.size()), needed);
    std::copy_n(chunk.pages.begin(), needed, pages.host + s * e.pages);
    begin.host[s] = t;
    slot.host[s] = chunk.slot;
    for (size_t i = 0; i < chunk.tokens.size(); ++i, ++t) {
      tokens.host[t] = chunk.tokens[i];
      positions.host[t] = static_cast<int32_t>(chunk.start + i);
      sequence.host[t] = static_cast<int32_t>(s);
      index.host[t] = t;
    }
  }
  begin.host[sequences] = t;
  return {.batch = {.positions = {positions.device, {e.tokens}},
                    .sequence = {sequence.device, {e.tokens}},
                    .begin = {begin.device, {sequences + 1}},
                    .slot = {slot.device, {sequences}},
                    .pages = {pages.device, {sequences, e.pages}}},
          .tokens = {tokens.device, {e.tokens}},
          .token_index = {index.device, {e.tokens}}};
}

}  // namespace

Workspace::Workspace(const ModelConfig& c, const StepLimits& limits, kernels::Memory& memory)
    : streams(memory, limits.max_tokens_per_step * int64_t{kHcMult} * c.hidden_size),
      x(memory, limits.max_tokens_per_step * int64_t{c.hidden_size}),
      y(memory, limits.max_tokens_per_step * int64_t{c.hidden_size}),
      post(memory, limits.max_tokens_per_step * int64_t{kHcMult}),
      comb(memory, limits.max_tokens_per_step * int64_t{kHcMult} * kHcMult),
      quant(memory, limits.max_tokens_per_step * WidestInput(c)),
      quant_scale(memory, limits.max_tokens_per_step * WidestInput(c) / kernels::kActGroup),
      qr(memory, limits.max_tokens_per_step * int64_t{c.q_lora_rank}),
      q(memory, limits.max_tokens_per_step * int64_t{c.num_attention_heads} * kHeadDim),
      kv(memory, limits.max_tokens_per_step * int64_t{kHeadDim}),
      chunk_rows(memory, ChunkRowBytes(limits.max_tokens_per_step)),
      z(memory, limits.max_tokens_per_step * int64_t{c.o_groups} * c.o_lora_rank),
      u(memory, limits.max_tokens_per_step * int64_t{2 * kHeadDim}),
      g(memory, limits.max_tokens_per_step * int64_t{2 * kHeadDim}),
      index_q(memory, limits.max_tokens_per_step * int64_t{c.index_n_heads} * kIndexHeadDim),
      index_q4(memory,
               limits.max_tokens_per_step * int64_t{c.index_n_heads} * kernels::kIndexRowBytes),
      index_q4_scale(
          memory, limits.max_tokens_per_step * int64_t{c.index_n_heads} * kernels::kIndexRowScales),
      index_proj(memory, limits.max_tokens_per_step * int64_t{c.index_n_heads}),
      index_u(memory, limits.max_tokens_per_step * int64_t{2 * kIndexHeadDim}),
      index_g(memory, limits.max_tokens_per_step * int64_t{2 * kIndexHeadDim}),
      rope(memory, limits.max_tokens_per_step * int64_t{kRopeDim}),
      compress_rope(memory, limits.max_tokens_per_step * int64_t{kRopeDim}),
      ring_index(memory, limits.max_tokens_per_step * int64_t{kSlidingWindow}),
      chunk_index(memory, limits.max_tokens_per_step * int64_t{kSlidingWindow}),
      csa_index(memory, limits.max_tokens_per_step * CsaColumns(c, limits.max_positions)),
      hca_index(memory, limits.max_tokens_per_step * HcaColumns(limits.max_positions)) {}

RopeBases::RopeBases(const ModelConfig& c, kernels::Memory& memory)
    : main(Frequencies({.base = c.rope_theta}, memory)),
      compress(Frequencies({.base = c.compress_rope_theta,
                            .factor = c.rope_scaling.factor,
                            .original_positions = static_cast<double>(
                                c.rope_scaling.original_max_position_embeddings),
                            .beta_fast = c.rope_scaling.beta_fast,
                            .beta_slow = c.rope_scaling.beta_slow},
                           memory)) {}

int64_t StepRoom(const StepLimits& limits) {
  const int64_t chunks = limits.max_chunks_per_step;
  using kernels::Mirror;
  return 4 * Mirror::Room<int32_t>(limits.max_tokens_per_step) + Mirror::Room<int32_t>(chunks + 1) +
         Mirror::Room<int32_t>(chunks) +
         Mirror::Room<int32_t>(chunks * KvLayout::PagesFor(limits.max_positions));
}

Step DescribeStep(absl::Span<const SequenceChunk> chunks, const StepParts& parts) {
  const Extent e = Measure(chunks, parts.limits);
  const Layout laid = LayOut(chunks, e, parts.inputs);
  const auto angles = [&e](const Buffer<float>& buffer) {
    const auto both = buffer.View(2, e.tokens, kRopeDim / 2);
    return RopeAngles{.cos = {both.row(0), {e.tokens, kRopeDim / 2}},
                      .sin = {both.row(1), {e.tokens, kRopeDim / 2}}};
  };
  return {.batch = laid.batch,
          .tokens = laid.tokens,
          .token_index = laid.token_index,
          .rope = angles(parts.work.rope),
          .compress_rope = angles(parts.work.compress_rope),
          .ring_index = parts.work.ring_index.View(e.tokens, e.ring),
          .chunk_index = parts.work.chunk_index.View(e.tokens, e.chunk),
          .hca_index = parts.work.hca_index.View(e.tokens, HcaColumns(e.positions)),
          .csa_rows = CsaColumns(parts.config, e.positions)};
}

StepShape ShapeOf(const Step& step) {
  return {.tokens = step.size(),
          .sequences = step.batch.sequences(),
          .pages = step.batch.pages.shape[1],
          .ring = step.ring_index.shape[1],
          .chunk = step.chunk_index.shape[1],
          .csa = step.csa_rows,
          .hca = step.hca_index.shape[1]};
}

void PrepareStep(const Context& c) {
  const Step& step = c.step;
  const auto angles = [&](const FloatVector& frequencies, const RopeAngles& out) {
    c.kernels.rope_table({.positions = step.batch.positions,
                          .frequencies = frequencies,
                          .cos = out.cos,
                          .sin = out.sin},
                         c.stream);
  };
  angles(c.frequencies.main, step.rope);
  angles(c.frequencies.compress, step.compress_rope);
  c.kernels.window_index({.batch = step.batch, .ring = step.ring_index, .chunk = step.chunk_index},
                         c.stream);
  c.kernels.compressed_index({.batch = step.batch, .ratio = kHcaRatio, .rows = step.hca_index},
                             c.stream);
}

}  // namespace tandem
