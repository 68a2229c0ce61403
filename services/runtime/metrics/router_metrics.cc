// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/metrics/router_metrics.h"

#include <utility>

#include "services/runtime/metrics/vllm_series.h"

namespace tandem {
namespace {

namespace vllm = series::vllm;

prometheus::Gauge& Inflight(MetricsRegistry& registry, const std::string& stage) {
  return registry.Gauges(series::kRequestsInflight).Add({{"stage", stage}});
}

prometheus::Counter* Retries(MetricsRegistry& registry, const std::string& stage,
                             const std::string& result) {
  return &registry.Counters(series::kRetries).Add({{"stage", stage}, {"result", result}});
}

// A native histogram and its alias.
TwinHistogram Twins(MetricsRegistry& registry, const MetricsRegistry::HistogramSpec& native,
                    const MetricsRegistry::HistogramSpec& alias) {
  return {&registry.Histogram(native), registry.AliasHistogram(alias)};
}

TwinCounter Success(MetricsRegistry& registry, const std::string& reason) {
  return {registry.AliasCounter(vllm::kRequestSuccess, {{"finished_reason", reason}})};
}

// A rate needs a zero before the first one: what can happen is there from the start.
constexpr std::pair<const char*, const char*> kOutcomes[] = {{"stop", "OK"},
                                                             {"length", "OK"},
                                                             {"tool_calls", "OK"},
                                                             {"cancelled", "CANCELLED"},
                                                             {"deadline", "DEADLINE_EXCEEDED"},
                                                             {"rejected", "INVALID_ARGUMENT"},
                                                             {"rejected", "RESOURCE_EXHAUSTED"},
                                                             {"rejected", "UNAUTHENTICATED"},
                                                             {"error", "UNAVAILABLE"},
                                                             {"error", "INTERNAL"}};
constexpr const char* kRejections[] = {"INVALID_FIELD", "PROMPT_TOO_LONG", "DUPLICATE_REQUEST",
                                       "QUEUE_FULL",    "KV_BUDGET",       "RATE_LIMIT",
                                       "API_KEY",       "NO_WORKER",       "DRAINING"};

}  // namespace

SloCounter::SloCounter(MetricsRegistry& registry, const Limit& limit) : most_(limit.most) {
  if (!most_.has_value()) return;
  good_ = &registry.Counters(series::kGoodput).Add({{"slo", limit.name}});
  bad_ = &registry.Counters(series::kSloViolations).Add({{"slo", limit.name}});
}

RouterMetrics::RouterMetrics(MetricsRegistry& registry, double tokens_max, const SloLimits& slo)
    : inflight_reserve(Inflight(registry, "reserve")),
      inflight_prefill(Inflight(registry, "prefill")),
      inflight_decode(Inflight(registry, "decode")),
      queue_requests(registry.Gauges(series::kQueueDepth).Add({{"queue", "requests"}})),
      workers_prefill(registry.Gauges(series::kWorkersUp).Add({{"kind", "prefill"}})),
      workers_decode(registry.Gauges(series::kWorkersUp).Add({{"kind", "decode"}})),
      registered_prefill(registry.Gauges(series::kWorkersRegistered).Add({{"kind", "prefill"}})),
      registered_decode(registry.Gauges(series::kWorkersRegistered).Add({{"kind", "decode"}})),
      beats_accepted(registry.Counters(series::kWorkerBeats).Add({{"outcome", "accepted"}})),
      beats_refused(registry.Counters(series::kWorkerBeats).Add({{"outcome", "refused"}})),
      beats_missed(registry.Counters(series::kWorkerBeats).Add({{"outcome", "missed"}})),
      slow_reader_aborts(registry.Counters(series::kSlowReaderAborts).Add({})),
      stream_backpressure(registry.Counters(series::kStreamBackpressure).Add({})),
      tool_calls_parsed(registry.Counters(series::kToolCallParsed).Add({})),
      tool_calls_repaired(registry.Counters(series::kToolCallRepaired).Add({})),
      tool_calls_malformed(registry.Counters(series::kToolCallMalformed).Add({})),
      ttft(Twins(registry, {.series = series::kTtft, .bounds = registry.TtftBounds()},
                 {.series = vllm::kTtft, .bounds = vllm::kTtftBounds})),
      tpot(Twins(registry, {.series = series::kTpot, .bounds = registry.TokenBounds()},
                 {.series = vllm::kTpot, .bounds = vllm::kTokenBounds})),
      e2e(Twins(registry, {.series = series::kE2e, .bounds = registry.E2eBounds()},
                {.series = vllm::kE2e, .bounds = vllm::kRequestBounds})),
      prompt_tokens(
          Twins(registry, {.series = series::kPromptLength, .bounds = series::kTokenCountBounds},
                {.series = vllm::kPromptLength, .bounds = vllm::TokenCountBounds(tokens_max)})),
      answer_tokens(
          Twins(registry, {.series = series::kAnswerLength, .bounds = series::kTokenCountBounds},
                {.series = vllm::kAnswerLength, .bounds = vllm::TokenCountBounds(tokens_max)})),
      chunk_gap(registry.Histogram(
          {.series = series::kStreamChunkGap, .bounds = registry.TokenBounds()})),
      stages(registry),
      queue_time(
          {registry.AliasHistogram({.series = vllm::kQueueTime, .bounds = vllm::kRequestBounds})}),
      inference_time({registry.AliasHistogram(
          {.series = vllm::kInferenceTime, .bounds = vllm::kRequestBounds})}),
      params_n(
          {registry.AliasHistogram({.series = vllm::kParamsN, .bounds = vllm::kChoicesBounds})}),
      params_max_tokens({registry.AliasHistogram(
          {.series = vllm::kParamsMaxTokens, .bounds = vllm::TokenCountBounds(tokens_max)})}),
      slo_ttft(registry, {.name = "ttft", .most = slo.ttft}),
      slo_tpot(registry, {.name = "tpot", .most = slo.tpot}),
      slo_e2e(registry, {.name = "e2e", .most = slo.e2e}),
      requests_(registry.Counters(series::kRequests)),
      rejected_(registry.Counters(series::kAdmissionRejected)),
      retries_{{Retries(registry, "reserve", "failed"), Retries(registry, "reserve", "ok")},
               {Retries(registry, "prefill", "failed"), Retries(registry, "prefill", "ok")}},
      success_stop_(Success(registry, "stop")),
      success_length_(Success(registry, "length")),
      success_abort_(Success(registry, "abort")),
      success_error_(Success(registry, "error")) {
  for (const auto& [outcome, code] : kOutcomes) {
    requests_.Add({{"outcome", outcome}, {"code", code}, {"tenant", ""}});
  }
  for (const char* reason : kRejections) rejected_.Add({{"reason", reason}});
}

void RouterMetrics::CountRequest(const RequestEnd& end) {
  std::string tenant;
  {
    absl::MutexLock lock(&mutex_);
    tenant = tenants_.Of(end.tenant);
  }
  const std::string& outcome = end.outcome;
  requests_.Add({{"outcome", outcome}, {"code", end.code}, {"tenant", tenant}}).Increment();
  if (outcome == "stop" || outcome == "tool_calls") success_stop_.Increment();
  if (outcome == "length") success_length_.Increment();
  if (outcome == "cancelled" || outcome == "deadline") success_abort_.Increment();
  if (outcome == "error") success_error_.Increment();
}

void RouterMetrics::CountRejected(const std::string& reason) {
  rejected_.Add({{"reason", reason}}).Increment();
}

}  // namespace tandem
