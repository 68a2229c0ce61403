// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/metrics/router_metrics.h"

namespace tandem {
namespace {

prometheus::Gauge& Inflight(MetricsRegistry& registry, const std::string& stage) {
  return registry.Gauges(series::kRequestsInflight).Add({{"stage", stage}});
}

prometheus::Histogram& Stage(MetricsRegistry& registry, const std::string& stage) {
  return registry.Histogram(
      {.series = series::kStage, .bounds = series::kStageBounds, .labels = {{"stage", stage}}});
}

}  // namespace

RouterMetrics::RouterMetrics(MetricsRegistry& registry)
    : requests(registry.Counters(series::kRequests)),
      rejected(registry.Counters(series::kAdmissionRejected)),
      inflight_reserve(Inflight(registry, "reserve")),
      inflight_prefill(Inflight(registry, "prefill")),
      inflight_decode(Inflight(registry, "decode")),
      queue_requests(registry.Gauges(series::kQueueDepth).Add({{"queue", "requests"}})),
      workers_prefill(registry.Gauges(series::kWorkersUp).Add({{"kind", "prefill"}})),
      workers_decode(registry.Gauges(series::kWorkersUp).Add({{"kind", "decode"}})),
      ttft(registry.Histogram({.series = series::kTtft, .bounds = series::kTtftBounds})),
      tpot(registry.Histogram({.series = series::kTpot, .bounds = series::kTokenBounds})),
      e2e(registry.Histogram({.series = series::kE2e, .bounds = series::kTtftBounds})),
      chunk_gap(
          registry.Histogram({.series = series::kStreamChunkGap, .bounds = series::kTokenBounds})),
      stage_tokenize(Stage(registry, "tokenize")),
      stage_reserve(Stage(registry, "reserve")),
      stage_prefill_queue(Stage(registry, "prefill_queue")),
      stage_prefill(Stage(registry, "prefill")),
      stage_kv_transfer(Stage(registry, "kv_transfer")),
      stage_decode(Stage(registry, "decode")) {}

void RouterMetrics::CountRequest(const std::string& outcome, const std::string& code) {
  requests.Add({{"outcome", outcome}, {"code", code}}).Increment();
}

void RouterMetrics::CountRejected(const std::string& reason) {
  rejected.Add({{"reason", reason}}).Increment();
}

}  // namespace tandem
