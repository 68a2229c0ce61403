// SPDX-License-Identifier: Apache-2.0
// Goal: lengths have the moments they are asked for, and files and texts with a fault are refused
// with the place and the limit. Method: many draws of a fixed seed; bad inputs one by one.
#include "services/tools/load/plan/lengths.h"

#include <cmath>
#include <fstream>
#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/tools/load/plan/trace.h"

namespace tandem {
namespace {

using testing::HasSubstr;

constexpr int kDraws = 50000;

Lengths Parsed(const std::string& text) {
  const auto lengths = Lengths::Parse("prompt-tokens", text);
  EXPECT_TRUE(lengths.ok()) << lengths.status();
  return *lengths;
}

double MeanOf(const Lengths& lengths) {
  Random random(3, Draws::kLengths);
  double sum = 0;
  for (int i = 0; i < kDraws; ++i) sum += lengths.Draw(random);
  return sum / kDraws;
}

std::string FileWith(const std::string& text) {
  const std::string path = testing::TempDir() + "/lengths_test.txt";
  std::ofstream(path) << text;
  return path;
}

TEST(LengthsTest, FixedAndUniform) {
  EXPECT_EQ(MeanOf(Parsed("17")), 17);
  const Lengths uniform = Parsed("10..12");
  EXPECT_NEAR(MeanOf(uniform), 11, 0.02);
  EXPECT_EQ(uniform.max(), 12U);
  Random random(1, Draws::kLengths);
  std::map<uint32_t, int> seen;
  for (int i = 0; i < kDraws; ++i) ++seen[uniform.Draw(random)];
  EXPECT_EQ(seen.size(), 3U);
  EXPECT_NEAR(seen[10], kDraws / 3.0, kDraws * 0.01);
}

TEST(LengthsTest, LogNormalHasItsMeanAndIsCut) {
  EXPECT_NEAR(MeanOf(Parsed("lognormal:500,0.5,4000000")), 500, 5);
  const Lengths cut = Parsed("lognormal:500,1,600");
  EXPECT_EQ(cut.max(), 600U);
  Random random(1, Draws::kLengths);
  std::vector<double> logs;
  for (int i = 0; i < kDraws; ++i) {
    const uint32_t tokens = cut.Draw(random);
    ASSERT_GE(tokens, 1U);
    ASSERT_LE(tokens, 600U);
  }
}

TEST(LengthsTest, HistogramHasItsWeights) {
  const Lengths lengths = Parsed("file:" + FileWith("# tokens, weight\n10, 1\n20\t3\n\n30,0\n"));
  EXPECT_EQ(lengths.max(), 30U);
  Random random(1, Draws::kLengths);
  std::map<uint32_t, double> seen;
  for (int i = 0; i < kDraws; ++i) seen[lengths.Draw(random)] += 1.0 / kDraws;
  EXPECT_NEAR(seen[10], 0.25, 0.01);
  EXPECT_NEAR(seen[20], 0.75, 0.01);
  EXPECT_EQ(seen.count(30), 0U);
}

TEST(LengthsTest, WrongTextsNameFlagLimitAndValue) {
  for (const char* text : {"", "0", "-1", "x", "4194305", "9..3", "..", "1..", "0..3",
                           "lognormal:1,2", "lognormal:0,1,9", "lognormal:nan,1,9",
                           "lognormal:5,11,9", "lognormal:5,1,0", "file:/no/such"}) {
    const auto lengths = Lengths::Parse("prompt-tokens", text);
    ASSERT_FALSE(lengths.ok()) << text;
    EXPECT_THAT(lengths.status().message(), HasSubstr("--prompt-tokens: ")) << text;
  }
  EXPECT_THAT(Lengths::Parse("x", "4194305").status().message(),
              HasSubstr("\"4194305\" is no number of tokens from 1 to 4194304"));
}

TEST(LengthsTest, WrongHistogramNamesItsLine) {
  for (const char* text :
       {"10 1\n20\n", "10 1\n0 1\n", "10 1\n20 -1\n", "10 1\n20 inf\n", "10 1\n20 1 1\n"}) {
    const auto lengths = Lengths::Parse("x", "file:" + FileWith(text));
    ASSERT_FALSE(lengths.ok()) << text;
    EXPECT_THAT(lengths.status().message(), HasSubstr("line 2")) << text;
  }
  EXPECT_THAT(Lengths::Parse("x", "file:" + FileWith("5 0\n")).status().message(),
              HasSubstr("no length has a weight above 0"));
}

TEST(TraceTest, WrongLineIsNamedWithFieldAndLimit) {
  const std::string good = R"({"timestamp": 5, "input_length": 1, "output_length": 1})"
                           "\n";
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"[]", "no JSON object"},
      {"{", "no JSON object"},
      {R"({"input_length": 1, "output_length": 1})", "timestamp is absent"},
      {R"({"timestamp": -1, "input_length": 1, "output_length": 1})", "timestamp is -1"},
      {R"({"timestamp": 4, "input_length": 1, "output_length": 1})", "before that of the line"},
      {R"({"timestamp": 5, "input_length": 0, "output_length": 1})",
       "input_length is 0, not a whole number from 1 to 4194304"},
      {R"({"timestamp": 5, "input_length": 1, "output_length": 1.5})", "output_length is 1.5"},
      {R"({"timestamp": 5, "input_length": 1, "output_length": 1, "group": -2})", "group is -2"},
      {R"({"timestamp": 5, "input_length": 1, "output_length": 1, "hash_ids": [1, "a"]})",
       "hash_ids is [1,\"a\"], not a list of whole numbers"},
  };
  for (const auto& [line, message] : wrong) {
    const auto trace = ParseTrace("t.jsonl", good + line);
    ASSERT_FALSE(trace.ok()) << line;
    EXPECT_THAT(trace.status().message(), HasSubstr("t.jsonl line 2: ")) << line;
    EXPECT_THAT(trace.status().message(), HasSubstr(message)) << line;
  }
  EXPECT_THAT(ParseTrace("t.jsonl", "\n").status().message(), HasSubstr("no request"));
  EXPECT_FALSE(ReadTrace("/no/such").ok());
}

}  // namespace
}  // namespace tandem
