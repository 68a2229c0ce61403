// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/model/layer.h"

#include "services/runtime/model/attention.h"
#include "services/runtime/model/moe.h"

namespace tandem {
namespace {

// Streams → the normed, quantised input of a sub-layer, and how its output goes back.
kernels::HcPreNormQuantArgs Enter(const Context& c, const HyperConnectionWeights& w,
                                  const BfVector& norm, const Streams& streams) {
  const int64_t size = c.step.size();
  const QuantInput quant = c.work.QuantOf(size, c.config.hidden_size);
  return {.streams = streams,
          .fn = w.fn,
          .base = w.base,
          .scale = w.scale,
          .norm = norm,
          .norm_eps = static_cast<float>(c.config.rms_norm_eps),
          .hc_eps = static_cast<float>(c.config.hc_eps),
          .iterations = c.config.hc_sinkhorn_iters,
          .x = c.work.x.View(size, c.config.hidden_size),
          .q = quant.q,
          .q_scale = quant.scale,
          .post = c.work.post.View(size, kHcMult),
          .comb = c.work.comb.View(size, kHcMult, kHcMult)};
}

// The output of a sub-layer → streams.
kernels::HcPostArgs Leave(const Context& c, const Streams& streams) {
  const int64_t size = c.step.size();
  return {.y = c.work.y.View(size, c.config.hidden_size),
          .post = c.work.post.View(size, kHcMult),
          .comb = c.work.comb.View(size, kHcMult, kHcMult),
          .streams = streams};
}

}  // namespace

void EnterLayer(const Context& c, const LayerWeights& w, const Streams& streams) {
  c.kernels.hc_pre_norm_quant(Enter(c, w.hc_attn, w.attn_norm, streams), c.stream);
}

void Layer(const Context& c, const LayerWeights& w, int layer, const LayerWeights* next,
           const Streams& streams) {
  const auto x = c.work.x.View(c.step.size(), c.config.hidden_size);
  const auto y = c.work.y.View(c.step.size(), c.config.hidden_size);
  const kernels::HcPostArgs leave = Leave(c, streams);
  Attention(c, w.attn, layer, x, y);
  c.kernels.hc_post_pre({.post = leave, .next = Enter(c, w.hc_ffn, w.ffn_norm, streams)}, c.stream);
  Moe(c, w.ffn, layer, x, y);
  if (next == nullptr) return c.kernels.hc_post(leave, c.stream);
  c.kernels.hc_post_pre({.post = leave, .next = Enter(c, next->hc_attn, next->attn_norm, streams)},
                        c.stream);
}

}  // namespace tandem
