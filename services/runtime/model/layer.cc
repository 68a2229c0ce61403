// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/model/layer.h"

#include "services/runtime/model/attention.h"
#include "services/runtime/model/moe.h"

namespace tandem {
namespace {

// Collapses the streams into the normed input of a sub-layer, and keeps in the workspace how its
// output goes back.
BfMatrix HcPre(const Context& c, const HyperConnectionWeights& w, const BfVector& norm,
               const Streams& streams) {
  const int64_t size = c.step.size();
  const auto x = c.work.x.View(size, c.config.hidden_size);
  const float norm_eps = static_cast<float>(c.config.rms_norm_eps);
  c.kernels.hc_pre({.streams = streams,
                    .fn = w.fn,
                    .base = w.base,
                    .scale = w.scale,
                    .norm_eps = norm_eps,
                    .hc_eps = static_cast<float>(c.config.hc_eps),
                    .iterations = c.config.hc_sinkhorn_iters,
                    .x = x,
                    .post = c.work.post.View(size, kHcMult),
                    .comb = c.work.comb.View(size, kHcMult, kHcMult)},
                   c.stream);
  c.kernels.rms_norm({.x = x, .weight = norm, .eps = norm_eps, .y = x}, c.stream);
  return x;
}

void HcPost(const Context& c, const BfMatrix& y, const Streams& streams) {
  const int64_t size = c.step.size();
  c.kernels.hc_post({.y = y,
                     .post = c.work.post.View(size, kHcMult),
                     .comb = c.work.comb.View(size, kHcMult, kHcMult),
                     .streams = streams},
                    c.stream);
}

}  // namespace

void Layer(const Context& c, const LayerWeights& w, int layer, const Streams& streams) {
  const auto y = c.work.y.View(c.step.size(), c.config.hidden_size);
  Attention(c, w.attn, layer, HcPre(c, w.hc_attn, w.attn_norm, streams), y);
  HcPost(c, y, streams);
  Moe(c, w.ffn, layer, HcPre(c, w.hc_ffn, w.ffn_norm, streams), y);
  HcPost(c, y, streams);
}

}  // namespace tandem
