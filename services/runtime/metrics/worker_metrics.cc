// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/metrics/worker_metrics.h"

#include <algorithm>

#include "services/runtime/base/clock.h"

namespace tandem {
namespace {

prometheus::Gauge& GaugeOf(MetricsRegistry& registry, const series::Series& series,
                           const prometheus::Labels& labels) {
  return registry.Gauges(series).Add(labels);
}

PrefillMetrics::Transfer TransferOf(MetricsRegistry& registry, const std::string& transport) {
  const prometheus::Labels labels = {{"transport", transport}, {"direction", "write"}};
  return {
      .seconds = registry.Histogram(
          {.series = series::kKvTransfer, .bounds = series::kTransferBounds, .labels = labels}),
      .bytes = registry.Histogram(
          {.series = series::kKvTransferBytes, .bounds = series::kBytesBounds, .labels = labels})};
}

}  // namespace

EngineMetrics::EngineMetrics(MetricsRegistry& registry, const std::string& phase)
    : queue_waiting(GaugeOf(registry, series::kQueueDepth, {{"queue", "waiting"}})),
      queue_running(GaugeOf(registry, series::kQueueDepth, {{"queue", "running"}})),
      links_shared(GaugeOf(registry, series::kTransportInfo, {{"transport", "shared"}})),
      links_grpc(GaugeOf(registry, series::kTransportInfo, {{"transport", "grpc"}})),
      registry_(registry),
      tokens_prompt_(registry.Counters(series::kTokens).Add({{"kind", "prompt_computed"}})),
      tokens_generated_(registry.Counters(series::kTokens).Add({{"kind", "generated"}})),
      throughput_prompt_(GaugeOf(registry, series::kThroughput, {{"kind", "prompt_computed"}})),
      throughput_generated_(GaugeOf(registry, series::kThroughput, {{"kind", "generated"}})),
      batch_size_(
          registry.Histogram({.series = series::kBatchSize, .bounds = series::kBatchBounds})),
      step_(registry.Histogram(
          {.series = series::kStep, .bounds = series::kStageBounds, .labels = {{"phase", phase}}})),
      last_step_age_(GaugeOf(registry, series::kLastStepAge, {})),
      failures_(registry.Counters(series::kKvTransferFailures)),
      last_step_(Clock::Real().Now()) {
  registry.OnScrape(this, [this] { Refresh(); });
}

void EngineMetrics::OnStep(const StepSample& step) {
  tokens_prompt_.Increment(step.tokens_prompt);
  tokens_generated_.Increment(step.tokens_generated);
  rate_prompt_.Add(step.tokens_prompt, step.end);
  rate_generated_.Add(step.tokens_generated, step.end);
  batch_size_.Observe(step.sequences);
  step_.Observe(absl::ToDoubleSeconds(step.end - step.begin));
  absl::MutexLock lock(&mutex_);
  last_step_ = step.end;
}

void EngineMetrics::SetBusy(bool busy) {
  absl::MutexLock lock(&mutex_);
  if (busy && !busy_) last_step_ = Clock::Real().Now();
  busy_ = busy;
}

void EngineMetrics::CountTransferFailure(const std::string& reason) {
  failures_.Add({{"reason", reason}}).Increment();
}

void EngineMetrics::Refresh() {
  const absl::Time now = Clock::Real().Now();
  throughput_prompt_.Set(rate_prompt_.PerSecond(now));
  throughput_generated_.Set(rate_generated_.PerSecond(now));
  absl::MutexLock lock(&mutex_);
  last_step_age_.Set(busy_ ? std::max(0.0, absl::ToDoubleSeconds(now - last_step_)) : 0.0);
}

PrefillMetrics::PrefillMetrics(MetricsRegistry& registry)
    : engine(registry, "prefill"),
      shared(TransferOf(registry, "shared")),
      grpc(TransferOf(registry, "grpc")),
      transfer_exposed(registry.Histogram(
          {.series = series::kKvTransferExposed, .bounds = series::kTransferBounds})) {}

DecodeMetrics::DecodeMetrics(MetricsRegistry& registry)
    : engine(registry, "decode"),
      inter_token_gap(
          registry.Histogram({.series = series::kInterTokenGap, .bounds = series::kTokenBounds})),
      lease_expired(registry.Counters(series::kKvLeaseExpired).Add({})),
      blocks(registry.Gauges(series::kKvBlocks)),
      leases(registry.Gauges(series::kKvLeases)),
      usage_ratio(registry.Gauges(series::kKvUsage).Add({})) {}

void DecodeMetrics::SetPages(const Pages& pages) {
  blocks.Add({{"state", "free"}}).Set(pages.free);
  blocks.Add({{"state", "leased_out"}}).Set(pages.leased_out);
  blocks.Add({{"state", "active"}}).Set(pages.active);
  const int used = pages.leased_out + pages.active;
  const int total = std::max(1, used + pages.free);
  usage_ratio.Set(static_cast<double>(used) / total);
}

void DecodeMetrics::SetLeases(const Leases& counts) {
  leases.Add({{"state", "granted"}}).Set(counts.granted);
  leases.Add({{"state", "writing"}}).Set(counts.writing);
  leases.Add({{"state", "filled"}}).Set(counts.filled);
  leases.Add({{"state", "committed"}}).Set(counts.committed);
}

}  // namespace tandem
