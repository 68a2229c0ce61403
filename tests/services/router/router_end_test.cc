// SPDX-License-Identifier: Apache-2.0
// Goal: however a request ends, it ends once, says why, and leaves nothing behind on either worker.
// Method: scripted workers that hang, fail or die at a chosen stage; the client's status and the
// workers' books are compared.
#include <optional>
#include <string>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/rpc/status.h"
#include "tests/services/router/router_harness.h"

namespace tandem {
namespace {

struct StageCase {
  std::string name;
  bool hang_prefill = false;
  std::optional<size_t> hang_after;
};

class RouterStageTest : public testing::TestWithParam<StageCase> {
 protected:
  // Both workers have begun what they will not end.
  void Begin(RouterHarness& harness) {
    harness.stage().Set({.tokens = harness.Script(kStory),
                         .hang_prefill = GetParam().hang_prefill,
                         .hang_after = GetParam().hang_after});
  }
  bool AwaitStage(RouterHarness& harness) {
    const bool prefill = GetParam().hang_prefill;
    return harness.stage().Await([prefill](const Seen& seen) {
      return prefill ? seen.prefilling == 1 : seen.generating == 1;
    });
  }
};

TEST_P(RouterStageTest, CancelByIdEndsWithCancelledAndFreesBothSides) {
  RouterHarness harness;
  Begin(harness);
  v1::GenerateRequest request = TextRequest("Tell me");
  request.set_request_id("mine");
  Running running(harness, request);
  ASSERT_TRUE(AwaitStage(harness));
  grpc::ClientContext context;
  v1::CancelRequest cancel;
  cancel.set_request_id("mine");
  v1::CancelResponse response;
  ASSERT_TRUE(harness.Client()->Cancel(&context, cancel, &response).ok());
  EXPECT_TRUE(response.found());
  const Outcome& outcome = running.Join();
  EXPECT_TRUE(outcome.status.ok()) << outcome.status;
  ASSERT_EQ(outcome.Choice().finished.size(), 1U);
  EXPECT_EQ(outcome.Choice().finished[0].reason(), v1::FINISH_REASON_CANCELLED);
  EXPECT_TRUE(harness.stage().Await(Idle));
  grpc::ClientContext again;
  ASSERT_TRUE(harness.Client()->Cancel(&again, cancel, &response).ok());
  EXPECT_FALSE(response.found());
}

TEST_P(RouterStageTest, ClientThatGoesAwayFreesBothSides) {
  RouterHarness harness;
  Begin(harness);
  grpc::ClientContext context;
  const auto stub = harness.Client();
  const auto reader = stub->Generate(&context, TextRequest("Tell me"));
  ASSERT_TRUE(AwaitStage(harness));
  context.TryCancel();
  EXPECT_EQ(FromGrpcStatus(reader->Finish()).code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(harness.stage().Await(Idle));
}

TEST_P(RouterStageTest, RoutersOwnDeadlineEndsWithDetailsAndFreesBothSides) {
  v1::RouterConfig config;
  config.mutable_deadline_max()->set_seconds(2);  // by then the stage is reached
  RouterHarness harness(config);
  Begin(harness);
  const Outcome outcome = harness.Generate(TextRequest("Tell me"));
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kDeadlineExceeded) << outcome.status;
  EXPECT_EQ(ReasonOf(outcome.status), "DEADLINE");
  ASSERT_EQ(outcome.Choice().finished.size(), 1U);
  EXPECT_EQ(outcome.Choice().finished[0].reason(), v1::FINISH_REASON_DEADLINE);
  EXPECT_TRUE(harness.stage().Await(Idle));
}

TEST_P(RouterStageTest, DeathOfTheWorkerIsUnavailableAndSaysSo) {
  RouterHarness harness;
  Begin(harness);
  Running running(harness, TextRequest("Tell me"));
  ASSERT_TRUE(AwaitStage(harness));
  if (GetParam().hang_prefill) {
    harness.KillPrefill();
  } else {
    harness.KillDecode();
  }
  const Outcome& outcome = running.Join();
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kUnavailable) << outcome.status;
  EXPECT_EQ(ReasonOf(outcome.status), "WORKER_LOST");
  EXPECT_TRUE(DetailsOf(outcome.status).retry.has_retry_delay());
  ASSERT_EQ(outcome.Choice().finished.size(), 1U);
  EXPECT_EQ(outcome.Choice().finished[0].reason(), v1::FINISH_REASON_ERROR);
  EXPECT_TRUE(harness.stage().Await(Idle));
}

INSTANTIATE_TEST_SUITE_P(Stages, RouterStageTest,
                         testing::Values(StageCase{.name = "Prefill", .hang_prefill = true},
                                         StageCase{.name = "Decode", .hang_after = 3}),
                         [](const auto& info) { return info.param.name; });

TEST(RouterEndTest, DeadlineInReserveEndsInTime) {
  v1::RouterConfig config;
  config.mutable_deadline_max()->set_nanos(300'000'000);
  RouterHarness harness(config);
  harness.stage().Set({.hang_reserve = true});
  const absl::Time begin = absl::Now();
  const Outcome outcome = harness.Generate(TextRequest("Tell me"));
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kDeadlineExceeded) << outcome.status;
  EXPECT_EQ(ReasonOf(outcome.status), "DEADLINE");
  EXPECT_LT(absl::Now() - begin, absl::Seconds(3));
  EXPECT_TRUE(outcome.events.empty());
}

TEST(RouterEndTest, AGrantThatComesAfterTheDeadlineIsGivenBack) {
  v1::RouterConfig config;
  config.mutable_deadline_max()->set_nanos(200'000'000);
  RouterHarness harness(config);
  // Amid the second in which the router still listens for it.
  harness.stage().Set({.reserve_delay = absl::Milliseconds(700)});
  const Outcome outcome = harness.Generate(TextRequest("Tell me"));
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kDeadlineExceeded) << outcome.status;
  EXPECT_EQ(ReasonOf(outcome.status), "DEADLINE");
  EXPECT_TRUE(outcome.events.empty());
  EXPECT_TRUE(harness.stage().Await([](const Seen& seen) { return seen.releases == 1; }));
  EXPECT_TRUE(harness.stage().Await(Idle));
}

TEST(RouterEndTest, WorkersOwnErrorsPassWithTheirDetails) {
  RouterHarness harness;
  harness.stage().Set({.prefill_error = ChannelDowngrade("shared was wanted, grpc was found")});
  Outcome outcome = harness.Generate(TextRequest("Tell me"));
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(outcome.status), "CHANNEL_DOWNGRADE");

  harness.stage().Set({.tokens = {5, 6, 7}, .generate_error = LeaseLost("epoch 3 is over")});
  outcome = harness.Generate(TextRequest("Tell me"));
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ReasonOf(outcome.status), "LEASE_LOST");

  harness.stage().Set({.reserve_error = KvBudget({.message = "0 of 8 pages are free"})});
  outcome = harness.Generate(TextRequest("Tell me"));
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(outcome.status), "KV_BUDGET");
  EXPECT_EQ(outcome.status.message(), "0 of 8 pages are free");
  EXPECT_TRUE(harness.stage().Await(Idle));
}

TEST(RouterEndTest, AWorkerThatDrainsPassesTheRequestOn) {
  Stage leaving_stage;
  const FakeWorker leaving(leaving_stage, {.role = v1::WORKER_ROLE_DECODE});
  leaving_stage.Set({.reserve_error = Draining({.message = "going down"})});
  v1::RouterConfig config;
  config.add_decode_workers(leaving.endpoint());  // the first of the list is asked first
  RouterHarness harness(config);
  harness.stage().Set({.tokens = harness.Script(kStory)});
  // Until the router knows of it, requests go to the other anyway.
  for (int i = 0; i < 500 && leaving_stage.seen().reserves == 0; ++i) {
    const Outcome outcome = harness.Generate(TextRequest("Tell me"));
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  }
  EXPECT_EQ(leaving_stage.seen().reserves, 1);
  EXPECT_TRUE(harness.stage().Await(Idle));

  // Nobody is left: the reason is told, after few attempts.
  harness.stage().Set({.reserve_error = Draining({.message = "going down as well"})});
  const int before = harness.stage().seen().reserves + leaving_stage.seen().reserves;
  const Outcome outcome = harness.Generate(TextRequest("Tell me"));
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kUnavailable) << outcome.status;
  EXPECT_EQ(ReasonOf(outcome.status), "DRAINING");
  EXPECT_TRUE(outcome.events.empty());
  EXPECT_LE(harness.stage().seen().reserves + leaving_stage.seen().reserves - before, 4);
}

TEST(RouterEndTest, SameIdTwiceAndOneTooManyAreRefused) {
  v1::RouterConfig config;
  config.set_requests_max(1);
  RouterHarness harness(config);
  harness.stage().Set({.tokens = harness.Script(kStory), .hang_after = 2});
  v1::GenerateRequest request = TextRequest("Tell me");
  request.set_request_id("mine");
  grpc::ClientContext context;
  const auto stub = harness.Client();
  const auto reader = stub->Generate(&context, request);
  ASSERT_TRUE(harness.stage().Await([](const Seen& seen) { return seen.generating == 1; }));

  Outcome outcome = harness.Generate(request);
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kAlreadyExists) << outcome.status;
  EXPECT_EQ(ReasonOf(outcome.status), "DUPLICATE_REQUEST");
  outcome = harness.Generate(TextRequest("Tell me"));
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kResourceExhausted) << outcome.status;
  EXPECT_EQ(ReasonOf(outcome.status), "QUEUE_FULL");
  EXPECT_GT(DetailsOf(outcome.status).retry.retry_delay().seconds(), 0);

  context.TryCancel();
  (void)reader->Finish();
  ASSERT_TRUE(harness.stage().Await(Idle));
  // The place is free again once the router has seen the end of both calls.
  harness.stage().Set({.tokens = harness.Script(kStory)});
  for (int i = 0; i < 100; ++i) {
    outcome = harness.Generate(request);
    if (outcome.status.ok()) break;
    absl::SleepFor(absl::Milliseconds(20));
  }
  EXPECT_TRUE(outcome.status.ok()) << outcome.status;
}

TEST(RouterEndTest, SilenceIsFilledWithHeartbeats) {
  v1::RouterConfig config;
  config.mutable_heartbeat_interval()->set_nanos(50'000'000);
  config.mutable_deadline_max()->set_seconds(30);
  RouterHarness harness(config);
  harness.stage().Set({.hang_prefill = true});
  grpc::ClientContext context;
  const auto stub = harness.Client();
  const auto reader = stub->Generate(&context, TextRequest("Tell me a long story"));
  int heartbeats = 0;
  uint32_t prefilled = 0;  // as last heard: the first may come before the worker has said anything
  v1::GenerateResponse event;
  while ((heartbeats < 2 || prefilled == 0) && reader->Read(&event)) {
    if (!event.has_heartbeat()) continue;
    ++heartbeats;
    EXPECT_EQ(event.heartbeat().stage(), v1::STAGE_PREFILL);
    EXPECT_GE(event.heartbeat().prefilled_tokens(), prefilled);
    prefilled = event.heartbeat().prefilled_tokens();
  }
  EXPECT_GT(prefilled, 0U);
  EXPECT_GE(heartbeats, 2);
  context.TryCancel();
  while (reader->Read(&event)) {
  }
  (void)reader->Finish();
}

TEST(RouterEndTest, DrainRefusesNewRequestsAndLetsRunningOnesEnd) {
  v1::RouterConfig config;
  config.mutable_drain_timeout()->set_seconds(20);
  RouterHarness harness(config);
  harness.stage().Set({.tokens = harness.Script(kStory), .hang_after = 2});
  v1::GenerateRequest request = TextRequest("Tell me");
  request.set_request_id("mine");
  Running running(harness, request);
  ASSERT_TRUE(harness.stage().Await([](const Seen& seen) { return seen.generating == 1; }));
  Thread drain("drain", [&harness] { harness.router().DrainAndStop(); });
  Outcome outcome;
  for (int i = 0; i < 500; ++i) {
    harness.stage().Set({.tokens = {1}, .hang_prefill = true});
    v1::GenerateRequest probe = TextRequest("x");
    outcome = harness.Generate(probe, absl::Milliseconds(50));
    if (ReasonOf(outcome.status) == "DRAINING") break;
  }
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kUnavailable) << outcome.status;
  EXPECT_EQ(ReasonOf(outcome.status), "DRAINING");
  // Cancel still works while draining; the request's end is then the drain's end.
  grpc::ClientContext context;
  v1::CancelRequest cancel;
  cancel.set_request_id("mine");
  v1::CancelResponse response;
  ASSERT_TRUE(harness.Client()->Cancel(&context, cancel, &response).ok());
  EXPECT_TRUE(response.found());
  EXPECT_TRUE(running.Join().status.ok());
}

}  // namespace
}  // namespace tandem
