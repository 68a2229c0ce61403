// SPDX-License-Identifier: Apache-2.0
// Goal: what is counted shows at /metrics under the names of series.h; a taken port is an error,
// and the end is prompt.
// Method: scrape text.
#include "services/runtime/metrics/registry.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/metrics/router_metrics.h"
#include "services/runtime/metrics/worker_metrics.h"

namespace tandem {
namespace {

using testing::HasSubstr;
using testing::Not;

std::unique_ptr<MetricsRegistry> Make(ProcessRole role, const std::string& listen = "") {
  auto registry = MetricsRegistry::Create(
      {.role = role, .model_name = "tiny", .listen = listen, .version = "1.2.3"});
  EXPECT_TRUE(registry.ok()) << registry.status();
  return *std::move(registry);
}

TEST(MetricsRegistryTest, SeriesCarryRoleModelAndTheirOwnLabels) {
  const auto registry = Make(ProcessRole::kRouter);
  RouterMetrics metrics(*registry, 4096);
  metrics.CountRequest({.outcome = "stop", .code = "OK"});
  metrics.ttft.Observe(0.02);
  const std::string text = registry->Text();
  EXPECT_THAT(text, HasSubstr("tandem_requests_total{model_name=\"tiny\",role=\"router\","));
  EXPECT_THAT(text, HasSubstr("outcome=\"stop\""));
  EXPECT_THAT(text, HasSubstr("tandem_request_ttft_seconds_count{"));
  EXPECT_THAT(text, HasSubstr("version=\"1.2.3\""));
}

TEST(MetricsRegistryTest, TakenPortIsAnErrorWithTheAddress) {
  const auto first = Make(ProcessRole::kRouter, "127.0.0.1:0");
  ASSERT_GT(first->port(), 0);
  const auto second =
      MetricsRegistry::Create({.role = ProcessRole::kPrefill,
                               .model_name = "tiny",
                               .listen = absl::StrCat("127.0.0.1:", first->port())});
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("metrics_listen: 127.0.0.1:"));
}

// A process that has drained ends; nobody waits for a server that sleeps.
TEST(MetricsRegistryTest, ItsServerEndsAtOnce) {
  for (const char* const listen : {"127.0.0.1:0", "0.0.0.0:0"}) {
    auto registry = Make(ProcessRole::kRouter, listen);
    const absl::Time begin = Clock::Real().Now();
    registry.reset();
    EXPECT_LT(Clock::Real().Now() - begin, absl::Seconds(1)) << listen;
  }
}

TEST(MetricsRegistryTest, WorkerSeriesFollowStepsPagesAndAge) {
  const auto registry = Make(ProcessRole::kDecode);
  DecodeMetrics metrics(*registry);
  const absl::Time now = Clock::Real().Now();
  metrics.engine.SetBusy(true);
  metrics.OnStep({.begin = now, .end = now, .sequences = 3, .launches = 683});
  metrics.engine.OnStep({.begin = now - absl::Seconds(3),
                         .end = now - absl::Seconds(2),
                         .sequences = 4,
                         .tokens_generated = 4});
  metrics.SetPages({.free = 3, .leased_out = 1, .active = 4});
  const std::string text = registry->Text();
  EXPECT_THAT(text, HasSubstr("kind=\"generated\"} 4"));
  EXPECT_THAT(text, HasSubstr("state=\"active\"} 4"));
  EXPECT_THAT(text, HasSubstr("batch=\"1\"} 0"));
  EXPECT_THAT(text, HasSubstr("batch=\"4\"} 683"));
  EXPECT_THAT(text,
              HasSubstr("tandem_kv_cache_usage_ratio{model_name=\"tiny\",role=\"decode\"} 0.625"));
  EXPECT_THAT(
      text,
      HasSubstr("tandem_engine_last_step_age_seconds{model_name=\"tiny\",role=\"decode\"} 2"));
  metrics.engine.SetBusy(false);
  EXPECT_THAT(
      registry->Text(),
      HasSubstr("tandem_engine_last_step_age_seconds{model_name=\"tiny\",role=\"decode\"} 0"));
}

TEST(MetricsRegistryTest, LimitsOfTheSloAreCountedAndNothingWithout) {
  const auto registry = Make(ProcessRole::kRouter);
  RouterMetrics metrics(*registry, 4096,
                        {.ttft = absl::Seconds(1), .tpot = absl::Milliseconds(50)});
  for (const int ms : {999, 1000, 1001}) metrics.slo_ttft.Count(absl::Milliseconds(ms));
  metrics.slo_tpot.Count(absl::Milliseconds(50));
  metrics.slo_tpot.CountViolation();
  metrics.slo_e2e.Count(absl::Hours(1));
  const std::string text = registry->Text();
  const std::string labels = "{model_name=\"tiny\",role=\"router\",slo=\"";
  EXPECT_THAT(text, HasSubstr("tandem_goodput_requests_total" + labels + "ttft\"} 2"));
  EXPECT_THAT(text, HasSubstr("tandem_slo_violations_total" + labels + "ttft\"} 1"));
  EXPECT_THAT(text, HasSubstr("tandem_goodput_requests_total" + labels + "tpot\"} 1"));
  EXPECT_THAT(text, HasSubstr("tandem_slo_violations_total" + labels + "tpot\"} 1"));
  EXPECT_THAT(text, Not(HasSubstr("slo=\"e2e\"")));
}

TEST(MetricsRegistryTest, TenantsPastTheFirst128AreOne) {
  const auto registry = Make(ProcessRole::kRouter);
  RouterMetrics metrics(*registry, 4096);
  for (int i = 0; i < 140; ++i) {
    metrics.CountRequest({.outcome = "stop", .code = "OK", .tenant = absl::StrCat("t", i)});
  }
  const std::string text = registry->Text();
  EXPECT_THAT(text, HasSubstr("tenant=\"t127\"} 1"));
  EXPECT_THAT(text, Not(HasSubstr("tenant=\"t128\"")));
  EXPECT_THAT(text, HasSubstr("tenant=\"other\"} 12"));
}

TEST(MetricsRegistryTest, LinksAndHandOffsOfAPrefillWorker) {
  const auto registry = Make(ProcessRole::kPrefill);
  PrefillMetrics metrics(*registry);
  using State = PrefillMetrics::Link::State;
  metrics.SetLink({.peer = "d:1", .transport = "shared", .state = State::kStands});
  metrics.SetLink({.peer = "d:1", .transport = "grpc", .state = State::kDowngraded});
  metrics.SetLink({.peer = "d:2", .transport = "grpc", .state = State::kStands});
  metrics.SetLink({.peer = "d:2", .transport = "", .state = State::kLost});
  metrics.OnTransfer({.kind = v1::KV_CHANNEL_KIND_GRPC,
                      .bytes = 4'000'000'000,
                      .descriptors = 70,
                      .under_way = absl::Seconds(2),
                      .exposed = absl::Seconds(1)});
  metrics.OnTransfer({.kind = v1::KV_CHANNEL_KIND_SHARED, .exposed = absl::Seconds(1)});
  metrics.SetQueues({.waiting = 3, .running = 2, .handing = 1});
  const std::string text = registry->Text();
  EXPECT_THAT(text, HasSubstr("peer=\"d:1\",transport=\"shared\"} 0"));
  EXPECT_THAT(text, HasSubstr("peer=\"d:1\",transport=\"grpc\"} 2"));
  EXPECT_THAT(text, HasSubstr("peer=\"d:2\",transport=\"grpc\"} 0"));
  const std::string sum = "tandem_kv_transfer_throughput_bytes_per_second_";
  const std::string labels = "{model_name=\"tiny\",role=\"prefill\",direction=\"write\",";
  EXPECT_THAT(text, HasSubstr(sum + "sum" + labels + "transport=\"grpc\"} 2000000000"));
  EXPECT_THAT(text, HasSubstr(sum + "count" + labels + "transport=\"shared\"} 0"));
  const std::string descriptors = "tandem_kv_transfer_descriptors_";
  EXPECT_THAT(text, HasSubstr(descriptors + "sum" + labels + "transport=\"grpc\"} 70"));
  EXPECT_THAT(text, HasSubstr(descriptors + "count" + labels + "transport=\"shared\"} 1"));
  for (const char* queue :
       {"queue=\"waiting\"} 3", "queue=\"running\"} 2", "queue=\"handing\"} 1"}) {
    EXPECT_THAT(text, HasSubstr(queue));
  }
}

TEST(MetricsRegistryTest, QuarantineGraphsAndBytesOfADecodeWorker) {
  const auto registry = Make(ProcessRole::kDecode);
  DecodeMetrics metrics(*registry);
  const absl::Time start = absl::UnixEpoch();
  const std::string labels = "{model_name=\"tiny\",role=\"decode\"";
  metrics.SetLeases({.quarantined = 1}, start);
  metrics.SetLeases({.quarantined = 3}, start + absl::Seconds(7));
  EXPECT_THAT(registry->Text(), HasSubstr("tandem_kv_quarantine_seconds" + labels + "} 7"));
  metrics.SetLeases({.committed = 1}, start + absl::Seconds(8));
  EXPECT_THAT(registry->Text(), HasSubstr("tandem_kv_quarantine_seconds" + labels + "} 0"));
  metrics.OnStep({.begin = start, .end = start, .sequences = 1, .launches = 500});
  metrics.OnStep({.begin = start, .end = start, .sequences = 1});
  metrics.OnStep({.begin = start, .end = start, .sequences = 1});
  metrics.SetPoolBytes({.compressed = 37440, .indexer = 4352, .window = 5, .states = 6});
  const std::string text = registry->Text();
  EXPECT_THAT(text, HasSubstr("tandem_cuda_graph_steps_total" + labels + ",hit=\"true\"} 1"));
  EXPECT_THAT(text, HasSubstr("tandem_cuda_graph_steps_total" + labels + ",hit=\"false\"} 2"));
  EXPECT_THAT(text, HasSubstr("tandem_kv_bytes" + labels + ",pool=\"compressed\"} 37440"));
}

TEST(MetricsRegistryDeathTest, ASeriesOfAnotherRoleIsABug) {
  const auto registry = Make(ProcessRole::kPrefill);
  EXPECT_DEATH((void)registry->Gauges(series::kKvBlocks), "Owns");
}

}  // namespace
}  // namespace tandem
