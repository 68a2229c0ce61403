// SPDX-License-Identifier: Apache-2.0
// Goal: the unweighted norm of query heads. Method: the golden case.
#include "kernels/norm/head_norm.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class HeadNormTest : public OnTable {};
ON_EVERY_TABLE(HeadNormTest);

TEST_P(HeadNormTest, EqualsTheGolden) {
  const Golden golden("head_norm");
  auto q = golden.Get<Bf16, 3>("q");
  kernels.head_norm({.q = q, .eps = 1e-6f}, stream);
  ExpectNear(q.values, golden.Get<Bf16, 3>("y").values);
}

}  // namespace
}  // namespace tandem::kernels
