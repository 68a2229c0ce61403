// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/model/attention.h"

#include <array>
#include <cmath>
#include <span>

namespace tandem {
namespace {

using kernels::Bf16;
using kernels::LinearWeight;
using kernels::TensorView;

// Linear layers of one input.
class Linears {
 public:
  void Add(const LinearWeight& weight, const BfMatrix& y) {
    linears_[count_++] = {.weight = weight, .y = y};
  }
  void Add(const LinearWeight& weight, const TensorView<float, 2>& y) {
    linears_[count_++] = {.weight = weight, .y_float = y};
  }
  std::span<const kernels::GroupLinear> all() const { return {linears_.data(), count_}; }

 private:
  std::array<kernels::GroupLinear, kernels::kMostLinears> linears_;
  size_t count_ = 0;
};

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

// This step's window rows → the layer's rings.
kernels::WindowCommitArgs Commit(const Context& c, int layer) {
  return {.batch = c.step.batch, .chunk = ChunkRows(c), .ring = Ring(c, layer)};
}

// The inputs of a layer's compressor, or of its indexer's.
struct Pooled {
  const CompressorWeights& weights;
  const KvRegion& states;
  TensorView<float, 2> u;  // wkv·x
  TensorView<float, 2> g;  // wgate·x
};

Pooled PooledOf(const Context& c, const CompressorWeights& w, int layer) {
  return {.weights = w,
          .states = c.kv.layout->layer(layer).compressor_states,
          .u = c.work.u.View(c.step.size(), w.wkv.n),
          .g = c.work.g.View(c.step.size(), w.wgate.n)};
}

Pooled IndexerPooledOf(const Context& c, const CompressorWeights& w, int layer) {
  return {.weights = w,
          .states = c.kv.layout->layer(layer).indexer_states,
          .u = c.work.index_u.View(c.step.size(), w.wkv.n),
          .g = c.work.index_g.View(c.step.size(), w.wgate.n)};
}

void AddLinears(const Pooled& pooled, Linears* linears) {
  linears->Add(pooled.weights.wkv, pooled.u);
  linears->Add(pooled.weights.wgate, pooled.g);
}

kernels::CompressorArgs Compress(const Context& c, const Pooled& pooled) {
  const CompressorWeights& w = pooled.weights;
  const int64_t ratio = w.ape.shape[0];
  return {.u = pooled.u,
          .g = pooled.g,
          .ape = w.ape,
          .norm = w.norm,
          .norm_eps = static_cast<float>(c.config.rms_norm_eps),
          .frequencies = c.frequencies.compress,
          .batch = c.step.batch,
          .state = {reinterpret_cast<float*>(At(c, pooled.states)),
                    {pooled.states.count, 2, ratio == 4 ? 8 : ratio, w.ape.shape[1]}}};
}

// The indexer's queries and how it weighs its heads.
struct IndexInputs {
  TensorView<Bf16, 2> projected;        // [T, heads · 128]
  TensorView<uint8_t, 3> q;             // [T, heads, 64]
  TensorView<kernels::Ue8m0, 3> scale;  // [T, heads, 4]
  TensorView<float, 2> proj;            // [T, heads]
};

IndexInputs IndexInputsOf(const Context& c) {
  const int64_t size = c.step.size(), heads = c.config.index_n_heads;
  return {.projected = c.work.index_q.View(size, heads * kIndexHeadDim),
          .q = c.work.index_q4.View(size, heads, kernels::kIndexRowBytes),
          .scale = c.work.index_q4_scale.View(size, heads, kernels::kIndexRowScales),
          .proj = c.work.index_proj.View(size, heads)};
}

// The linears of the layer's input, at once; then those of the query latent.
void Project(const Context& c, const AttentionWeights& w, int layer, const BfMatrix& x) {
  const int64_t size = c.step.size(), heads = c.config.num_attention_heads;
  const BfMatrix qr = c.work.qr.View(size, c.config.q_lora_rank);
  Linears of_x, of_qr;
  of_x.Add(w.wq_a, qr);
  of_x.Add(w.wkv, c.work.kv.View(size, kHeadDim));
  of_qr.Add(w.wq_b, c.work.q.View(size, heads * kHeadDim));
  if (w.compressor.has_value()) AddLinears(PooledOf(c, *w.compressor, layer), &of_x);
  if (w.indexer.has_value()) {
    const IndexInputs index = IndexInputsOf(c);
    AddLinears(IndexerPooledOf(c, w.indexer->compressor, layer), &of_x);
    of_x.Add(w.indexer->weights_proj, index.proj);
    of_qr.Add(w.indexer->wq_b, index.projected);
  }
  const QuantInput quant = c.work.QuantOf(size, c.config.hidden_size);
  c.kernels.linear_group({.x = x, .q = quant.q, .scale = quant.scale, .linears = of_x.all()},
                         c.stream);
  c.kernels.linear_group({.x = qr,
                          .norm = w.q_norm,
                          .eps = static_cast<float>(c.config.rms_norm_eps),
                          .linears = of_qr.all()},
                         c.stream);
}

// Whether the step's rows may go into the rings before attention has read these.
bool CommitsEarly(const Step& step) {
  return step.size() == step.batch.sequences();
}

// What the projections still lack; rows and states.
void Finish(const Context& c, const AttentionWeights& w, int layer, const RopeAngles& angles) {
  const int64_t size = c.step.size(), heads = c.config.num_attention_heads;
  kernels::QkvFinishArgs args = {.q = c.work.q.View(size, heads, kHeadDim),
                                 .kv = c.work.kv.View(size, kHeadDim),
                                 .kv_weight = w.kv_norm,
                                 .cos = angles.cos,
                                 .sin = angles.sin,
                                 .eps = static_cast<float>(c.config.rms_norm_eps),
                                 .index = c.step.token_index,
                                 .rows = ChunkRows(c)};
  if (CommitsEarly(c.step)) args.commit = Commit(c, layer);
  if (w.compressor.has_value()) {
    args.compressor = Compress(c, PooledOf(c, *w.compressor, layer));
    args.compressor.kv_rows = CompressedPages(c, layer);
  }
  if (w.indexer.has_value()) {
    args.indexer = Compress(c, IndexerPooledOf(c, w.indexer->compressor, layer));
    args.indexer.indexer_rows = IndexerPagesOf(c, layer);
    const IndexInputs index = IndexInputsOf(c);
    args.index_query = {.x = {index.projected.data, {size, c.config.index_n_heads, kIndexHeadDim}},
                        .cos = angles.cos,
                        .sin = angles.sin,
                        .q = index.q,
                        .scale = index.scale};
  }
  c.kernels.qkv_finish(args, c.stream);
}

// The rows that each token's indexer picks.
TensorView<const int32_t, 2> Select(const Context& c, int layer) {
  const IndexInputs index = IndexInputsOf(c);
  const auto heads = static_cast<double>(c.config.index_n_heads);
  const auto rows = c.work.csa_index.View(c.step.size(), c.step.csa_rows);
  c.kernels.indexer_topk(
      {.q = index.q,
       .q_scale = index.scale,
       .proj = index.proj,
       .weight_scale = static_cast<float>(1 / std::sqrt(double{kIndexHeadDim} * heads)),
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
  const auto q = c.work.q.View(size, heads, kHeadDim);
  Project(c, w, layer, x);
  Finish(c, w, layer, angles);
  kernels::KeySource compressed;
  if (kind != LayerKind::kSwa) {
    compressed.rows = CompressedPages(c, layer);
    compressed.index = kind == LayerKind::kCsa ? Select(c, layer) : c.step.hca_index;
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
  if (!CommitsEarly(c.step)) c.kernels.window_commit(Commit(c, layer), c.stream);

  const int64_t groups = c.config.o_groups, rank = c.config.o_lora_rank;
  c.kernels.grouped_linear({.x = c.work.q.View(size, groups, heads * kHeadDim / groups),
                            .weight = w.wo_a,
                            .y = c.work.z.View(size, groups, rank)},
                           c.stream);
  Linears of_z;
  of_z.Add(w.wo_b, y);
  c.kernels.linear_group({.x = c.work.z.View(size, groups * rank), .linears = of_z.all()},
                         c.stream);
}

}  // namespace tandem
