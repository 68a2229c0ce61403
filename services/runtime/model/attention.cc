// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/model/attention.h"

#include <cmath>

namespace tandem {
namespace {

using kernels::Bf16;
using kernels::LinearWeight;
using kernels::TensorView;

// The quantised input of FP8 linears; several of them share one.
struct QuantInput {
  TensorView<const kernels::E4M3, 2> q;
  TensorView<const kernels::Ue8m0, 2> scale;
};

// Overwrites the one before.
QuantInput Quantise(const Context& c, const BfMatrix& x) {
  const auto q = c.work.quant.View(x.shape[0], x.shape[1]);
  const auto scale = c.work.quant_scale.View(x.shape[0], x.shape[1] / kernels::kActGroup);
  c.kernels.act_quant({.x = x, .q = q, .scale = scale}, c.stream);
  return {.q = q, .scale = scale};
}

void Linear(const Context& c, const QuantInput& in, const LinearWeight& weight, const BfMatrix& y) {
  c.kernels.quant_linear({.q = in.q, .scale = in.scale, .weight = weight, .y = y}, c.stream);
}

void Norm(const Context& c, const BfMatrix& x, const BfVector& weight) {
  const float eps = static_cast<float>(c.config.rms_norm_eps);
  c.kernels.rms_norm({.x = x, .weight = weight, .eps = eps, .y = x}, c.stream);
}

void Rope(const Context& c, const Streams& x, const RopeAngles& angles, bool inverse) {
  c.kernels.rope({.x = x, .cos = angles.cos, .sin = angles.sin, .inverse = inverse}, c.stream);
}

// Where a layer keeps things, as the kernels want it.
uint8_t* At(const Context& c, const KvRegion& region) {
  return reinterpret_cast<uint8_t*>(c.kv.base) + region.offset;
}

kernels::KvPages CompressedPages(const Context& c, int layer) {
  const KvLayerLayout& at = c.kv.layout->layer(layer);
  return {At(c, at.compressed_pages), at.compressed_pages.count, at.rows_per_page};
}

kernels::IndexerPages IndexerPagesOf(const Context& c, int layer) {
  const KvRegion& region = c.kv.layout->layer(layer).indexer_pages;
  return {At(c, region), region.count};
}

kernels::KvPages Ring(const Context& c, int layer) {
  const KvRegion& region = c.kv.layout->layer(layer).window_rings;
  constexpr int64_t kBlocks = kSlidingWindow / kernels::kBlockRows;
  return {At(c, region), region.count * kBlocks, kernels::kBlockRows};
}

kernels::KvPages ChunkRows(const Context& c) {
  const int64_t pages = (c.step.size() + kernels::kBlockRows - 1) / kernels::kBlockRows;
  const auto bytes = c.work.chunk_rows.View(pages * kernels::KvPageBytes(kernels::kBlockRows));
  return {bytes.data, pages, kernels::kBlockRows};
}

// u = wkv·x and g = wgate·x, and the state region they go into.
kernels::CompressorArgs CompressorInput(const Context& c, const CompressorWeights& w,
                                        const KvRegion& states, const BfMatrix& x) {
  const auto u = c.work.u.View(c.step.size(), w.wkv.n);
  const auto g = c.work.g.View(c.step.size(), w.wgate.n);
  c.kernels.bf16_linear({.x = x, .weight = w.wkv, .y = u}, c.stream);
  c.kernels.bf16_linear({.x = x, .weight = w.wgate, .y = g}, c.stream);
  const int64_t ratio = w.ape.shape[0];
  return {.u = u,
          .g = g,
          .ape = w.ape,
          .norm = w.norm,
          .norm_eps = static_cast<float>(c.config.rms_norm_eps),
          .frequencies = {c.frequencies.compress, {kRopeDim / 2}},
          .batch = c.step.batch,
          .state = {reinterpret_cast<float*>(At(c, states)),
                    {states.count, 2, ratio == 4 ? 8 : ratio, w.ape.shape[1]}}};
}

void Compress(const Context& c, const CompressorWeights& w, int layer, const BfMatrix& x) {
  const KvRegion& states = c.kv.layout->layer(layer).compressor_states;
  kernels::CompressorArgs args = CompressorInput(c, w, states, x);
  args.kv_rows = CompressedPages(c, layer);
  c.kernels.compressor(args, c.stream);
}

// The rows that each token's indexer picks. `qr` is the quantised query latent.
TensorView<const int32_t, 2> Index(const Context& c, const IndexerWeights& w, int layer,
                                   const BfMatrix& x, const QuantInput& qr) {
  kernels::CompressorArgs compressor =
      CompressorInput(c, w.compressor, c.kv.layout->layer(layer).indexer_states, x);
  compressor.indexer_rows = IndexerPagesOf(c, layer);
  c.kernels.compressor(compressor, c.stream);

  const int64_t size = c.step.size(), heads = c.config.index_n_heads;
  const auto q = c.work.index_q.View(size, heads * kIndexHeadDim);
  const auto q_rows = c.work.index_q.View(size * heads, kIndexHeadDim);
  Linear(c, qr, w.wq_b, q);
  Rope(c, c.work.index_q.View(size, heads, kIndexHeadDim), c.step.compress_rope, /*inverse=*/false);
  c.kernels.hadamard({.x = q_rows}, c.stream);
  c.kernels.fp4_quant({.x = q_rows,
                       .q = c.work.index_q4.View(size * heads, kernels::kIndexRowBytes),
                       .scale = c.work.index_q4_scale.View(size * heads, kernels::kIndexRowScales)},
                      c.stream);
  const auto proj = c.work.index_proj.View(size, heads);
  c.kernels.bf16_linear({.x = x, .weight = w.weights_proj, .y = proj}, c.stream);
  const auto rows = c.work.csa_index.View(size, c.step.csa_rows);
  c.kernels.indexer_topk(
      {.q = c.work.index_q4.View(size, heads, kernels::kIndexRowBytes),
       .q_scale = c.work.index_q4_scale.View(size, heads, kernels::kIndexRowScales),
       .proj = proj,
       .weight_scale =
           static_cast<float>(1 / std::sqrt(double{kIndexHeadDim} * static_cast<double>(heads))),
       .batch = c.step.batch,
       .keys = IndexerPagesOf(c, layer),
       .rows = rows},
      c.stream);
  return rows;
}

}  // namespace

void Attention(const Context& c, const AttentionWeights& w, int layer, const BfMatrix& x,
               const BfMatrix& y) {
  const LayerKind kind = c.config.layer_kind(layer);
  const int64_t size = c.step.size(), heads = c.config.num_attention_heads;
  const RopeAngles& angles = kind == LayerKind::kSwa ? c.step.rope : c.step.compress_rope;
  const auto qr = c.work.qr.View(size, c.config.q_lora_rank);
  const auto q = c.work.q.View(size, heads, kHeadDim);
  const auto kv = c.work.kv.View(size, kHeadDim);

  const QuantInput x_quant = Quantise(c, x);
  Linear(c, x_quant, w.wq_a, qr);
  Norm(c, qr, w.q_norm);
  Linear(c, x_quant, w.wkv, kv);
  Norm(c, kv, w.kv_norm);
  Rope(c, c.work.kv.View(size, 1, kHeadDim), angles, /*inverse=*/false);
  c.kernels.kv_write({.kv = kv, .index = c.step.token_index, .rows = ChunkRows(c)}, c.stream);

  const QuantInput qr_quant = Quantise(c, qr);
  Linear(c, qr_quant, w.wq_b, c.work.q.View(size, heads * kHeadDim));
  c.kernels.head_norm({.q = q, .eps = static_cast<float>(c.config.rms_norm_eps)}, c.stream);
  Rope(c, q, angles, /*inverse=*/false);

  kernels::KeySource compressed;
  if (kind != LayerKind::kSwa) {
    Compress(c, *w.compressor, layer, x);
    compressed.rows = CompressedPages(c, layer);
    compressed.index =
        kind == LayerKind::kCsa ? Index(c, *w.indexer, layer, x, qr_quant) : c.step.hca_index;
  }
  c.kernels.sparse_attention({.q = q,
                              .sources = {{Ring(c, layer), c.step.ring_index},
                                          {ChunkRows(c), c.step.chunk_index},
                                          compressed},
                              .sink = w.attn_sink,
                              .scale = static_cast<float>(1 / std::sqrt(double{kHeadDim})),
                              .out = q},
                             c.stream);
  Rope(c, q, angles, /*inverse=*/true);
  c.kernels.window_commit({.batch = c.step.batch, .chunk = ChunkRows(c), .ring = Ring(c, layer)},
                          c.stream);

  const int64_t groups = c.config.o_groups, rank = c.config.o_lora_rank;
  c.kernels.grouped_linear({.x = c.work.q.View(size, groups, heads * kHeadDim / groups),
                            .weight = w.wo_a,
                            .y = c.work.z.View(size, groups, rank)},
                           c.stream);
  Linear(c, Quantise(c, c.work.z.View(size, groups * rank)), w.wo_b, y);
}

}  // namespace tandem
