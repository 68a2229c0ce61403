// SPDX-License-Identifier: Apache-2.0
// Goal: greedy and random choice with every filter. Method: by hand on small rows; frequencies over
// a grid of u equal the probabilities; NaN, infinities and degenerate parameters.
#include "kernels/sampling/sample.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

struct Params {
  float temperature = 1;
  int32_t top_k = 0;
  float top_p = 1;
  float min_p = 0;
};

class SampleTest : public OnTable {
 protected:
  int32_t Draw(std::vector<float> logits, Params params, float u = 0) {
    Tensor<int32_t, 1> token(1);
    const auto n = static_cast<int64_t>(logits.size());
    kernels.sample({.logits = {logits.data(), {1, n}},
                    .temperature = {&params.temperature, {1}},
                    .top_k = {&params.top_k, {1}},
                    .top_p = {&params.top_p, {1}},
                    .min_p = {&params.min_p, {1}},
                    .u = {&u, {1}},
                    .token = token.Poison()},
                   stream);
    return token[0];
  }
  // Tokens that some u of a fine grid draws, with their share.
  std::vector<double> Shares(const std::vector<float>& logits, Params params) {
    std::vector<double> shares(logits.size());
    for (int i = 0; i < 1000; ++i)
      shares[Draw(logits, params, static_cast<float>(i) / 1000)] += 1e-3;
    return shares;
  }
};
ON_EVERY_TABLE(SampleTest);

const std::vector<float> kRow = {std::log(0.1f), std::log(0.4f), std::log(0.2f), std::log(0.3f)};

TEST_P(SampleTest, GreedyTakesTheLargestAndOfTiesTheFirst) {
  EXPECT_EQ(Draw({1, 3, 2, 3}, {.temperature = 0}), 1);
  EXPECT_EQ(Draw({NAN, -1, NAN}, {.temperature = 0}), 1);
  EXPECT_EQ(Draw({NAN, NAN}, {.temperature = 0}), 0);
  EXPECT_EQ(Draw({-INFINITY, -INFINITY}, {.temperature = 0}), 0);
}

TEST_P(SampleTest, FrequenciesAreTheProbabilities) {
  const auto shares = Shares(kRow, {});
  const double expected[] = {0.1, 0.4, 0.2, 0.3};
  for (int v = 0; v < 4; ++v) EXPECT_NEAR(shares[v], expected[v], 0.0021);
  const auto cold = Shares(kRow, {.temperature = 0.5f});
  const double squares[] = {0.01 / 0.3, 0.16 / 0.3, 0.04 / 0.3, 0.09 / 0.3};
  for (int v = 0; v < 4; ++v) EXPECT_NEAR(cold[v], squares[v], 0.0021);
}

TEST_P(SampleTest, FiltersKeepWhatTheyName) {
  auto shares = Shares(kRow, {.top_k = 2});
  EXPECT_NEAR(shares[1], 0.4 / 0.7, 0.0021);
  EXPECT_NEAR(shares[3], 0.3 / 0.7, 0.0021);
  shares = Shares(kRow, {.top_p = 0.65f});
  EXPECT_EQ(shares[0] + shares[2], 0);
  shares = Shares(kRow, {.top_p = 0.75f});
  EXPECT_EQ(shares[0], 0);
  EXPECT_GT(shares[2], 0);
  shares = Shares(kRow, {.min_p = 0.6f});
  EXPECT_EQ(shares[0] + shares[2], 0);
  // top_p counts what top_k left: 0.4 of 0.7 is 0.57.
  shares = Shares(kRow, {.top_k = 2, .top_p = 0.55f});
  EXPECT_NEAR(shares[1], 1, 1e-9);
}

TEST_P(SampleTest, AlwaysKeepsOne) {
  EXPECT_EQ(Draw(kRow, {.top_p = 0}, 0.99f), 1);
  EXPECT_EQ(Draw(kRow, {.min_p = 1}, 0.99f), 1);
  EXPECT_EQ(Draw(kRow, {.top_k = 1}, 0.99f), 1);
  EXPECT_EQ(Draw({5}, {}, 0.5f), 0);
}

TEST_P(SampleTest, NeverDrawsWhatHasNoProbability) {
  EXPECT_EQ(Draw({-INFINITY, 0, NAN}, {}, 0), 1);
  EXPECT_EQ(Draw({-INFINITY, 0, NAN}, {}, 0.9999999f), 1);
  EXPECT_EQ(Draw({0, INFINITY, 3}, {}, 0.5f), 1);
  EXPECT_EQ(Draw({NAN, NAN}, {}, 0.5f), 0);
  EXPECT_EQ(Draw({1, 2, 3}, {.temperature = 1e-30f}, 0.5f), 2);
}

}  // namespace
}  // namespace tandem::kernels
