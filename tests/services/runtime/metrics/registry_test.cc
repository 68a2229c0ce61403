// SPDX-License-Identifier: Apache-2.0
// Goal: what is counted shows at /metrics under the names of series.h; a taken port is an error.
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

std::unique_ptr<MetricsRegistry> Make(ProcessRole role, const std::string& listen = "") {
  auto registry = MetricsRegistry::Create(
      {.role = role, .model_name = "tiny", .listen = listen, .version = "1.2.3"});
  EXPECT_TRUE(registry.ok()) << registry.status();
  return *std::move(registry);
}

TEST(MetricsRegistryTest, SeriesCarryRoleModelAndTheirOwnLabels) {
  const auto registry = Make(ProcessRole::kRouter);
  RouterMetrics metrics(*registry, 4096);
  metrics.CountRequest("stop", "OK");
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

TEST(MetricsRegistryDeathTest, ASeriesOfAnotherRoleIsABug) {
  const auto registry = Make(ProcessRole::kPrefill);
  EXPECT_DEATH((void)registry->Gauges(series::kKvBlocks), "Owns");
}

}  // namespace
}  // namespace tandem
