// SPDX-License-Identifier: Apache-2.0
// Goal: gate_score on a device. Method: fresh random logits against the reference, the choice
// exactly; logits and biases of few values for ties, some NaN; sizes around a warp.
#include "kernels/moe/gate_score.h"
#include "tests/kernels/cuda/device.h"

namespace tandem::kernels {
namespace {

class GateScoreCudaTest : public OnDevice {
 protected:
  void Compare(const Tensor<float, 2>& logits, const Tensor<float, 1>& bias, int64_t topk) {
    const int64_t tokens = logits.view.shape[0];
    SCOPED_TRACE("E " + std::to_string(logits.view.shape[1]) + " T " + std::to_string(tokens));
    Tensor<int32_t, 2> experts(tokens, topk);
    Tensor<float, 2> weight(tokens, topk);
    GateScoreArgs args{.logits = logits,
                       .bias = bias,
                       .routed_scaling_factor = 1.5f,
                       .experts = experts,
                       .weight = weight};
    const DeviceTensor dexperts(experts.Poison());
    const DeviceTensor dweight(weight.Poison());
    reference.gate_score(args, host);
    const DeviceTensor dlogits(logits);
    const DeviceTensor dbias(bias);
    args = {.logits = dlogits,
            .bias = dbias,
            .routed_scaling_factor = 1.5f,
            .experts = dexperts,
            .weight = dweight};
    cuda.gate_score(args, stream);
    Wait();
    EXPECT_EQ(dexperts.Fetch().values, experts.values);
    const std::vector<float> actual = dweight.Fetch().values;
    for (size_t i = 0; i < actual.size(); ++i) {
      if (std::isnan(weight.values[i])) {
        EXPECT_TRUE(std::isnan(actual[i])) << i;
      } else {
        ASSERT_NEAR(actual[i], weight.values[i], 1e-6 * std::abs(weight.values[i])) << i;
      }
    }
  }
  Random random{std::random_device{}()};
};

TEST_F(GateScoreCudaTest, EqualsTheReference) {
  SCOPED_TRACE(random.Trace());
  for (const int64_t tokens : {1, 3, 4, 5, 200}) {
    for (const int64_t experts : {6, 31, 32, 33, 256, 384, 512}) {
      Tensor<float, 2> logits(tokens, experts);
      Tensor<float, 1> bias(experts);
      random.Fill(logits, 4);
      random.Fill(bias, 0.3f);
      Compare(logits, bias, 6);
    }
  }
}

TEST_F(GateScoreCudaTest, BreaksTiesAndSkipsNans) {
  SCOPED_TRACE(random.Trace());
  Tensor<float, 2> logits(300, 256);
  Tensor<float, 1> bias(256);
  for (float& v : logits.values) v = static_cast<float>(random.Below(4)) - 2;
  for (float& v : bias.values) v = 0.5f * static_cast<float>(random.Below(2));
  for (int i = 0; i < 2000; ++i) logits[random.Below(300 * 256)] = NAN;
  for (int i = 0; i < 500; ++i) logits[random.Below(300 * 256)] = i % 2 == 0 ? -120.0f : 95.0f;
  for (int e = 3; e < 256; ++e) logits[e] = NAN;  // fewer numbers than slots
  Compare(logits, bias, 6);
  Compare(logits, bias, 1);
  Compare(logits, bias, 32);
}

}  // namespace
}  // namespace tandem::kernels
