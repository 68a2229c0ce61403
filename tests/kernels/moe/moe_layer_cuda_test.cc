// SPDX-License-Identifier: Apache-2.0
// Goal: moe_layer on a device. Method: fresh random layers of both routers against the reference,
// with all experts here or a rank's part of them; many times on one stream, for the same bits.
#include "kernels/moe/moe_layer.h"
#include "tests/kernels/moe/experts_on_device.h"

namespace tandem::kernels {
namespace {

struct LayerCase {
  int64_t tokens, dim, inner, experts, here, first, topk;
  bool hash;
};

class MoeLayerCudaTest : public OnDevice {
 protected:
  void Compare(const LayerCase& c) {
    SCOPED_TRACE("T " + std::to_string(c.tokens) + " D " + std::to_string(c.dim) + " E " +
                 std::to_string(c.experts) + (c.hash ? " hash" : " score"));
    const RandomExperts experts({c.here, c.dim, c.inner, c.inner}, random);
    const OwnedWeight router(WeightFormat::kBf16, c.experts, c.dim, random);
    const DeviceWeights device_router({&router});
    Tensor<Bf16, 2> x(c.tokens, c.dim), expected(c.tokens, c.dim), poison(c.tokens, c.dim);
    Tensor<float, 1> bias(c.experts);
    Tensor<int32_t, 1> tokens(c.tokens);
    Tensor<int64_t, 2> tid2eid(50, c.topk);
    random.Fill(x, 0.1f);
    random.Fill(bias, 0.1f);
    for (int32_t& token : tokens.values) token = static_cast<int32_t>(random.Below(50));
    for (int64_t& expert : tid2eid.values) expert = random.Below(c.experts);
    poison.Poison();
    MoeLayerArgs args{.x = x,
                      .router = router.plain(),
                      .bias = c.hash ? TensorView<float, 1>{} : bias.view,
                      .tokens = tokens,
                      .tid2eid = c.hash ? tid2eid.view : TensorView<int64_t, 2>{},
                      .topk = c.topk,
                      .routed_scaling_factor = 1.5f,
                      .routed = experts.host(),
                      .first_expert = c.first,
                      .shared = experts.host_shared(),
                      .limit = 10,
                      .y = expected};
    reference.moe_layer(args, host);
    const DeviceTensor dx(x), dy(poison), again(poison);
    const DeviceTensor dbias(bias);
    const DeviceTensor dtokens(tokens);
    const DeviceTensor dtable(tid2eid);
    args.x = dx;
    args.router = device_router[0];
    if (!c.hash) args.bias = dbias;
    args.tokens = dtokens;
    if (c.hash) args.tid2eid = dtable;
    args.routed = experts.device();
    args.shared = experts.device_shared();
    args.y = dy;
    cuda.moe_layer(args, stream);
    args.y = again;
    for (int i = 0; i < 20; ++i) cuda.moe_layer(args, stream);
    Wait();
    ExpectExpertsNear(dy.Fetch().values, expected.values);
    EXPECT_TRUE(dy.Fetch().values == again.Fetch().values);
  }
  Random random{std::random_device{}()};
};

TEST_F(MoeLayerCudaTest, EqualsTheReference) {
  SCOPED_TRACE(random.Trace());
  for (const bool hash : {false, true}) {
    for (const int64_t tokens : {1, 2, 5, 8, 9, 17})
      Compare({tokens, 512, 256, 16, 16, 0, 6, hash});
    Compare({3, 128, 128, 3, 3, 0, 2, hash});
    Compare({8, 1024, 128, 40, 7, 20, 6, hash});
  }
}

TEST_F(MoeLayerCudaTest, EqualsTheReferenceAtRealShapes) {
  SCOPED_TRACE(random.Trace());
  for (const bool hash : {false, true}) {
    Compare({4, 4096, 128, 256, 6, 100, 6, hash});
    Compare({2, 7168, 128, 384, 4, 380, 6, hash});
  }
}

}  // namespace
}  // namespace tandem::kernels
