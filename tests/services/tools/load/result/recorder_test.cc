// SPDX-License-Identifier: Apache-2.0
// Goal: every event stands in exactly the numbers that its definition says, whichever thread tells
// it. Method: hand-made records with known sums; eight threads that tell the same in any order.
#include "services/tools/load/result/recorder.h"

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/base/thread.h"

namespace tandem {
namespace {

using testing::ElementsAre;

constexpr absl::Duration Ms(int64_t ms) {
  return absl::Milliseconds(ms);
}

// Due at `at`, sent 10 ms later, first token 100 ms after that, 11 tokens 20 ms apart, end 5 ms on.
RequestRecord Completed(absl::Duration at) {
  RequestRecord record;
  record.scheduled = at;
  record.sent = at + Ms(10);
  record.accepted = at + Ms(20);
  record.first_token = at + Ms(110);
  record.last_token = at + Ms(310);
  record.end = at + Ms(315);
  record.prompt_tokens = 64;
  record.tokens_wanted = 16;
  record.tokens = 11;
  record.finish_reason = "stop";
  record.stages = StageTimes{.tokenize = Ms(1),
                             .reserve = Ms(2),
                             .prefill_queue = Ms(3),
                             .prefill = Ms(80),
                             .kv_transfer = Ms(4),
                             .decode = Ms(200),
                             .ttft = Ms(95),
                             .total = Ms(300)};
  record.checks = 1;
  return record;
}

RequestRecord Failed(absl::Duration at, absl::StatusCode code, const std::string& reason) {
  RequestRecord record;
  record.scheduled = record.sent = at;
  record.end = at + Ms(30);
  record.tokens = 2;
  record.code = code;
  record.reason = reason;
  return record;
}

// Tells a whole request, chunk by chunk.
void Tell(Recorder& recorder, const RequestRecord& record) {
  recorder.OnSend(record.sent);
  const bool measured = !record.warm_up && !IsNasty(record.kind);
  if (record.first_token) {
    recorder.OnChunk(
        {.at = *record.first_token, .gap = std::nullopt, .tokens = 1, .measured = measured});
    for (int i = 1; i <= 5; ++i) {
      recorder.OnChunk({.at = *record.first_token + i * Ms(40),
                        .gap = Ms(40),
                        .tokens = 2,
                        .measured = measured});
    }
  }
  recorder.OnRequest(record);
}

absl::Time Start() {
  return Clock::Real().Now();
}

TEST(RecorderTest, EachLatencyKeepsItsDefinition) {
  Recorder recorder(Start(), {});
  Tell(recorder, Completed(Ms(1000)));
  const LoadResult result = recorder.Finish();
  const Latencies& times = result.latencies;
  const auto near = [](const LatencyHistogram& histogram, absl::Duration value, uint64_t count) {
    EXPECT_EQ(histogram.count(), count);
    EXPECT_NEAR(absl::ToDoubleMilliseconds(histogram.Mean()), absl::ToDoubleMilliseconds(value),
                0.001);
  };
  near(times.accept, Ms(10), 1);
  near(times.ttft, Ms(100), 1);
  near(times.ttft_corrected, Ms(110), 1);
  near(times.tpot, Ms(20), 1);
  near(times.tpot_e2e, Ms(305) / 11, 1);
  near(times.chunk_gap, Ms(40), 5);
  near(times.token_gap, Ms(20), 10);
  near(times.e2e, Ms(305), 1);
  near(times.e2e_corrected, Ms(315), 1);
  near(times.prefill, Ms(80), 1);
  near(times.server_ttft, Ms(95), 1);
  near(result.client.send_lag, Ms(10), 1);
  EXPECT_EQ(result.measured_from, Ms(1000));
  EXPECT_EQ(result.duration, Ms(315));
  EXPECT_NEAR(ThroughputOf(result).tokens, 11 / 0.315, 1e-6);
  EXPECT_NEAR(ThroughputOf(result).total_tokens, 75 / 0.315, 1e-6);
}

TEST(RecorderTest, FailuresWarmUpAndNastyClientsStandApart) {
  Recorder recorder(Start(), {});
  Tell(recorder, Completed(Ms(0)));
  Tell(recorder, Failed(Ms(50), absl::StatusCode::kResourceExhausted, "QUEUE_FULL"));
  Tell(recorder, Failed(Ms(60), absl::StatusCode::kResourceExhausted, "QUEUE_FULL"));
  Tell(recorder, Failed(Ms(70), absl::StatusCode::kDeadlineExceeded, "DEADLINE"));
  RequestRecord warm_up = Completed(Ms(5000));
  warm_up.warm_up = true;
  Tell(recorder, warm_up);
  RequestRecord nasty = Failed(Ms(9000), absl::StatusCode::kCancelled, "");
  nasty.kind = RequestKind::kCancel;
  nasty.checks = 1;
  nasty.failed_checks = {"status"};
  Tell(recorder, nasty);

  const LoadResult result = recorder.Finish();
  EXPECT_EQ(result.counts.completed, 1);
  EXPECT_EQ(result.counts.failed, 3);
  EXPECT_EQ(result.counts.warm_up, 1);
  EXPECT_EQ(result.counts.tokens, 11);
  EXPECT_EQ(result.counts.tokens_lost, 6);
  EXPECT_THAT(
      result.errors,
      ElementsAre(ErrorCount{.code = "RESOURCE_EXHAUSTED", .reason = "QUEUE_FULL", .count = 2},
                  ErrorCount{.code = "DEADLINE_EXCEEDED", .reason = "DEADLINE", .count = 1}));
  EXPECT_THAT(result.finish_reasons, ElementsAre(NameCount{.name = "stop", .count = 1}));
  EXPECT_THAT(result.failed_checks, ElementsAre(NameCount{.name = "status", .count = 1}));
  const KindCount& cancels = result.counts.kinds[static_cast<size_t>(RequestKind::kCancel)];
  EXPECT_EQ(cancels, (KindCount{.requests = 1, .completed = 0, .checks = 1, .checks_failed = 1}));
  EXPECT_EQ(result.latencies.ttft.count(), 1);
  EXPECT_EQ(result.duration, Ms(315));
  EXPECT_TRUE(HasFailedChecks(result));
  EXPECT_NEAR(ThroughputOf(result).error_share, 0.75, 1e-9);
}

TEST(RecorderTest, GoodIsInsideEveryLimitCountedFromTheSchedule) {
  const auto good = [](const Slo& slo) {
    Recorder recorder(Start(), slo);
    Tell(recorder, Completed(Ms(0)));
    return recorder.Finish().counts.good;
  };
  EXPECT_EQ(good({}), 1);
  EXPECT_EQ(good({.ttft = Ms(110), .tpot = Ms(20), .e2e = Ms(315)}), 1);
  // 100 ms would do from the sending, but the request was due 10 ms before.
  EXPECT_EQ(good({.ttft = Ms(105)}), 0);
  EXPECT_EQ(good({.tpot = Ms(19)}), 0);
  EXPECT_EQ(good({.e2e = Ms(310)}), 0);
}

TEST(RecorderTest, TheTimelineCountsBySecond) {
  Recorder recorder(Start(), {});
  Tell(recorder, Completed(Ms(100)));
  Tell(recorder, Completed(Ms(2850)));
  const LoadResult result = recorder.Finish();
  ASSERT_EQ(result.timeline.size(), 4);
  EXPECT_EQ(result.timeline[0].sent, 1);
  EXPECT_EQ(result.timeline[0].finished, 1);
  EXPECT_EQ(result.timeline[0].tokens, 11);
  EXPECT_EQ(result.timeline[0].running, 0);
  EXPECT_EQ(result.timeline[1].ttft_p50, std::nullopt);
  EXPECT_EQ(result.timeline[2].running, 1);
  EXPECT_EQ(result.timeline[2].ttft_p50, Ms(110));
  EXPECT_EQ(result.timeline[3].finished, 1);
  EXPECT_EQ(result.tokens_per_second_max, 11);
}

TEST(RecorderTest, ALongRunKeepsItsTimelineBounded) {
  Recorder recorder(Start(), {});
  for (int hour = 0; hour < 24; ++hour) Tell(recorder, Completed(absl::Hours(hour)));
  const LoadResult result = recorder.Finish();
  EXPECT_LE(result.timeline.size(), 2048);
  EXPECT_EQ(result.timeline_step, absl::Seconds(64));
  uint64_t tokens = 0;
  for (const TimelinePoint& point : result.timeline) tokens += point.tokens;
  EXPECT_EQ(tokens, 24 * 11);
  EXPECT_EQ(result.tokens_per_second_max, 11);
}

TEST(RecorderTest, ThreadsTellTogetherWhatOneTellsAlone) {
  constexpr int kThreads = 8;
  constexpr int kRequests = 400;
  Recorder alone(Start(), {});
  Recorder together(Start(), {});
  const auto at = [](int i) { return Ms(i * 7 % 5000); };
  for (int i = 0; i < kThreads * kRequests; ++i) Tell(alone, Completed(at(i)));
  {
    std::vector<std::unique_ptr<Thread>> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.push_back(std::make_unique<Thread>("teller", [&together, &at, t] {
        for (int i = t; i < kThreads * kRequests; i += kThreads) Tell(together, Completed(at(i)));
      }));
    }
    for (int i = 0; i < 50; ++i) {
      const LoadSnapshot snapshot = together.Snapshot(Ms(i));
      EXPECT_LE(snapshot.ended, snapshot.sent);
      EXPECT_LE(snapshot.running, kThreads);
    }
  }
  const LoadSnapshot end = together.Snapshot(Ms(6000));
  EXPECT_EQ(end.ended, kThreads * kRequests);
  EXPECT_EQ(end.running, 0);
  EXPECT_EQ(end.ttft.count(), kThreads * kRequests);
  const LoadResult one = alone.Finish();
  const LoadResult many = together.Finish();
  EXPECT_EQ(many.counts, one.counts);
  EXPECT_EQ(many.timeline, one.timeline);
  EXPECT_EQ(many.latencies.token_gap.count(), one.latencies.token_gap.count());
  EXPECT_EQ(many.latencies.e2e.Sum(), one.latencies.e2e.Sum());
  EXPECT_EQ(many.latencies.e2e.Quantile(0.99), one.latencies.e2e.Quantile(0.99));
  EXPECT_EQ(one.concurrency_max, 1);
  EXPECT_GE(many.concurrency_max, 1);
  EXPECT_LE(many.concurrency_max, kThreads);
  EXPECT_GT(many.client.rss_bytes_max, 1 << 20);
  EXPECT_GT(many.client.cpu_cores, 0);
}

}  // namespace
}  // namespace tandem
