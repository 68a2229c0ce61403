// SPDX-License-Identifier: Apache-2.0
// Goal: clients that misbehave meet an end that fits and disturb nobody. Method: each kind among
// honest requests, against a server in this process that answers by a rule, so that every honest
// token is checked.
#include <algorithm>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/tools/load/drive/expectation.h"
#include "tests/services/tools/load/drive/carry.h"
#include "tests/services/tools/load/drive/fake_inference.h"

namespace tandem {
namespace {

using testing::IsEmpty;

class NastyTest : public testing::TestWithParam<int> {};

TEST_P(NastyTest, MeetsItsEndAndDisturbsNobody) {
  const auto nasty = static_cast<Nasty>(GetParam());
  const FakeInference server(
      {.first_token = absl::Milliseconds(30), .gap = absl::Milliseconds(30)});
  PlanSpec plan = Requests(40);
  plan.output = Lengths::Fixed(10);
  plan.nasty_share = 0.4;
  plan.nasty_kinds = {nasty};
  const Driven driven =
      Carry(server, {.options = {.concurrency = 6, .check_simulated = true}, .plan = plan});
  const LoadResult& result = driven.result;
  EXPECT_THAT(FailedChecks(result), IsEmpty());
  EXPECT_EQ(driven.outcome.errors, 0U);
  EXPECT_THAT(result.errors, IsEmpty());
  const uint64_t honest = Of(result, RequestKind::kSentinel).completed;
  const KindCount& nasties = Of(result, KindOf(nasty));
  EXPECT_GT(nasties.requests, 5U);
  EXPECT_EQ(result.counts.completed, honest);
  const bool twins = nasty == Nasty::kDuplicate;
  EXPECT_EQ(honest + nasties.requests / (twins ? 2 : 1), 40U);
  // Those that read to the end have all of it. The others are cut, but those that a busy machine
  // made so late that the answer was there before.
  const bool completes = nasty == Nasty::kSlow || nasty == Nasty::kCancelById;
  if (completes) {
    EXPECT_EQ(nasties.completed, nasties.requests);
  } else {
    EXPECT_LT(nasties.completed, nasties.requests);
    EXPECT_GE(nasties.completed, twins ? nasties.requests / 2 : 0);
  }
  const uint64_t cancels = nasty == Nasty::kCancelById ? nasties.requests : 0;
  EXPECT_EQ(server.cancels(), static_cast<int>(cancels));
}

// In a soak that kills workers it is a result, to whomever it happens; else it is a failure.
TEST(WorkerLossTest, CountsAsTheRunExpects) {
  const FakeInference server({.first_token = absl::Milliseconds(5),
                              .gap = absl::Milliseconds(5),
                              .fault = Fault::kLost,
                              .fault_every = 2});
  PlanSpec plan = Requests(60);
  plan.nasty_share = 0.5;
  plan.nasty_kinds = {Nasty::kCancelMidway, Nasty::kCancelById, Nasty::kSlow, Nasty::kDuplicate};
  for (const bool expected : {false, true}) {
    const Driven driven =
        Carry(server, {.options = {.concurrency = 4, .loss_expected = expected}, .plan = plan});
    ASSERT_EQ(driven.result.errors.size(), 1U);
    EXPECT_EQ(driven.result.errors[0].reason, "WORKER_LOST");
    EXPECT_EQ(driven.outcome.errors, expected ? 0 : driven.result.errors[0].count);
    EXPECT_EQ(FailedChecks(driven.result).empty(), expected);
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, NastyTest, testing::Range(0, kNastyKinds), [](const auto& info) {
  std::string name = NameOf(static_cast<Nasty>(info.param));
  name.erase(std::remove(name.begin(), name.end(), '-'), name.end());
  return name;
});

}  // namespace
}  // namespace tandem
