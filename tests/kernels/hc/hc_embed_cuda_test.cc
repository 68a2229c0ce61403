// SPDX-License-Identifier: Apache-2.0
// Goal: hc_embed on a device. Method: random rows, exact.
#include "tests/kernels/hc/hc_case.h"

namespace tandem::kernels {
namespace {

using HcEmbedCudaTest = OnDevice;

TEST_F(HcEmbedCudaTest, EqualsTheReference) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  for (const int64_t tokens : {1, 7, 130}) {
    for (const int64_t dim : {1, 129, 256, 4096, 7168}) {
      Tensor<Bf16, 2> embed(50, dim);
      Tensor<int32_t, 1> ids(tokens);
      Tensor<Bf16, 3> expected(tokens, 4, dim), poison(tokens, 4, dim);
      random.Fill(embed);
      poison.Poison();
      for (int32_t& id : ids.values) id = static_cast<int32_t>(random.Below(50));
      reference.hc_embed({.tokens = ids, .embed = embed, .streams = expected}, host);
      const DeviceTensor d_embed(embed);
      const DeviceTensor d_ids(ids);
      const DeviceTensor streams(poison);
      cuda.hc_embed({.tokens = d_ids, .embed = d_embed, .streams = streams}, stream);
      Wait();
      ExpectSameBits(streams.Fetch().values, expected.values);
    }
  }
}

}  // namespace
}  // namespace tandem::kernels
