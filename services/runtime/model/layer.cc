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

// The output of a sub-layer, this rank's part of it if there is who to sum it with, → streams → the
// input of `next`, if there is one.
struct Leaving {
  Communicator* communicator = nullptr;
  const Streams& streams;
  kernels::HcPreNormQuantArgs next;
};

void Leave(const Context& c, const Leaving& leaving) {
  const int64_t size = c.step.size();
  const auto y = c.work.y.View(size, c.config.hidden_size);
  const kernels::HcPostArgs post = {.y = y,
                                    .post = c.work.post.View(size, kHcMult),
                                    .comb = c.work.comb.View(size, kHcMult, kHcMult),
                                    .streams = leaving.streams};
  if (leaving.communicator != nullptr) {
    leaving.communicator->AllReduce({.x = y, .post = post, .next = leaving.next}, c.stream);
  } else if (leaving.next.x.data != nullptr) {
    c.kernels.hc_post_pre({.post = post, .next = leaving.next}, c.stream);
  } else {
    c.kernels.hc_post(post, c.stream);
  }
}

}  // namespace

void EnterLayer(const Context& c, const LayerWeights& w, const Streams& streams) {
  c.kernels.hc_pre_norm_quant(Enter(c, w.hc_attn, w.attn_norm, streams), c.stream);
}

void Layer(const Context& c, const LayerWeights& w, int layer, const LayerWeights* next,
           const Streams& streams) {
  const auto x = c.work.x.View(c.step.size(), c.config.hidden_size);
  const auto y = c.work.y.View(c.step.size(), c.config.hidden_size);
  Attention(c, w.attn, layer, x, y);
  Leave(c, {.communicator = c.communicator,
            .streams = streams,
            .next = Enter(c, w.hc_ffn, w.ffn_norm, streams)});
  Moe(c, w.ffn, layer, x, y);
  Leaving leaving = {.communicator = c.sums_mlps ? c.communicator : nullptr, .streams = streams};
  if (next != nullptr) leaving.next = Enter(c, next->hc_attn, next->attn_norm, streams);
  Leave(c, leaving);
}

}  // namespace tandem
