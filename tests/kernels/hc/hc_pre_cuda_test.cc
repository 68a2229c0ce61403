// SPDX-License-Identifier: Apache-2.0
// Goal: hc_pre on a device. Method: fresh random input at the edges of each of its kernels (1, 16
// and 512 tokens, tiles of 16 and 64) and the model's sizes, against the reference; a token's bits
// are the same in any company and in any run.
#include "tests/kernels/hc/hc_case.h"

namespace tandem::kernels {
namespace {

using HcPreCudaTest = OnDevice;

struct Size {
  int64_t tokens, dim;
};

TEST_F(HcPreCudaTest, EqualsTheReference) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  for (const auto [tokens, dim] : std::vector<Size>{{1, 32},
                                                    {1, 256},
                                                    {1, 4096},
                                                    {1, 7168},
                                                    {2, 256},
                                                    {15, 288},
                                                    {16, 4096},
                                                    {17, 4096},
                                                    {63, 7168},
                                                    {64, 1024},
                                                    {65, 256},
                                                    {511, 64},
                                                    {512, 544},
                                                    {513, 256}}) {
    SCOPED_TRACE(testing::Message() << tokens << " tokens of " << dim);
    const HcCase c(tokens, dim, 24, random);
    const HcDeviceCase d(c);
    Tensor<Bf16, 2> x(tokens, dim);
    Tensor<float, 2> post(tokens, 4);
    Tensor<float, 3> comb(tokens, 4, 4);
    HcPreArgs args = d.Pre();
    args.streams = c.streams;
    args.fn = c.fn;
    args.base = c.base;
    args.scale = c.scale;
    args.x = x;
    args.post = post;
    args.comb = comb;
    reference.hc_pre(args, host);
    cuda.hc_pre(d.Pre(), stream);
    Wait();
    ExpectNear(d.x.Fetch().values, x.values, 1e-4);
    ExpectNear(d.next_post.Fetch().values, post.values, 0, 1e-5);
    ExpectNear(d.next_comb.Fetch().values, comb.values, 0, 1e-5);
  }
}

TEST_F(HcPreCudaTest, ATokensBitsDependOnNothingElse) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  const HcCase c(600, 1024, 24, random);
  const HcDeviceCase all(c), again(c);
  cuda.hc_pre(all.Pre(), stream);
  cuda.hc_pre(again.Pre(), stream);
  Wait();
  ExpectSameBits(all.x.Fetch().values, again.x.Fetch().values);
  ExpectSameBits(all.next_comb.Fetch().values, again.next_comb.Fetch().values);
  const HcDeviceCase parts(c);
  for (int64_t first = 0, n = 1; first < 600; first += n) {
    n = first < 4 ? 1 : first == 4 ? 7 : first < 43 ? 16 : std::min<int64_t>(600 - first, 100);
    HcPreArgs args = parts.Pre();
    args.streams = Rows(args.streams, first, n);
    args.x = Rows(args.x, first, n);
    args.post = Rows(args.post, first, n);
    args.comb = Rows(args.comb, first, n);
    cuda.hc_pre(args, stream);
  }
  Wait();
  ExpectSameBits(all.x.Fetch().values, parts.x.Fetch().values);
  ExpectSameBits(all.next_post.Fetch().values, parts.next_post.Fetch().values);
  ExpectSameBits(all.next_comb.Fetch().values, parts.next_comb.Fetch().values);
}

}  // namespace
}  // namespace tandem::kernels
