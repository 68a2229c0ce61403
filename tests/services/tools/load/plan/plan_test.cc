// SPDX-License-Identifier: Apache-2.0
// Goal: a plan holds what its spec asks for (shares, rates, shapes, conversations) and is the same
// every time. Method: long plans of fixed seeds, moments against their formulas; no clock.
#include "services/tools/load/plan/plan.h"

#include <cmath>
#include <map>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

constexpr int kDraws = 20000;

struct Moments {
  double mean = 0;
  double variation = 0;  // deviation / mean
};

Moments MomentsOf(const std::vector<double>& values) {
  double sum = 0;
  double squares = 0;
  for (const double value : values) {
    sum += value;
    squares += value * value;
  }
  const double mean = sum / values.size();
  return {.mean = mean, .variation = std::sqrt(squares / values.size() - mean * mean) / mean};
}

Moments GapsOf(const ArrivalSpec& spec) {
  Arrivals arrivals(spec, 7);
  std::vector<double> gaps;
  absl::Duration last = arrivals.Next();
  for (int i = 0; i < kDraws; ++i) {
    const absl::Duration next = arrivals.Next();
    EXPECT_GE(next, last);
    gaps.push_back(absl::ToDoubleSeconds(next - last));
    last = next;
  }
  return MomentsOf(gaps);
}

TEST(ArrivalsTest, ConstantGapsAreAllAlikeAndBeginAtZero) {
  Arrivals arrivals({.rate_begin = 4, .rate_end = 4}, 1);
  EXPECT_EQ(arrivals.Next(), absl::ZeroDuration());
  EXPECT_EQ(arrivals.Next(), absl::Milliseconds(250));
  EXPECT_EQ(arrivals.Next(), absl::Milliseconds(500));
}

TEST(ArrivalsTest, PoissonAndGammaHaveTheirRateAndVariation) {
  for (const double burstiness : {0.25, 1.0, 4.0}) {
    const Moments gaps = GapsOf({.rate_begin = 50, .rate_end = 50, .burstiness = burstiness});
    EXPECT_NEAR(gaps.mean, 0.02, 0.02 * 0.06) << burstiness;
    const double want = 1 / std::sqrt(burstiness);
    EXPECT_NEAR(gaps.variation, want, want * 0.06) << burstiness;
  }
}

TEST(ArrivalsTest, RampCallsForTheAreaUnderItsRate) {
  for (const auto& [begin, end] : std::vector<std::pair<double, double>>{{10, 50}, {50, 10}}) {
    Arrivals arrivals({.rate_begin = begin,
                       .rate_end = end,
                       .ramp_begin = absl::Seconds(5),
                       .ramp = absl::Seconds(20)},
                      1);
    std::map<int, int> by_second;
    for (int i = 0; i < 2000; ++i) ++by_second[absl::ToInt64Seconds(arrivals.Next())];
    EXPECT_EQ(by_second[2], begin);
    // The mean rate of the 10th second of the ramp.
    EXPECT_NEAR(by_second[15], begin + (end - begin) * 10.5 / 20, 1);
    EXPECT_NEAR(by_second[30], end, 1);
  }
}

std::vector<PlannedRequest> Draw(const PlanSpec& spec, int count) {
  Plan plan(spec);
  std::vector<PlannedRequest> out;
  for (int i = 0; i < count; ++i) {
    const auto request = plan.Next();
    if (!request.has_value()) break;
    out.push_back(*request);
  }
  return out;
}

std::string Printed(const std::vector<PlannedRequest>& requests) {
  std::string out = DryRunHeader();
  for (const PlannedRequest& request : requests) out += DryRunLine(request);
  return out;
}

PlanSpec Busy(uint64_t seed) {
  PlanSpec spec = {.seed = seed,
                   .loop = Loop::kOpen,
                   .arrivals = {.rate_begin = 9, .rate_end = 9, .burstiness = 1},
                   .prefix_groups = 4,
                   .prefix_tokens = 16,
                   .golden_share = 0.1,
                   .goldens = {{.prompt_tokens = 3, .output_tokens = 4}},
                   .nasty_share = 0.2,
                   .nasty_kinds = {Nasty::kVanish, Nasty::kSlow}};
  spec.prompt = *Lengths::Parse("prompt-tokens", "10..90");
  spec.output = *Lengths::Parse("output-tokens", "lognormal:50,0.5,400");
  return spec;
}

TEST(PlanTest, SameSeedSamePlanOtherSeedAnother) {
  const std::string once = Printed(Draw(Busy(3), 500));
  EXPECT_EQ(once, Printed(Draw(Busy(3), 500)));
  EXPECT_NE(once, Printed(Draw(Busy(4), 500)));
}

TEST(PlanTest, KindsHaveTheirShares) {
  std::map<std::string, double> seen;
  for (const PlannedRequest& request : Draw(Busy(3), kDraws)) {
    if (request.golden.has_value()) {
      seen["golden"] += 1.0 / kDraws;
      EXPECT_EQ(request.prompt.tokens, 3U);
      EXPECT_EQ(request.output_tokens, 4U);
    }
    if (request.nasty.has_value()) seen[NameOf(*request.nasty)] += 1.0 / kDraws;
  }
  EXPECT_NEAR(seen["golden"], 0.1, 0.01);
  EXPECT_NEAR(seen["vanish"], 0.1, 0.01);
  EXPECT_NEAR(seen["slow"], 0.1, 0.01);
  EXPECT_EQ(seen.size(), 3U);
}

TEST(PlanTest, PrefixGroupsFollowZipf) {
  PlanSpec spec = {.prefix_groups = 3, .prefix_tokens = 16, .prefix_zipf = 1};
  std::map<uint32_t, double> seen;
  for (const PlannedRequest& request : Draw(spec, kDraws)) {
    seen[*request.prompt.group] += 1.0 / kDraws;
    EXPECT_EQ(request.prompt.tokens, 128U + 16U);
  }
  const double sum = 1 + 1.0 / 2 + 1.0 / 3;
  EXPECT_NEAR(seen[0], 1 / sum, 0.01);
  EXPECT_NEAR(seen[2], 1.0 / 3 / sum, 0.01);
}

TEST(PlanTest, EndsWithRequestsTimeOrTrace) {
  EXPECT_EQ(Draw({.requests = 7}, 100).size(), 7U);
  EXPECT_EQ(Draw({.loop = Loop::kOpen,
                  .arrivals = {.rate_begin = 4, .rate_end = 4},
                  .until = absl::Seconds(2)},
                 100)
                .size(),
            8U);
  const auto trace = ParseTrace("t",
                                "{\"timestamp\": 500, \"input_length\": 9, "
                                "\"output_length\": 5}\n\n{\"timestamp\": 1500, "
                                "\"input_length\": 8, \"output_length\": 2, \"group\": 3}\n");
  ASSERT_TRUE(trace.ok()) << trace.status();
  const auto requests = Draw({.loop = Loop::kTrace, .trace = *trace, .trace_speed = 2}, 100);
  ASSERT_EQ(requests.size(), 2U);
  EXPECT_EQ(requests[1].at, absl::Milliseconds(500));
  EXPECT_EQ(requests[1].prompt.group, 3U);
  EXPECT_EQ(requests[0].output_tokens, 5U);
}

TEST(PlanTest, ConversationsTakeTheirTurnsAndCountAsRequests) {
  Plan plan({.requests = 5, .turns = 3});
  const auto first = plan.Next();
  const auto other = plan.Next();
  const auto second = plan.NextTurn(*first);
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->turn, 1U);
  EXPECT_EQ(second->session, first->index);
  const auto third = plan.NextTurn(*second);
  ASSERT_TRUE(third.has_value());
  EXPECT_FALSE(plan.NextTurn(*third).has_value());
  EXPECT_TRUE(plan.NextTurn(*other).has_value());
  EXPECT_FALSE(plan.NextTurn(*other).has_value());
  EXPECT_FALSE(plan.Next().has_value());
}

TEST(PlanTest, WhatIsSentDoesNotDependOnWhoseAnswerCameFirst) {
  const auto plan_both = [](bool early) {
    Plan plan({.turns = 2});
    const auto first = plan.Next();
    if (early) {
      const auto turn = plan.NextTurn(*first);
      return std::make_pair(*turn, *plan.Next());
    }
    const auto other = plan.Next();
    return std::make_pair(*plan.NextTurn(*first), *other);
  };
  const auto early = plan_both(true);
  const auto late = plan_both(false);
  EXPECT_NE(early.first.index, late.first.index);
  const Vocabulary vocabulary({{.begin = 0, .end = 100}});
  EXPECT_EQ(MakePrompt(early.first.prompt, vocabulary, 1),
            MakePrompt(late.first.prompt, vocabulary, 1));
  EXPECT_EQ(MakePrompt(early.second.prompt, vocabulary, 1),
            MakePrompt(late.second.prompt, vocabulary, 1));
}

TEST(PlanTest, LongestSequenceNamesItsFlags) {
  PlanSpec spec = Busy(1);
  spec.turns = 2;
  EXPECT_EQ(spec.LongestSequence().tokens, 16U + 2 * (90 + 400));
  EXPECT_THAT(spec.LongestSequence().from, testing::HasSubstr("--output-tokens"));
  spec.loop = Loop::kTrace;
  spec.trace = {{.prompt_tokens = 4, .output_tokens = 4},
                {.prompt_tokens = 90, .output_tokens = 5}};
  EXPECT_EQ(spec.LongestSequence().tokens, 95U);
  EXPECT_THAT(spec.LongestSequence().from, testing::HasSubstr("request 2"));
}

TEST(PromptsTest, SharedPartsAreSharedAndNoOtherIdIsDrawn) {
  const Vocabulary vocabulary({{.begin = 3, .end = 5}, {.begin = 900, .end = 1000}});
  EXPECT_EQ(vocabulary.size(), 102U);
  const auto make = [&](uint64_t index, uint32_t group, const std::vector<uint64_t>& blocks) {
    return MakePrompt({.index = index,
                       .tokens = 200,
                       .group = group,
                       .group_tokens = 50,
                       .blocks = blocks,
                       .block_tokens = 30},
                      vocabulary, 5);
  };
  const auto one = make(1, 0, {7});
  const auto same_group = make(2, 0, {8});
  const auto same_block = make(3, 1, {7});
  ASSERT_EQ(one.size(), 200U);
  const auto equal = [](const auto& a, const auto& b, size_t from, size_t to) {
    return std::equal(a.begin() + from, a.begin() + to, b.begin() + from);
  };
  EXPECT_TRUE(equal(one, same_group, 0, 50));
  EXPECT_FALSE(equal(one, same_group, 50, 80));
  EXPECT_FALSE(equal(one, same_block, 0, 50));
  EXPECT_TRUE(equal(one, same_block, 50, 80));
  EXPECT_FALSE(equal(one, same_block, 80, 200));
  std::set<uint32_t> seen;
  for (uint64_t i = 0; i < 100; ++i) {
    for (const uint32_t id : make(i, 0, {})) seen.insert(id);
  }
  EXPECT_EQ(seen.size(), 102U);
  EXPECT_EQ(*seen.begin(), 3U);
  EXPECT_EQ(*seen.rbegin(), 999U);
  EXPECT_EQ(seen.count(5), 0U);
}

TEST(PromptsTest, BlocksAreCutToThePrompt) {
  const Vocabulary vocabulary({{.begin = 0, .end = 10}});
  EXPECT_EQ(MakePrompt({.tokens = 40, .blocks = {1, 2}, .block_tokens = 30}, vocabulary, 1).size(),
            40U);
}

}  // namespace
}  // namespace tandem
