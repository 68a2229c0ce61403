// SPDX-License-Identifier: Apache-2.0
// Goal: gate_hash on a device. Method: fresh random tables and logits against the reference; a
// token or an expert outside its table gives −1.
#include "kernels/moe/gate_hash.h"
#include "tests/kernels/cuda/device.h"

namespace tandem::kernels {
namespace {

using GateHashCudaTest = OnDevice;

TEST_F(GateHashCudaTest, EqualsTheReferenceAndMarksWhatIsOutside) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  for (const int64_t count : {1, 4, 5, 131}) {
    Tensor<float, 2> logits(count, 256), weight(count, 6);
    Tensor<int32_t, 1> tokens(count);
    Tensor<int64_t, 2> tid2eid(300, 6);
    Tensor<int32_t, 2> experts(count, 6);
    random.Fill(logits, 4);
    for (int64_t& e : tid2eid.values) e = random.Below(256);
    for (int32_t& t : tokens.values) t = static_cast<int32_t>(random.Below(300));
    const DeviceTensor dexperts(experts.Poison());
    const DeviceTensor dweight(weight.Poison());
    reference.gate_hash({.logits = logits,
                         .tokens = tokens,
                         .tid2eid = tid2eid,
                         .routed_scaling_factor = 2.5f,
                         .experts = experts,
                         .weight = weight},
                        host);
    const int64_t outside = count > 4 ? 4 : -1;
    if (outside >= 0) {
      tokens[outside] = 300;
      for (int k = 0; k < 6; ++k) experts[6 * outside + k] = -1, weight[6 * outside + k] = 0;
    }
    const DeviceTensor dlogits(logits);
    const DeviceTensor dtokens(tokens);
    const DeviceTensor dtable(tid2eid);
    cuda.gate_hash({.logits = dlogits,
                    .tokens = dtokens,
                    .tid2eid = dtable,
                    .routed_scaling_factor = 2.5f,
                    .experts = dexperts,
                    .weight = dweight},
                   stream);
    Wait();
    EXPECT_EQ(dexperts.Fetch().values, experts.values);
    ExpectNear(dweight.Fetch().values, weight.values, 1e-6, 0);
  }
}

}  // namespace
}  // namespace tandem::kernels
