// SPDX-License-Identifier: Apache-2.0
// Goal: KvLayout::Extents is all that a decode worker needs: a sequence continues bit for bit in
// another pool. Method: prefill n tokens in one pool, copy extent by extent to other pages, another
// slot and another pool size, decode on in both. n stands on both sides of every boundary: window,
// page, ratio 4, ratio 128. Pools start full of NaN.
#include <cstring>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/services/runtime/model/golden.h"

namespace tandem {
namespace {

constexpr size_t kDecoded = 6;

class HandoffTest : public ::testing::TestWithParam<int> {};

TEST_P(HandoffTest, DecodingGoesOnInAnotherPoolBitForBit) {
  const size_t prefilled = static_cast<size_t>(GetParam());
  const LoadedModel& loaded = ModelNamed("tiny", kernels::kCpuKernels);
  const auto model = MakeModel(loaded, kernels::kCpuKernels);
  std::vector<int32_t> text = LoadGolden("golden_tiny.json")[0].prompt;
  text.insert(text.end(), text.rbegin(), text.rend());
  const auto tokens = absl::MakeConstSpan(text);
  const Place here{.slot = 0, .pages = {0, 1, 2}}, there{.slot = 3, .pages = {6, 1, 4}};
  Pool from(loaded.config(), {.pages = 3, .slots = 1}),
      to(loaded.config(), {.pages = 7, .slots = 4});
  RunTokens(*model, from, {.place = here, .tokens = tokens.subspan(0, prefilled)});

  const int64_t n = GetParam();
  const auto source = from.layout().Extents({.slot = here.slot, .pages = here.pages}, n);
  const auto target = to.layout().Extents({.slot = there.slot, .pages = there.pages}, n);
  ASSERT_EQ(source.size(), target.size());
  for (size_t i = 0; i < source.size(); ++i) {
    ASSERT_EQ(source[i].bytes, target[i].bytes);
    std::memcpy(to.base() + target[i].offset, from.base() + source[i].offset, source[i].bytes);
  }
  // One token at a time, and far enough on to emit the next CSA rows; beyond 128 the partial HCA
  // window shows too.
  const auto rest = tokens.subspan(prefilled, n % 128 == 127 || n % 128 == 0 ? kDecoded : 128);
  const RunArgs stay{.place = here, .tokens = rest, .start = n, .chunk = 3};
  const RunArgs move{.place = there, .tokens = rest, .start = n, .chunk = 3};
  EXPECT_EQ(RunTokens(*model, from, stay), RunTokens(*model, to, move));
}

INSTANTIATE_TEST_SUITE_P(Lengths, HandoffTest,
                         ::testing::Values(1, 2, 3, 4, 5, 7, 63, 64, 65, 127, 128, 129, 130, 255,
                                           256, 257, 300, 383, 511, 512),
                         [](const auto& info) { return "n" + std::to_string(info.param); });

}  // namespace
}  // namespace tandem
