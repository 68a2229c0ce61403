// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/loader/weight_plan.h"

namespace tandem {
namespace {

using kernels::LinearWeight;

constexpr int64_t kAlign = 256;

// Every linear layer, in the order of the forward pass. The experts of a layer follow each other,
// alike: kernels find them by their distance (kernels/moe/moe_experts.h).
std::vector<LinearWeight*> Linears(Weights& weights) {
  std::vector<LinearWeight*> out;
  const auto add = [&out](auto&... linears) { (out.push_back(&linears), ...); };
  for (LayerWeights& layer : weights.layers) {
    AttentionWeights& a = layer.attn;
    add(a.wq_a, a.wq_b, a.wkv, a.wo_a, a.wo_b);
    if (a.compressor) add(a.compressor->wkv, a.compressor->wgate);
    if (a.indexer) {
      add(a.indexer->wq_b, a.indexer->weights_proj);
      add(a.indexer->compressor.wkv, a.indexer->compressor.wgate);
    }
    add(layer.ffn.gate);
    for (kernels::ExpertWeights& expert : layer.ffn.experts) add(expert.w1, expert.w3, expert.w2);
    add(layer.ffn.shared_experts.w1, layer.ffn.shared_experts.w3, layer.ffn.shared_experts.w2);
  }
  add(weights.head);
  return out;
}

// Calls `visit` for the view of every tensor that is no linear.
template <typename Visit>
void ForEachTensor(Weights& weights, Visit visit) {
  const auto hyper = [&visit](HyperConnectionWeights& w) {
    visit(w.fn), visit(w.base), visit(w.scale);
  };
  const auto compressor = [&visit](CompressorWeights& w) { visit(w.ape), visit(w.norm); };
  visit(weights.embed);
  for (LayerWeights& layer : weights.layers) {
    hyper(layer.hc_attn), hyper(layer.hc_ffn);
    visit(layer.attn_norm), visit(layer.ffn_norm);
    visit(layer.attn.q_norm), visit(layer.attn.kv_norm), visit(layer.attn.attn_sink);
    if (layer.attn.compressor) compressor(*layer.attn.compressor);
    if (layer.attn.indexer) compressor(layer.attn.indexer->compressor);
    visit(layer.ffn.gate_bias), visit(layer.ffn.gate_tid2eid);
  }
  hyper(weights.hc_head);
  visit(weights.norm);
}

// The next place in the memory.
void Place(WeightPiece piece, WeightPlan& plan) {
  piece.offset = plan.bytes;
  plan.bytes += (piece.bytes + kAlign - 1) / kAlign * kAlign;
  plan.pieces.push_back(piece);
}

template <typename View>
WeightPiece PieceOf(View& view) {
  return {.view = &view,
          .from = view.data,
          .move_view =
              [](void* moved, uint8_t* to) {
                static_cast<View*>(moved)->data = reinterpret_cast<decltype(view.data)>(to);
              },
          .bytes = view.size() * static_cast<int64_t>(sizeof(*view.data))};
}

}  // namespace

WeightPlan PlanWeights(Weights& weights, const kernels::KernelSet& kernels) {
  WeightPlan plan;
  if (!kernels.backend.ReadsHost()) {
    ForEachTensor(weights, [&plan](auto& view) {
      if (view.data != nullptr) Place(PieceOf(view), plan);
    });
  }
  for (LinearWeight* linear : Linears(weights)) {
    Place({.linear = linear, .bytes = kernels.table.prepared_bytes(*linear)}, plan);
  }
  return plan;
}

}  // namespace tandem
