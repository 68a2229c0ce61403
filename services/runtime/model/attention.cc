// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/model/attention.h"

#include <cmath>

namespace tandem {
namespace {

using kernels::Bf16;
using kernels::LinearWeight;
using kernels::TensorView;

// Overwrites the one before.
QuantInput Quantise(const Context& c, const BfMatrix& x) {
  const QuantInput out = c.work.QuantOf(x.shape[0], x.shape[1]);
  c.kernels.act_quant({.x = x, .q = out.q, .scale = out.scale}, c.stream);
  return out;
}

void Linear(const Context& c, const QuantInput& in, const LinearWeight& weight, const BfMatrix& y) {
  c.kernels.quant_linear({.q = in.q, .scale = in.scale, .weight = weight, .y = y}, c.stream);
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
          .frequencies = c.frequencies.compress,
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
  const auto q = c.work.index_q4.View(size, heads, kernels::kIndexRowBytes);
  const auto q_scale = c.work.index_q4_scale.View(size, heads, kernels::kIndexRowScales);
  Linear(c, qr, w.wq_b, c.work.index_q.View(size, heads * kIndexHeadDim));
  c.kernels.index_query({.x = c.work.index_q.View(size, heads, kIndexHeadDim),
                         .cos = c.step.compress_rope.cos,
                         .sin = c.step.compress_rope.sin,
                         .q = q,
                         .scale = q_scale},
                        c.stream);
  const auto proj = c.work.index_proj.View(size, heads);
  c.kernels.bf16_linear({.x = x, .weight = w.weights_proj, .y = proj}, c.stream);
  const auto rows = c.work.csa_index.View(size, c.step.csa_rows);
  c.kernels.indexer_topk({.q = q,
                          .q_scale = q_scale,
                          .proj = proj,
                          .weight_scale = static_cast<float>(
                              1 / std::sqrt(double{kIndexHeadDim} * static_cast<double>(heads))),
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

  const float eps = static_cast<float>(c.config.rms_norm_eps);
  const QuantInput x_quant = c.work.QuantOf(size, c.config.hidden_size);
  Linear(c, x_quant, w.wq_a, qr);
  Linear(c, x_quant, w.wkv, kv);
  c.kernels.rms_norm({.x = qr, .weight = w.q_norm, .eps = eps, .y = qr}, c.stream);
  const QuantInput qr_quant = Quantise(c, qr);
  Linear(c, qr_quant, w.wq_b, c.work.q.View(size, heads * kHeadDim));
  c.kernels.qkv_finish({.q = q,
                        .kv = kv,
                        .kv_weight = w.kv_norm,
                        .cos = angles.cos,
                        .sin = angles.sin,
                        .eps = eps,
                        .index = c.step.token_index,
                        .rows = ChunkRows(c)},
                       c.stream);

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
                              .out = q,
                              .cos = angles.cos,
                              .sin = angles.sin},
                             c.stream);
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
