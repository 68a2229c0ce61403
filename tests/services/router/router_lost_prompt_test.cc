// SPDX-License-Identifier: Apache-2.0
// Goal: a prompt whose prefill worker dies or drains is read by another, once, and its client hears
// nothing of that; else it hears what happened first. Method: two scripted prefill workers, of
// which one is made to die in a prompt.
#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "services/runtime/rpc/status.h"
#include "tests/services/router/router_harness.h"

namespace tandem {
namespace {

// A router whose prompts go to another prefill worker than the harness's first.
class LostPromptTest : public testing::Test {
 protected:
  LostPromptTest()
      : first_(std::make_unique<FakeWorker>(first_stage_, FakeWorkerOptions())),
        harness_(ConfigOf(*first_)) {
    harness_.stage().Set({.tokens = harness_.Script(kStory)});
    first_stage_.Set(harness_.stage().script());
    // Until the router knows of it, prompts go to the other.
    for (int i = 0; i < 500 && Asked(first_stage_) == 0; ++i) {
      EXPECT_TRUE(harness_.Generate(TextRequest("Tell me")).status.ok());
    }
    EXPECT_EQ(Asked(first_stage_), 1U);
    asked_ = Asked(harness_.stage());
  }

  static size_t Asked(const Stage& stage) { return stage.seen().prefill_requests.size(); }
  // Prompts that the other worker has been asked for since.
  size_t AskedOther() { return Asked(harness_.stage()) - asked_; }
  double Retries(const std::string& result) {
    return MetricOf(harness_.router(), "tandem_retries_total",
                    "result=\"" + result + "\",stage=\"prefill\"");
  }
  // A request that the first worker is asked for: until the router has seen the end of the one
  // before, the other is.
  std::unique_ptr<Running> AskFirst() {
    const size_t asked = Asked(first_stage_);
    while (true) {
      auto running = std::make_unique<Running>(harness_, TextRequest("Tell me"));
      while (Asked(first_stage_) == asked && AskedOther() == 0)
        absl::SleepFor(absl::Milliseconds(1));
      if (Asked(first_stage_) > asked) return running;
      EXPECT_TRUE(running->Join().status.ok());
      asked_ = Asked(harness_.stage());
    }
  }
  // The first worker is in the midst of the prompt when it dies, and the others do so from then on.
  Outcome DieReading(const Script& others) {
    first_stage_.Set({.hang_prefill = true});
    const std::unique_ptr<Running> running = AskFirst();
    harness_.stage().Set(others);
    first_.reset();
    return running->Join();
  }

  Stage first_stage_;
  std::unique_ptr<FakeWorker> first_;
  RouterHarness harness_;

 private:
  static v1::RouterConfig ConfigOf(const FakeWorker& first) {
    v1::RouterConfig config;
    config.add_prefill_workers(first.endpoint());  // the first of the list is asked first
    return config;
  }

  size_t asked_ = 0;
};

TEST_F(LostPromptTest, IsReadByAnother) {
  const int releases = harness_.stage().seen().releases;
  const Outcome outcome = DieReading(harness_.stage().script());
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.Choice().text, kStory);
  EXPECT_FALSE(outcome.Choice().gaps);
  int accepted = 0;
  for (const v1::GenerateResponse& event : outcome.events) accepted += event.has_accepted();
  EXPECT_EQ(accepted, 1);
  EXPECT_EQ(AskedOther(), 1U);
  EXPECT_EQ(Retries("ok"), 1);
  // The first reservation was given back.
  EXPECT_TRUE(harness_.stage().Await(
      [=](const Seen& seen) { return seen.releases == releases + 1 && seen.Idle(); }));
}

TEST_F(LostPromptTest, OfOneThatDrainsIsReadByAnother) {
  first_stage_.Set({.prefill_error = Draining({.message = "going down"})});
  const Outcome outcome = AskFirst()->Join();
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.Choice().text, kStory);
  EXPECT_EQ(AskedOther(), 1U);
}

// It may be what ends workers.
TEST_F(LostPromptTest, IsReadOnceMoreOnly) {
  const Outcome outcome = DieReading({.prefill_error = WorkerLost({.message = "ended as well"})});
  EXPECT_EQ(ReasonOf(outcome.status), "WORKER_LOST") << outcome.status;
  EXPECT_EQ(AskedOther(), 1U);
  EXPECT_TRUE(harness_.stage().Await(Idle));
}

TEST_F(LostPromptTest, WithoutRoomElsewhereSaysWhatHappenedFirst) {
  const Outcome outcome =
      DieReading({.reserve_error = KvBudget({.message = "0 of 8 pages are free"})});
  EXPECT_EQ(ReasonOf(outcome.status), "WORKER_LOST") << outcome.status;
  EXPECT_EQ(AskedOther(), 0U);
  EXPECT_EQ(Retries("failed"), 1);
  EXPECT_TRUE(harness_.stage().Await(Idle));
}

}  // namespace
}  // namespace tandem
