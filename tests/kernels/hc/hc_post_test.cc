// SPDX-License-Identifier: Apache-2.0
// Goal: hc_post in place. Method: the golden case.
#include "kernels/hc/hc_post.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class HcPostTest : public OnTable {};
ON_EVERY_TABLE(HcPostTest);

TEST_P(HcPostTest, EqualsTheGolden) {
  const Golden golden("hc");
  auto streams = golden.Get<Bf16, 3>("streams");
  kernels.hc_post({.y = golden.Get<Bf16, 2>("y"),
                   .post = golden.Get<float, 2>("post"),
                   .comb = golden.Get<float, 3>("comb"),
                   .streams = streams},
                  stream);
  ExpectNear(streams.values, golden.Get<Bf16, 3>("out").values, 1e-6);
}

}  // namespace
}  // namespace tandem::kernels
