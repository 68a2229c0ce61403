// SPDX-License-Identifier: Apache-2.0
// Goal: hc_pre_norm_quant and hc_post_pre on a device. Method: fresh random input at the edges of
// their kernels and the model's sizes; the bits of the operations that they stand for, which their
// own tests judge; the values of the reference; post and comb written over those that were read.
#include "tests/kernels/hc/hc_case.h"

namespace tandem::kernels {
namespace {

struct Size {
  int64_t tokens, dim;
};
const std::vector<Size> kSizes = {{1, 128},  {1, 4096},  {1, 7168},  {2, 4096},
                                  {15, 256}, {16, 1024}, {17, 256},  {64, 4096},
                                  {65, 384}, {511, 128}, {512, 640}, {577, 256}};

class HcPostPreCudaTest : public OnDevice {
 protected:
  // hc_pre, rms_norm and act_quant of the case's streams as they are, against what `fused` left.
  void ExpectComposition(const HcDeviceCase& plain, const HcDeviceCase& fused) {
    cuda.hc_pre(plain.Pre(), stream);
    cuda.rms_norm({.x = plain.x, .weight = plain.norm, .eps = 1e-6f, .y = plain.x}, stream);
    Wait();
    const auto x = fused.x.Fetch();
    ExpectSameBits(x.values, plain.x.Fetch().values);
    ExpectSameBits(fused.next_post.Fetch().values, plain.next_post.Fetch().values);
    ExpectSameBits(fused.next_comb.Fetch().values, plain.next_comb.Fetch().values);
    const int64_t tokens = x.view.shape[0], dim = x.view.shape[1];
    Tensor<E4M3, 2> q(tokens, dim);
    Tensor<Ue8m0, 2> scale(tokens, dim / 128);
    reference.act_quant({.x = x, .q = q, .scale = scale}, host);
    ExpectSameBits(fused.q.Fetch().values, q.values);
    ExpectSameBits(fused.q_scale.Fetch().values, scale.values);
  }
};

TEST_F(HcPostPreCudaTest, PreNormQuantIsItsThreeOperations) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  for (const auto [tokens, dim] : kSizes) {
    SCOPED_TRACE(testing::Message() << tokens << " tokens of " << dim);
    const HcCase c(tokens, dim, 24, random);
    const HcDeviceCase plain(c), fused(c);
    cuda.hc_pre_norm_quant(fused.PreNormQuant(), stream);
    ExpectComposition(plain, fused);
  }
}

TEST_F(HcPostPreCudaTest, PostPreIsItsTwoOperations) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  for (const auto [tokens, dim] : kSizes) {
    SCOPED_TRACE(testing::Message() << tokens << " tokens of " << dim);
    const HcCase c(tokens, dim, 24, random);
    const HcDeviceCase plain(c), fused(c), over(c);
    cuda.hc_post(plain.Post(), stream);
    cuda.hc_post_pre({.post = fused.Post(), .next = fused.PreNormQuant()}, stream);
    HcPreNormQuantArgs next = over.PreNormQuant();
    next.post = over.post;
    next.comb = over.comb;
    cuda.hc_post_pre({.post = over.Post(), .next = next}, stream);
    Wait();
    ExpectSameBits(fused.streams.Fetch().values, plain.streams.Fetch().values);
    ExpectComposition(plain, fused);
    ExpectSameBits(over.comb.Fetch().values, fused.next_comb.Fetch().values);
    ExpectSameBits(over.post.Fetch().values, fused.next_post.Fetch().values);
    ExpectSameBits(over.q.Fetch().values, fused.q.Fetch().values);
  }
}

TEST_F(HcPostPreCudaTest, EqualsTheReference) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  for (const auto [tokens, dim] : std::vector<Size>{{1, 4096}, {5, 7168}, {70, 256}}) {
    const HcCase c(tokens, dim, 24, random);
    const HcDeviceCase d(c);
    Tensor<Bf16, 3> streams = c.streams;
    Tensor<Bf16, 2> x(tokens, dim);
    Tensor<E4M3, 2> q(tokens, dim);
    Tensor<Ue8m0, 2> q_scale(tokens, dim / 128);
    Tensor<float, 2> post(tokens, 4);
    Tensor<float, 3> comb(tokens, 4, 4);
    reference.hc_post({.y = c.y, .post = c.post, .comb = c.comb, .streams = streams}, host);
    cuda.hc_post_pre({.post = d.Post(), .next = d.PreNormQuant()}, stream);
    Wait();
    // What follows is judged on the device's own streams: of a row some round the other way.
    const auto own = d.streams.Fetch();
    ExpectNear(own.values, streams.values, 1e-5);
    reference.hc_pre_norm_quant({.streams = own,
                                 .fn = c.fn,
                                 .base = c.base,
                                 .scale = c.scale,
                                 .norm = c.norm,
                                 .norm_eps = 1e-6f,
                                 .hc_eps = 1e-6f,
                                 .iterations = 20,
                                 .x = x,
                                 .q = q,
                                 .q_scale = q_scale,
                                 .post = post,
                                 .comb = comb},
                                host);
    // An x' that rounds the other way moves x by a second bf16 step.
    ExpectNear(d.x.Fetch().values, x.values, 0.1);
    ExpectNear(d.next_post.Fetch().values, post.values, 0, 1e-5);
    ExpectNear(d.next_comb.Fetch().values, comb.values, 0, 1e-5);
  }
}

}  // namespace
}  // namespace tandem::kernels
