// SPDX-License-Identifier: Apache-2.0
// Goal: rotation of interleaved pairs in the last 64 values, and back. Method: golden cases; the
// rest is untouched.
#include "kernels/rope/rope.h"

#include <string>

#include "kernels/rope/rope_table.h"
#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class RopeTest : public OnTable {
 protected:
  // Rotates golden tensor `from` by the table `frequencies`.
  std::vector<Bf16> Rotate(const std::string& from, const std::string& frequencies, bool inverse) {
    const Golden golden("rope");
    auto x = golden.Get<Bf16, 3>(from);
    Tensor<float, 2> cos(4, 32), sin(4, 32);
    kernels.rope_table({.positions = golden.Get<int32_t, 1>("positions"),
                        .frequencies = golden.Get<float, 1>(frequencies),
                        .cos = cos,
                        .sin = sin},
                       stream);
    kernels.rope({.x = x, .cos = cos, .sin = sin, .inverse = inverse}, stream);
    return x.values;
  }
};
ON_EVERY_TABLE(RopeTest);

TEST_P(RopeTest, EqualsTheGoldens) {
  const Golden golden("rope");
  EXPECT_EQ(Rotate("x", "compress", false), (golden.Get<Bf16, 3>("y").values));
  EXPECT_EQ(Rotate("x", "main", false), (golden.Get<Bf16, 3>("y_main").values));
  EXPECT_EQ(Rotate("y", "compress", true), (golden.Get<Bf16, 3>("back").values));
}

TEST_P(RopeTest, LeavesTheOtherValuesAlone) {
  const auto before = Golden("rope").Get<Bf16, 3>("x").values, after = Rotate("x", "main", false);
  for (size_t i = 0; i < before.size(); ++i) {
    if (i % 512 < 448) {
      ASSERT_EQ(after[i], before[i]);
    }
  }
  EXPECT_FALSE(after == before);
}

}  // namespace
}  // namespace tandem::kernels
