// SPDX-License-Identifier: Apache-2.0
// Goal: moe_experts on a device. Method: fresh random experts and routes against the reference,
// tiny, sharded and real shapes, sizes on both sides of a slice; every kind of slot by hand; bits
// independent of T; twice, for the same bits.
#include "kernels/moe/moe_experts.h"
#include "tests/kernels/moe/experts_on_device.h"

namespace tandem::kernels {
namespace {

constexpr float kLimit = 10;

class MoeExpertsCudaTest : public OnDevice {
 protected:
  Tensor<Bf16, 2> Run(const RandomExperts& experts, TensorView<const Bf16, 2> x,
                      const Tensor<int32_t, 2>& ids, const Tensor<float, 2>& weight,
                      int64_t first_expert = 0) {
    Tensor<Bf16, 2> input(x.shape[0], x.shape[1]), poison(x.shape[0], x.shape[1]);
    std::copy_n(x.data, x.size(), input.values.data());
    poison.Poison();
    const DeviceTensor dx(input), dy(poison);
    const DeviceTensor dids(ids);
    const DeviceTensor dweight(weight);
    cuda.moe_experts({.x = dx,
                      .experts = dids,
                      .weight = dweight,
                      .routed = experts.device(),
                      .first_expert = first_expert,
                      .shared = experts.device_shared(),
                      .limit = kLimit,
                      .y = dy},
                     stream);
    EXPECT_TRUE(Synchronize(stream)) << stream.error();
    return dy.Fetch();
  }
  Tensor<Bf16, 2> Expected(const RandomExperts& experts, const Tensor<Bf16, 2>& x,
                           const Tensor<int32_t, 2>& ids, const Tensor<float, 2>& weight,
                           int64_t first_expert = 0) {
    Tensor<Bf16, 2> y(x.view.shape[0], x.view.shape[1]);
    reference.moe_experts({.x = x,
                           .experts = ids,
                           .weight = weight,
                           .routed = experts.host(),
                           .first_expert = first_expert,
                           .shared = experts.host_shared(),
                           .limit = kLimit,
                           .y = y},
                          host);
    return y;
  }
  void Route(int64_t experts, Tensor<int32_t, 2>& ids, Tensor<float, 2>& weight) {
    for (int32_t& id : ids.values) id = static_cast<int32_t>(random.Below(experts));
    for (float& w : weight.values) w = 0.1f + 0.01f * static_cast<float>(random.Below(100));
  }
  void Compare(const RandomExperts& experts, int64_t count, int64_t dim, int64_t tokens,
               int64_t topk) {
    SCOPED_TRACE("D " + std::to_string(dim) + " T " + std::to_string(tokens));
    Tensor<Bf16, 2> x(tokens, dim);
    Tensor<int32_t, 2> ids(tokens, topk);
    Tensor<float, 2> weight(tokens, topk);
    random.Fill(x, 0.1f);
    Route(count, ids, weight);
    const Tensor<Bf16, 2> expected = Expected(experts, x, ids, weight);
    const Tensor<Bf16, 2> actual = Run(experts, x.view, ids, weight);
    ExpectExpertsNear(actual.values, expected.values);
    EXPECT_TRUE(Run(experts, x.view, ids, weight).values == actual.values);
  }
  Random random{std::random_device{}()};
};

TEST_F(MoeExpertsCudaTest, EqualsTheReference) {
  SCOPED_TRACE(random.Trace());
  for (const WeightFormat format : {WeightFormat::kFp4, WeightFormat::kFp8}) {
    for (const int64_t dim : {128, 384, 512}) {
      const int64_t inner = dim == 512 ? 256 : 512 - dim;  // 384, 128, 256
      const RandomExperts experts({9, dim, inner, dim == 384 ? 256 : inner, format}, random);
      for (const int64_t tokens : {1, 2, 7, 8, 9, 17}) Compare(experts, 9, dim, tokens, 3);
    }
  }
}

TEST_F(MoeExpertsCudaTest, EqualsTheReferenceAtFlashShards) {
  SCOPED_TRACE(random.Trace());
  for (const int64_t inner : {256, 512, 1024, 2048}) {
    const RandomExperts experts({2, 4096, inner, inner}, random);
    Compare(experts, 2, 4096, inner > 256 ? 1 : 3, inner > 1024 ? 1 : 2);
  }
}

TEST_F(MoeExpertsCudaTest, EqualsTheReferenceAtProShards) {
  SCOPED_TRACE(random.Trace());
  for (const int64_t inner : {384, 1536}) {
    const RandomExperts experts({1, 7168, inner, inner}, random);
    Compare(experts, 1, 7168, 1, 1);
  }
}

TEST_F(MoeExpertsCudaTest, SkipsSlotsThatNameNoExpertHere) {
  SCOPED_TRACE(random.Trace());
  const RandomExperts experts({4, 256, 128, 128}, random);
  Tensor<Bf16, 2> x(8, 256);
  Tensor<int32_t, 2> ids(8, 3);
  Tensor<float, 2> weight(8, 3);
  random.Fill(x, 0.1f);
  for (const int first : {0, 100}) {
    Route(4, ids, weight);
    for (int32_t& id : ids.values) id += first;
    const int32_t others[] = {-1, first - 1, first + 4, 1 << 30, -(1 << 30)};
    for (int i = 0; i < 5; ++i) ids[4 * i + 1] = others[i];
    for (int k = 0; k < 3; ++k) ids[21 + k] = -1;  // the last token has the shared expert only
    const Tensor<Bf16, 2> expected = Expected(experts, x, ids, weight, first);
    const Tensor<Bf16, 2> actual = Run(experts, x.view, ids, weight, first);
    ExpectExpertsNear(actual.values, expected.values);
  }
}

TEST_F(MoeExpertsCudaTest, AnExpertMayHaveMorePairsThanTokens) {
  SCOPED_TRACE(random.Trace());
  const RandomExperts experts({3, 256, 128, 128}, random);
  Tensor<Bf16, 2> x(8, 256);
  Tensor<int32_t, 2> ids(8, 8);  // 64 pairs, all of one expert but for two
  Tensor<float, 2> weight(8, 8);
  random.Fill(x, 0.1f);
  Route(1, ids, weight);
  ids[5] = 2;
  ids[60] = 1;
  const Tensor<Bf16, 2> expected = Expected(experts, x, ids, weight);
  const Tensor<Bf16, 2> actual = Run(experts, x.view, ids, weight);
  ExpectExpertsNear(actual.values, expected.values);
}

// Shared memory around the 48 KB that a launch has without asking.
TEST_F(MoeExpertsCudaTest, RunsWithEveryNumberOfSlots) {
  SCOPED_TRACE(random.Trace());
  const RandomExperts experts({5, 128, 128, 128}, random);
  for (int64_t topk = 1; topk <= 8; ++topk) {
    for (int64_t tokens = 1; tokens <= 8; ++tokens) Compare(experts, 5, 128, tokens, topk);
  }
}

TEST_F(MoeExpertsCudaTest, ATokensBitsDoNotDependOnItsNeighbours) {
  SCOPED_TRACE(random.Trace());
  const RandomExperts experts({12, 1024, 256, 256}, random);
  Tensor<Bf16, 2> x(8, 1024);
  Tensor<int32_t, 2> ids(8, 6);
  Tensor<float, 2> weight(8, 6);
  random.Fill(x, 0.1f);
  Route(12, ids, weight);
  const Tensor<Bf16, 2> all = Run(experts, x.view, ids, weight);
  for (int t = 0; t < 8; ++t) {
    Tensor<int32_t, 2> one(1, 6);
    Tensor<float, 2> w(1, 6);
    for (int k = 0; k < 6; ++k) one[k] = ids[6 * t + k], w[k] = weight[6 * t + k];
    const Tensor<Bf16, 2> alone = Run(experts, Rows(x.view, t, 1), one, w);
    EXPECT_EQ(std::memcmp(alone.values.data(), &all.values[t * 1024], 2 * 1024), 0) << t;
  }
}

}  // namespace
}  // namespace tandem::kernels
