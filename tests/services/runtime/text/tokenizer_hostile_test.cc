// SPDX-License-Identifier: Apache-2.0
// Goal: no text of one megabyte takes long, whatever it repeats, and all of it comes back.
// Method: one megabyte of a repeated unit, each under a limit that quadratic work would exceed a
// thousandfold.
#include <string>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/services/runtime/text/golden.h"

namespace tandem {
namespace {

constexpr size_t kBytes = size_t{1} << 20;
// Linear work takes 0.1 s, and a second or two under a sanitizer on a busy machine; quadratic,
// hours.
constexpr absl::Duration kLimit = absl::Seconds(20);

class TokenizerHostileTest : public ::testing::TestWithParam<const char*> {};

void ExpectQuickAndWhole(const Tokenizer& tokenizer, absl::string_view unit) {
  std::string text;
  while (text.size() < kBytes) text.append(unit.data(), unit.size());
  const absl::Duration start = CpuTime();
  const auto ids = tokenizer.Encode(text);
  EXPECT_LT(CpuTime() - start, kLimit);
  ASSERT_TRUE(ids.ok()) << ids.status();
  EXPECT_TRUE(tokenizer.Decode(*ids) == text);  // Not EXPECT_EQ: it would print a megabyte.
}

TEST_P(TokenizerHostileTest, OneMegabyteOfOneUnitIsQuickAndWhole) {
  ExpectQuickAndWhole(TinyTokenizer(), GetParam());
  ExpectQuickAndWhole(DeepSeekTokenizer(), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Units, TokenizerHostileTest,
                         ::testing::Values("a", "ab", "é", " ", "\n", " \n", "\n ", "\t", "1", "中",
                                           "ア", "!", "!a", "😀", "\u0301", "\u00a0", "\x01", "<",
                                           "<｜", "<｜User｜", "<｜User｜>", "<think>", " a", "  a",
                                           "a1", "｜DSML｜<", "a中", ".\n"));

}  // namespace
}  // namespace tandem
