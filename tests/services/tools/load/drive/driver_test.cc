// SPDX-License-Identifier: Apache-2.0
// Goal: the driver sends what is planned, when it is planned, and its numbers are the server's own;
// what a server does wrong is found. Method: a server in this process that knows its times and
// makes mistakes on demand; latencies are compared with the times it has kept, not with a wish.
#include "services/tools/load/drive/driver.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/base/thread.h"
#include "tests/services/tools/load/drive/carry.h"
#include "tests/services/tools/load/drive/fake_inference.h"

namespace tandem {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(TargetTest, OrdinaryTokensAreFoundAmongSpecialOnes) {
  const FakeInference server({});
  const TargetInfo info = InfoOf(server);
  EXPECT_EQ(info.model, "fake");
  EXPECT_EQ(info.vocabulary.size(), FakeInference::kVocabulary - 5);
  const auto& ranges = info.vocabulary.ranges();
  ASSERT_EQ(ranges.size(), 2U);
  EXPECT_EQ(ranges[0].begin, 2U);
  EXPECT_EQ(ranges[0].end, 500U);
  EXPECT_EQ(ranges[1].end, 998U);
}

TEST(TargetTest, WaitsForTheServerAndSaysWhyItGaveUp) {
  FakeInference server({});
  EXPECT_TRUE(WaitServing(server.connection(), absl::Seconds(30)).ok());
  server.SetServing(false);
  const absl::Status status = WaitServing(server.connection(), absl::Seconds(3));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("NOT_SERVING"));
}

TEST(DriverTest, ClosedLoopKeepsItsConcurrencyAndSendsEveryRequest) {
  const FakeInference server({.first_token = absl::Milliseconds(20)});
  const Driven driven =
      Carry(server, {.options = {.concurrency = 8, .check_simulated = true}, .plan = Requests(60)});
  const LoadResult& result = driven.result;
  EXPECT_EQ(result.counts.completed, 60U);
  EXPECT_EQ(result.counts.tokens, 60U * 6);
  EXPECT_EQ(result.counts.prompt_tokens, 60U * 12);
  EXPECT_LE(result.concurrency_max, 8U);
  EXPECT_LE(server.running_max(), 8);
  EXPECT_GE(server.running_max(), 2);
  EXPECT_THAT(FailedChecks(result), IsEmpty());
  EXPECT_EQ(Of(result, RequestKind::kSentinel).completed, 60U);
  std::set<std::string> ids;
  for (const ServedRequest& served : server.served()) {
    ids.insert(served.request.request_id());
    EXPECT_EQ(served.request.max_tokens(), 6U);
    EXPECT_TRUE(served.request.ignore_eos());
    for (const uint32_t special : FakeInference::kSpecials) {
      EXPECT_THAT(served.request.token_ids().ids(), Each(testing::Ne(special)));
    }
  }
  EXPECT_EQ(ids.size(), 60U);
}

TEST(DriverTest, OpenLoopSendsByTheScheduleHoweverSlowTheServer) {
  const FakeInference server({.first_token = absl::Milliseconds(400)});
  PlanSpec plan = Requests(1000);
  plan.loop = Loop::kOpen;
  plan.arrivals = {.rate_begin = 40, .rate_end = 40};
  plan.until = absl::Seconds(1);
  const Driven driven = Carry(server, {.plan = plan});
  EXPECT_EQ(driven.result.counts.completed, 40U);
  // A closed loop of one would have had one request at a time.
  EXPECT_GE(server.running_max(), 10);
  auto served = server.served();
  std::sort(served.begin(), served.end(),
            [](const auto& a, const auto& b) { return a.arrival < b.arrival; });
  EXPECT_NEAR(absl::ToDoubleSeconds(served.back().arrival - served.front().arrival), 39 / 40.0,
              0.3);
}

TEST(DriverTest, LateSendingIsInTheCorrectedLatencyOnly) {
  const FakeInference server({.first_token = absl::Milliseconds(100)});
  PlanSpec plan = Requests(10);
  plan.loop = Loop::kOpen;
  plan.arrivals = {.rate_begin = 1000, .rate_end = 1000};
  // One at a time: the tenth request waits for nine others.
  const Driven driven = Carry(server, {.options = {.inflight_max = 1}, .plan = plan});
  const Latencies& latencies = driven.result.latencies;
  EXPECT_EQ(server.running_max(), 1);
  EXPECT_LT(latencies.ttft.Max(), latencies.ttft_corrected.Max() / 2);
  EXPECT_GT(latencies.ttft_corrected.Max(), absl::Milliseconds(900));
  EXPECT_GT(driven.result.client.send_lag.Max(), absl::Milliseconds(800));
}

// How late threads of this process wake up while it lives: what a busy machine adds to every time
// that a client takes, whatever the client does.
class Lateness {
 public:
  Lateness() {
    thread_.emplace("lateness", [this] {
      while (!over_) {
        const absl::Time due = absl::Now() + absl::Milliseconds(2);
        absl::SleepFor(absl::Milliseconds(2));
        seconds_.push_back(absl::ToDoubleSeconds(absl::Now() - due));
      }
    });
  }
  // Once. Two wake-ups stand between a server's write and a client's callback.
  double Allowance() {
    over_ = true;
    thread_.reset();
    std::sort(seconds_.begin(), seconds_.end());
    return 2 * seconds_[seconds_.size() * 9 / 10];
  }

 private:
  std::atomic<bool> over_ = false;
  std::vector<double> seconds_;
  std::optional<Thread> thread_;
};

// The median of what the server did, in seconds.
template <typename Value>
double MedianOf(const std::vector<ServedRequest>& served, Value value) {
  std::vector<double> values;
  for (const ServedRequest& each : served) values.push_back(absl::ToDoubleSeconds(value(each)));
  std::sort(values.begin(), values.end());
  return values[(values.size() - 1) / 2];
}

double MedianOf(const LatencyHistogram& histogram) {
  return absl::ToDoubleSeconds(histogram.Quantile(0.5));
}

TEST(DriverTest, ReportsTheServersTimesWithinThreePercent) {
  const FakeInference server(
      {.first_token = absl::Milliseconds(1500), .gap = absl::Milliseconds(80), .delta_tokens = 2});
  PlanSpec plan = Requests(24);
  plan.output = Lengths::Fixed(20);
  Lateness lateness;
  const Driven driven = Carry(server, {.options = {.concurrency = 12}, .plan = plan});
  const double late = lateness.Allowance();
  const auto served = server.served();
  const double ttft = MedianOf(served, [](const auto& s) { return s.deltas[0] - s.arrival; });
  const double answer = MedianOf(served, [](const auto& s) { return s.deltas[9] - s.deltas[0]; });
  const double e2e = MedianOf(served, [](const auto& s) { return s.deltas[9] - s.arrival; });
  const Latencies& latencies = driven.result.latencies;
  EXPECT_NEAR(MedianOf(latencies.ttft), ttft, 0.03 * ttft + 2 * late);
  EXPECT_NEAR(MedianOf(latencies.tpot), answer / 19, (0.03 * answer + late) / 19);
  EXPECT_NEAR(MedianOf(latencies.e2e), e2e, 0.03 * e2e + 2 * late);
  EXPECT_NEAR(MedianOf(latencies.server_ttft), ttft, 0.03 * ttft);
  // Nine deltas after the first, of two tokens each. Their gaps add up to the answer's time.
  EXPECT_EQ(latencies.chunk_gap.count(), 24U * 9);
  EXPECT_EQ(latencies.token_gap.count(), 24U * 18);
  const double chunk_gap = absl::ToDoubleSeconds(latencies.chunk_gap.Mean());
  EXPECT_NEAR(chunk_gap, answer / 9, (0.03 * answer + late) / 9);
  EXPECT_NEAR(absl::ToDoubleSeconds(latencies.token_gap.Mean()), chunk_gap / 2, 1e-5);
}

TEST(DriverTest, WarmUpStandsInNoNumber) {
  const FakeInference server({});
  PlanSpec plan = Requests(30);
  const Driven driven =
      Carry(server, {.options = {.concurrency = 2, .warmup_requests = 10}, .plan = plan});
  EXPECT_EQ(driven.result.counts.completed, 20U);
  EXPECT_EQ(driven.result.counts.warm_up, 10U);
  EXPECT_EQ(driven.result.latencies.ttft.count(), 20U);
  EXPECT_EQ(driven.result.latencies.chunk_gap.count(), 20U * 5);
}

TEST(DriverTest, ConversationsGrowByTheirAnswers) {
  const FakeInference server({});
  PlanSpec plan = Requests(6);
  plan.turns = 3;
  plan.think_time = absl::Milliseconds(30);
  const Driven driven =
      Carry(server, {.options = {.concurrency = 1, .check_simulated = true}, .plan = plan});
  EXPECT_EQ(driven.result.counts.completed, 6U);
  EXPECT_THAT(FailedChecks(driven.result), IsEmpty());
  EXPECT_EQ(server.running_max(), 1);
  std::vector<std::vector<uint32_t>> prompts;
  for (const ServedRequest& served : server.served()) {
    const auto& ids = served.request.token_ids().ids();
    prompts.emplace_back(ids.begin(), ids.end());
  }
  ASSERT_EQ(prompts.size(), 6U);
  for (const size_t first : {0, 3}) {
    EXPECT_EQ(prompts[first].size(), 12U);
    for (const size_t turn : {first + 1, first + 2}) {
      // What was asked, what was answered (the first six of it), and twelve new ones.
      std::vector<uint32_t> said = prompts[turn - 1];
      said.insert(said.end(), prompts[turn - 1].begin(), prompts[turn - 1].begin() + 6);
      ASSERT_EQ(prompts[turn].size(), said.size() + 12);
      EXPECT_TRUE(std::equal(said.begin(), said.end(), prompts[turn].begin()));
    }
  }
}

TEST(DriverTest, GoldensAreAskedGreedilyAndTheirAnswersCompared) {
  const FakeInference server({});
  Drive drive = {.options = {.concurrency = 2, .temperature = 1}, .plan = Requests(40)};
  drive.plan.golden_share = 0.5;
  drive.plan.goldens = {{.prompt_tokens = 3, .output_tokens = 4}};
  drive.goldens = {{.name = "good",
                    .prompt = {7, 8, 9},
                    .answer = {{.id = 7}, {.id = 8}, {.id = 9}, {.id = 7}}}};
  const LoadResult good = Carry(server, drive).result;
  EXPECT_THAT(FailedChecks(good), IsEmpty());
  EXPECT_GT(Of(good, RequestKind::kGolden).completed, 5U);
  EXPECT_EQ(good.counts.completed, 40U);
  drive.goldens[0].answer[2].id = 5;
  EXPECT_THAT(FailedChecks(Carry(server, drive).result), ElementsAre("golden"));
  drive.goldens[0].answer[2].undecided = true;
  EXPECT_THAT(FailedChecks(Carry(server, drive).result), IsEmpty());
}

TEST(DriverTest, EveryFaultOfAServerIsFound) {
  FakeInference server({});
  const std::vector<std::pair<Fault, std::string>> faults = {
      {Fault::kSkipIndex, "index"},     {Fault::kRepeatIndex, "index"},
      {Fault::kForeignToken, "leak"},   {Fault::kSwappedToken, "answer"},
      {Fault::kShort, "length"},        {Fault::kMiscount, "finished"},
      {Fault::kNoFinished, "finished"}, {Fault::kAcceptedLate, "accepted"}};
  for (const auto& [fault, check] : faults) {
    server.Set({.fault = fault, .fault_every = 5});
    const LoadResult result = Carry(server, {.options = {.concurrency = 2, .check_simulated = true},
                                             .plan = Requests(10)})
                                  .result;
    EXPECT_THAT(FailedChecks(result), testing::Contains(check)) << static_cast<int>(fault);
    EXPECT_TRUE(HasFailedChecks(result));
    // Of ten requests two were served badly.
    for (const NameCount& failed : result.failed_checks) {
      if (failed.name == check) {
        EXPECT_EQ(failed.count, 2U) << static_cast<int>(fault);
      }
    }
  }
}

TEST(DriverTest, OverloadIsAResultAndErrorsEndTheRun) {
  FakeInference server({.first_token = absl::Milliseconds(50), .requests_max = 2});
  const Driven shed = Carry(server, {.options = {.concurrency = 8}, .plan = Requests(50)});
  EXPECT_EQ(shed.outcome.errors, 0U);
  EXPECT_EQ(shed.result.counts.completed + shed.result.counts.failed, 50U);
  ASSERT_EQ(shed.result.errors.size(), 1U);
  EXPECT_EQ(shed.result.errors[0].code, "RESOURCE_EXHAUSTED");
  EXPECT_EQ(shed.result.errors[0].reason, "QUEUE_FULL");

  server.Set({.fault = Fault::kError});
  const Driven broken =
      Carry(server, {.options = {.concurrency = 2, .errors_max = 5}, .plan = Requests(100000)});
  EXPECT_TRUE(broken.outcome.too_many_errors);
  EXPECT_EQ(broken.outcome.errors, 6U);
}

TEST(DriverTest, DeadlineOfARequestIsKept) {
  const FakeInference server({.first_token = absl::Seconds(60)});
  const Driven driven =
      Carry(server, {.options = {.timeout = absl::Milliseconds(100)}, .plan = Requests(2)});
  EXPECT_EQ(driven.outcome.errors, 0U);
  ASSERT_EQ(driven.result.errors.size(), 1U);
  EXPECT_EQ(driven.result.errors[0].code, "DEADLINE_EXCEEDED");
}

TEST(DriverTest, InterruptCancelsWhatRunsAndLeavesItOut) {
  const FakeInference server({.first_token = absl::Seconds(60)});
  const TargetInfo target = InfoOf(server);
  const absl::Time start = Clock::Real().Now();
  Recorder recorder(start, {});
  Channels channels(server.connection(), 1);
  std::atomic<bool> interrupted = false;
  const std::vector<Golden> no_goldens;
  Driver driver({.connection = server.connection(), .concurrency = 3},
                {.start = start,
                 .recorder = recorder,
                 .channels = channels,
                 .target = target,
                 .goldens = no_goldens,
                 .interrupted = interrupted},
                Plan(Requests(100)));
  const Thread hand("interrupt", [&interrupted, &server] {
    for (int i = 0; i < 6000 && server.running_max() < 3; ++i) {
      absl::SleepFor(absl::Milliseconds(5));
    }
    interrupted = true;
  });
  EXPECT_TRUE(driver.Run().interrupted);
  const LoadResult result = recorder.Finish();
  EXPECT_EQ(result.counts.completed + result.counts.failed, 0U);
  EXPECT_EQ(result.counts.warm_up, 3U);
}

}  // namespace
}  // namespace tandem
