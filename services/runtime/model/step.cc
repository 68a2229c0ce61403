// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/model/step.h"

#include <algorithm>

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

kernels::TensorView<float, 1> FrequencyView(float (&values)[32]) {
  return {.data = values, .shape = {32}};
}

struct Extent {
  int64_t tokens = 0;
  int64_t positions = 0;  // one beyond the last position of any chunk
  int64_t pages = 0;
  int64_t ring = 0;   // most window rows that a token finds in the ring
  int64_t chunk = 0;  // and among the step's own rows
};

Extent Measure(absl::Span<const SequenceChunk> chunks) {
  Extent e;
  for (const SequenceChunk& chunk : chunks) {
    const int64_t count = static_cast<int64_t>(chunk.tokens.size());
    CHECK_GE(count, 1);
    CHECK_GE(chunk.start, 0);
    e.tokens += count;
    e.positions = std::max(e.positions, chunk.start + count);
    e.pages = std::max<int64_t>(e.pages, KvLayout::PagesFor(chunk.start + count));
    e.ring = std::max(e.ring, std::min<int64_t>(chunk.start, kSlidingWindow - 1));
    e.chunk = std::max(e.chunk, std::min<int64_t>(count, kSlidingWindow));
  }
  return e;
}

kernels::Batch LayOut(absl::Span<const SequenceChunk> chunks, const Extent& e, Workspace& work) {
  const auto tokens = work.tokens.View(e.tokens);
  const auto positions = work.positions.View(e.tokens);
  const auto sequence = work.sequence.View(e.tokens);
  const auto token_index = work.token_index.View(e.tokens);
  const auto begin = work.begin.View(chunks.size() + 1);
  const auto slot = work.slot.View(chunks.size());
  const auto pages = work.pages.View(chunks.size(), e.pages);
  std::fill_n(pages.data, pages.size(), -1);
  int32_t t = 0;
  for (size_t s = 0; s < chunks.size(); ++s) {
    const SequenceChunk& chunk = chunks[s];
    const int64_t end = chunk.start + static_cast<int64_t>(chunk.tokens.size());
    const int needed = KvLayout::PagesFor(end);
    CHECK_GE(static_cast<int64_t>(chunk.pages.size()), needed);
    std::copy_n(chunk.pages.begin(), needed, pages.row(s));
    begin[s] = t;
    slot[s] = chunk.slot;
    for (size_t i = 0; i < chunk.tokens.size(); ++i, ++t) {
      tokens[t] = chunk.tokens[i];
      positions[t] = static_cast<int32_t>(chunk.start + i);
      sequence[t] = static_cast<int32_t>(s);
      token_index[t] = t;
    }
  }
  begin[chunks.size()] = t;
  return {
      .positions = positions, .sequence = sequence, .begin = begin, .slot = slot, .pages = pages};
}

}  // namespace

Workspace::Workspace(const ModelConfig& c, const StepLimits& limits)
    : streams(limits.max_tokens_per_step * int64_t{kHcMult} * c.hidden_size),
      x(limits.max_tokens_per_step * int64_t{c.hidden_size}),
      y(limits.max_tokens_per_step * int64_t{c.hidden_size}),
      post(limits.max_tokens_per_step * int64_t{kHcMult}),
      comb(limits.max_tokens_per_step * int64_t{kHcMult} * kHcMult),
      quant(limits.max_tokens_per_step * WidestInput(c)),
      quant_scale(limits.max_tokens_per_step * WidestInput(c) / kernels::kActGroup),
      qr(limits.max_tokens_per_step * int64_t{c.q_lora_rank}),
      q(limits.max_tokens_per_step * int64_t{c.num_attention_heads} * kHeadDim),
      kv(limits.max_tokens_per_step * int64_t{kHeadDim}),
      chunk_rows(ChunkRowBytes(limits.max_tokens_per_step)),
      z(limits.max_tokens_per_step * int64_t{c.o_groups} * c.o_lora_rank),
      u(limits.max_tokens_per_step * int64_t{2 * kHeadDim}),
      g(limits.max_tokens_per_step * int64_t{2 * kHeadDim}),
      index_q(limits.max_tokens_per_step * int64_t{c.index_n_heads} * kIndexHeadDim),
      index_q4(limits.max_tokens_per_step * int64_t{c.index_n_heads} * kernels::kIndexRowBytes),
      index_q4_scale(limits.max_tokens_per_step * int64_t{c.index_n_heads} *
                     kernels::kIndexRowScales),
      index_proj(limits.max_tokens_per_step * int64_t{c.index_n_heads}),
      tokens(limits.max_tokens_per_step),
      positions(limits.max_tokens_per_step),
      sequence(limits.max_tokens_per_step),
      token_index(limits.max_tokens_per_step),
      begin(limits.max_chunks_per_step + 1),
      slot(limits.max_chunks_per_step),
      pages(limits.max_chunks_per_step * int64_t{KvLayout::PagesFor(limits.max_positions)}),
      rope(limits.max_tokens_per_step * int64_t{kRopeDim}),
      compress_rope(limits.max_tokens_per_step * int64_t{kRopeDim}),
      ring_index(limits.max_tokens_per_step * int64_t{kSlidingWindow}),
      chunk_index(limits.max_tokens_per_step * int64_t{kSlidingWindow}),
      csa_index(limits.max_tokens_per_step * CsaColumns(c, limits.max_positions)),
      hca_index(limits.max_tokens_per_step * HcaColumns(limits.max_positions)) {}

RopeBases::RopeBases(const ModelConfig& c) {
  kernels::RopeFrequencies({.base = c.rope_theta}, FrequencyView(main));
  const RopeScaling& s = c.rope_scaling;
  kernels::RopeFrequencies(
      {.base = c.compress_rope_theta,
       .factor = s.factor,
       .original_positions = static_cast<double>(s.original_max_position_embeddings),
       .beta_fast = s.beta_fast,
       .beta_slow = s.beta_slow},
      FrequencyView(compress));
}

Step BeginStep(absl::Span<const SequenceChunk> chunks, const ModelConfig& config,
               const RopeBases& frequencies, const kernels::KernelTable& kernels,
               kernels::Stream& stream, Workspace& work) {
  const Extent e = Measure(chunks);
  const kernels::Batch batch = LayOut(chunks, e, work);
  const auto angles = [&](Buffer<float>& buffer, const float(&f)[32]) {
    const auto both = buffer.View(2, e.tokens, kRopeDim / 2);
    const kernels::TensorView<float, 2> cos{both.row(0), {e.tokens, kRopeDim / 2}};
    const kernels::TensorView<float, 2> sin{both.row(1), {e.tokens, kRopeDim / 2}};
    kernels.rope_table(
        {.positions = batch.positions, .frequencies = {f, {kRopeDim / 2}}, .cos = cos, .sin = sin},
        stream);
    return RopeAngles{.cos = cos, .sin = sin};
  };
  const auto ring = work.ring_index.View(e.tokens, e.ring);
  const auto chunk = work.chunk_index.View(e.tokens, e.chunk);
  kernels.window_index({.batch = batch, .ring = ring, .chunk = chunk}, stream);
  const auto hca = work.hca_index.View(e.tokens, HcaColumns(e.positions));
  kernels.compressed_index({.batch = batch, .ratio = kHcaRatio, .rows = hca}, stream);
  return {.batch = batch,
          .tokens = work.tokens.View(e.tokens),
          .token_index = work.token_index.View(e.tokens),
          .rope = angles(work.rope, frequencies.main),
          .compress_rope = angles(work.compress_rope, frequencies.compress),
          .ring_index = ring,
          .chunk_index = chunk,
          .hca_index = hca,
          .csa_rows = CsaColumns(config, e.positions)};
}

}  // namespace tandem
