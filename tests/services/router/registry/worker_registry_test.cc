// SPDX-License-Identifier: Apache-2.0
// Goal: a worker counts from its first beat until its beats stop or it leaves; one that speaks
// another version, or whose cache format fits nobody's, is refused with both sides named. Method: a
// registry on a clock of the test's, fake workers behind real gRPC.
#include "services/router/registry/worker_registry.h"

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/rpc/registrar/protocol.h"
#include "services/runtime/rpc/status.h"
#include "tests/services/router/fake_workers.h"

namespace tandem {
namespace {

using testing::HasSubstr;

constexpr absl::Duration kTtl = absl::Seconds(10);

v1::RegisterRequest BeatOf(v1::WorkerRole role, const std::string& endpoint, uint64_t layout = 7) {
  v1::RegisterRequest request;
  request.set_endpoint(endpoint);
  request.set_protocol_version(kWorkerProtocolVersion);
  request.set_version("1.2.3");
  request.mutable_state()->set_role(role);
  v1::KvFormat& format = *request.mutable_state()->mutable_kv_format();
  format.set_protocol_version(1);
  format.set_layout_hash(layout);
  format.set_page_tokens(256);
  format.set_description(absl::StrCat("layout ", layout));
  return request;
}

class WorkerRegistryTest : public testing::Test {
 protected:
  static std::unique_ptr<MetricsRegistry> NewMetrics() {
    auto registry = MetricsRegistry::Create({.role = ProcessRole::kRouter});
    EXPECT_TRUE(registry.ok()) << registry.status();
    return *std::move(registry);
  }
  // As workers_up says within 10 s.
  bool Sees(int prefill, int decode) {
    for (int i = 0; i < 1000; ++i) {
      const WorkersUp up = table_.Up();
      if (up.prefill == prefill && up.decode == decode) return true;
      absl::SleepFor(absl::Milliseconds(10));
    }
    return false;
  }
  absl::Status Beat(const FakeWorker& worker, v1::WorkerRole role, uint64_t layout = 7) {
    return registry_.Beat(BeatOf(role, worker.endpoint(), layout));
  }
  double Registered() const {
    return metrics_.registered_prefill.Value() + metrics_.registered_decode.Value();
  }

  Stage stage_;
  FakeWorker prefill_{stage_, {.role = v1::WORKER_ROLE_PREFILL}};
  FakeWorker decode_{stage_, {.role = v1::WORKER_ROLE_DECODE}};
  std::unique_ptr<MetricsRegistry> metrics_registry_ = NewMetrics();
  RouterMetrics metrics_{*metrics_registry_, 4096};
  WorkerTable table_{{}};
  ManualClock clock_;
  WorkerRegistry registry_{{.ttl = kTtl, .workers_max = 3, .clock = clock_}, table_, metrics_};
};

TEST_F(WorkerRegistryTest, WhoBeatsIsPlacedAndWhoStopsIsDropped) {
  ASSERT_TRUE(Beat(prefill_, v1::WORKER_ROLE_PREFILL).ok());
  ASSERT_TRUE(Beat(decode_, v1::WORKER_ROLE_DECODE).ok());
  ASSERT_TRUE(Sees(1, 1));
  auto request = table_.Assign({.prompt = 5, .all = 10});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(Registered(), 2);

  // The decode worker goes on, the other one falls silent.
  for (int i = 0; i < 4; ++i) {
    clock_.Advance(kTtl / 4);
    ASSERT_TRUE(Beat(decode_, v1::WORKER_ROLE_DECODE).ok());
    registry_.Tick();
  }
  EXPECT_TRUE(Sees(1, 1)) << "at its limit it counts";
  EXPECT_EQ(metrics_.beats_missed.Value(), 4);
  clock_.Advance(absl::Milliseconds(1));
  registry_.Tick();
  EXPECT_EQ(metrics_.registered_prefill.Value(), 0);
  EXPECT_EQ(metrics_.registered_decode.Value(), 1);
  EXPECT_TRUE(Sees(0, 1));
  EXPECT_EQ(table_.Assign({.prompt = 5, .all = 10}).status().code(),
            absl::StatusCode::kUnavailable);
  // What it was given stays its own.
  EXPECT_EQ((*request)->prefill().endpoint(), prefill_.endpoint());
  registry_.Tick();
  request->reset();
  registry_.Tick();

  ASSERT_TRUE(Beat(prefill_, v1::WORKER_ROLE_PREFILL).ok());
  EXPECT_TRUE(Sees(1, 1)) << "back";
}

TEST_F(WorkerRegistryTest, WhoLeavesIsDroppedAtOnce) {
  ASSERT_TRUE(Beat(prefill_, v1::WORKER_ROLE_PREFILL).ok());
  ASSERT_TRUE(Sees(1, 0));
  v1::RegisterRequest last = BeatOf(v1::WORKER_ROLE_PREFILL, prefill_.endpoint());
  last.set_leaving(true);
  EXPECT_TRUE(registry_.Beat(last).ok());
  EXPECT_EQ(Registered(), 0);
  EXPECT_TRUE(Sees(0, 0));
  EXPECT_TRUE(registry_.Beat(last).ok()) << "again";
}

TEST_F(WorkerRegistryTest, AnotherVersionIsRefusedByName) {
  v1::RegisterRequest beat = BeatOf(v1::WORKER_ROLE_DECODE, decode_.endpoint());
  ASSERT_TRUE(registry_.Beat(beat).ok());
  beat.set_protocol_version(kWorkerProtocolVersion + 1);
  const absl::Status status = registry_.Beat(beat);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(status), "VERSION_MISMATCH");
  EXPECT_THAT(std::string(status.message()),
              testing::AllOf(HasSubstr("this router"), HasSubstr(decode_.endpoint()),
                             HasSubstr("1.2.3"), HasSubstr("speaks 2")));
  EXPECT_EQ(Registered(), 0) << "it is not the worker that it was";
  EXPECT_EQ(metrics_.beats_refused.Value(), 1);
}

TEST_F(WorkerRegistryTest, AFormatThatFitsNobodysIsRefusedUntilAPartnerComes) {
  ASSERT_TRUE(Beat(decode_, v1::WORKER_ROLE_DECODE).ok());
  ASSERT_TRUE(Sees(0, 1));
  FakeWorker other_prefill(stage_, {.role = v1::WORKER_ROLE_PREFILL, .layout_hash = 8});
  const absl::Status status = Beat(other_prefill, v1::WORKER_ROLE_PREFILL, 8);
  EXPECT_EQ(ReasonOf(status), "LAYOUT_MISMATCH");
  EXPECT_THAT(std::string(status.message()),
              testing::AllOf(HasSubstr(absl::StrCat(other_prefill.endpoint(), " has layout 8")),
                             HasSubstr(absl::StrCat(decode_.endpoint(), " has layout 7"))));
  EXPECT_EQ(ReasonOf(table_.Assign({.prompt = 5, .all = 10}).status()), "NO_WORKER");
  ASSERT_TRUE(Sees(1, 1));
  EXPECT_EQ(ReasonOf(table_.Assign({.prompt = 5, .all = 10}).status()), "LAYOUT_MISMATCH");
  FakeWorker other_decode(stage_, {.role = v1::WORKER_ROLE_DECODE, .layout_hash = 8});
  EXPECT_TRUE(Beat(other_decode, v1::WORKER_ROLE_DECODE, 8).ok());
  ASSERT_TRUE(Sees(1, 2));
  EXPECT_TRUE(Beat(other_prefill, v1::WORKER_ROLE_PREFILL, 8).ok());
  const auto placed = table_.Assign({.prompt = 5, .all = 10});
  ASSERT_TRUE(placed.ok()) << placed.status();
  EXPECT_EQ((*placed)->decode().endpoint(), other_decode.endpoint());
}

TEST_F(WorkerRegistryTest, ABeatThatSaysNothingIsRefused) {
  const auto reason = [&](const v1::RegisterRequest& beat) {
    return ReasonOf(registry_.Beat(beat));
  };
  EXPECT_EQ(reason(BeatOf(v1::WORKER_ROLE_UNSPECIFIED, "a:1")), "INVALID_FIELD");
  EXPECT_EQ(reason(BeatOf(v1::WORKER_ROLE_DECODE, "a")), "INVALID_FIELD");
  EXPECT_EQ(reason(BeatOf(v1::WORKER_ROLE_DECODE, "a:0")), "INVALID_FIELD");
  EXPECT_EQ(reason(BeatOf(v1::WORKER_ROLE_DECODE, std::string(300, 'a') + ":1")), "INVALID_FIELD");
  EXPECT_EQ(Registered(), 0);
}

TEST_F(WorkerRegistryTest, ThereIsABound) {
  for (int port = 1; port <= 3; ++port) {
    EXPECT_TRUE(
        registry_.Beat(BeatOf(v1::WORKER_ROLE_DECODE, absl::StrCat("127.0.0.1:", port))).ok());
  }
  const absl::Status status = registry_.Beat(BeatOf(v1::WORKER_ROLE_DECODE, "127.0.0.1:4"));
  EXPECT_EQ(ReasonOf(status), "QUEUE_FULL");
  EXPECT_THAT(std::string(status.message()), HasSubstr("workers_max: 3"));
  EXPECT_TRUE(registry_.Beat(BeatOf(v1::WORKER_ROLE_DECODE, "127.0.0.1:3")).ok()) << "a known one";
}

TEST(ListedWorkerTest, ThatRegistersIsWatchedOnceAndStays) {
  Stage stage;
  FakeWorker prefill(stage, {.role = v1::WORKER_ROLE_PREFILL});
  WorkerTable table({.prefill = {prefill.endpoint()}});
  auto metrics_registry = MetricsRegistry::Create({.role = ProcessRole::kRouter});
  ASSERT_TRUE(metrics_registry.ok());
  RouterMetrics metrics(**metrics_registry, 4096);
  ManualClock clock;
  WorkerRegistry registry({.ttl = kTtl, .workers_max = 3, .clock = clock}, table, metrics);
  ASSERT_TRUE(registry.Beat(BeatOf(v1::WORKER_ROLE_PREFILL, prefill.endpoint())).ok());
  const auto prefills = [&] { return table.Up().prefill; };
  for (int i = 0; i < 1000 && prefills() != 1; ++i) absl::SleepFor(absl::Milliseconds(10));
  EXPECT_EQ(prefills(), 1);
  clock.Advance(2 * kTtl);
  registry.Tick();
  EXPECT_EQ(metrics.registered_prefill.Value(), 0);
  EXPECT_EQ(prefills(), 1);
}

}  // namespace
}  // namespace tandem
