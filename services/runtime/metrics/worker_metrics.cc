// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/metrics/worker_metrics.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/metrics/vllm_series.h"

namespace tandem {
namespace {

namespace vllm = series::vllm;

prometheus::Gauge& GaugeOf(MetricsRegistry& registry, const series::Series& series,
                           const prometheus::Labels& labels) {
  return registry.Gauges(series).Add(labels);
}

MetricsRegistry::HistogramSpec HandOff(const std::string& transport, const series::Series& series,
                                       std::span<const double> bounds) {
  return {.series = series,
          .bounds = bounds,
          .labels = {{"transport", transport}, {"direction", "write"}}};
}

}  // namespace

EngineMetrics::EngineMetrics(MetricsRegistry& registry, const std::string& phase)
    : queue_waiting({&GaugeOf(registry, series::kQueueDepth, {{"queue", "waiting"}}),
                     registry.AliasGauge(vllm::kWaiting)}),
      queue_running({&GaugeOf(registry, series::kQueueDepth, {{"queue", "running"}}),
                     registry.AliasGauge(vllm::kRunning)}),
      links_shared_(GaugeOf(registry, series::kTransportInfo, {{"transport", "shared"}})),
      links_ipc_(GaugeOf(registry, series::kTransportInfo, {{"transport", "ipc"}})),
      links_nccl_(GaugeOf(registry, series::kTransportInfo, {{"transport", "nccl"}})),
      links_grpc_(GaugeOf(registry, series::kTransportInfo, {{"transport", "grpc"}})),
      registry_(registry),
      tokens_prompt_(
          {&registry.Counters(series::kTokens).Add({{"kind", "prompt_computed"}}),
           registry.AliasCounter(vllm::kPromptTokens),
           registry.AliasCounter(vllm::kPromptTokensBySource, {{"source", "local_compute"}})}),
      tokens_generated_({&registry.Counters(series::kTokens).Add({{"kind", "generated"}}),
                         registry.AliasCounter(vllm::kGenerationTokens)}),
      throughput_prompt_(GaugeOf(registry, series::kThroughput, {{"kind", "prompt_computed"}})),
      throughput_generated_(GaugeOf(registry, series::kThroughput, {{"kind", "generated"}})),
      batch_size_(
          registry.Histogram({.series = series::kBatchSize, .bounds = series::kBatchBounds})),
      step_tokens_({&registry.Histogram(
                        {.series = series::kStepTokens, .bounds = series::kTokenCountBounds}),
                    registry.AliasHistogram(
                        {.series = vllm::kIterationTokens, .bounds = vllm::kIterationBounds})}),
      step_(registry.Histogram({.series = series::kStep,
                                .bounds = registry.StageBounds(),
                                .labels = {{"phase", phase}}})),
      last_step_age_(GaugeOf(registry, series::kLastStepAge, {})),
      last_step_(Clock::Real().Now()) {
  (void)registry.AliasCounter(vllm::kPreemptions);
  registry.OnScrape(this, [this] { Refresh(); });
}

void EngineMetrics::OnStep(const StepSample& step) {
  tokens_prompt_.Increment(step.tokens_prompt);
  tokens_generated_.Increment(step.tokens_generated);
  rate_prompt_.Add(step.tokens_prompt, step.end);
  rate_generated_.Add(step.tokens_generated, step.end);
  batch_size_.Observe(step.sequences);
  step_tokens_.Observe(step.tokens_prompt > 0 ? step.tokens_prompt : step.tokens_generated);
  step_.Observe(absl::ToDoubleSeconds(step.end - step.begin));
  absl::MutexLock lock(&mutex_);
  last_step_ = step.end;
}

void EngineMetrics::SetBusy(bool busy) {
  absl::MutexLock lock(&mutex_);
  if (busy && !busy_) last_step_ = Clock::Real().Now();
  busy_ = busy;
}

void EngineMetrics::Refresh() {
  const absl::Time now = Clock::Real().Now();
  throughput_prompt_.Set(rate_prompt_.PerSecond(now));
  throughput_generated_.Set(rate_generated_.PerSecond(now));
  absl::MutexLock lock(&mutex_);
  last_step_age_.Set(busy_ ? std::max(0.0, absl::ToDoubleSeconds(now - last_step_)) : 0.0);
}

CacheMetrics::CacheMetrics(MetricsRegistry& registry)
    : registry_(registry),
      usage_({&GaugeOf(registry, series::kKvUsage, {}), registry.AliasGauge(vllm::kKvUsage),
              registry.LegacyGauge(vllm::kLegacyKvUsage)}) {}

void CacheMetrics::Set(const Use& use) {
  usage_.Set(static_cast<double>(use.pages_used) / std::max(1, use.pages_total));
  if (std::exchange(told_, true)) return;
  TwinGauge info({registry_.AliasGauge(vllm::kCacheConfig,
                                       {{"block_size", absl::StrCat(use.page_tokens)},
                                        {"num_gpu_blocks", absl::StrCat(use.pages_total)}})});
  info.Set(1);
}

PrefillMetrics::Transfer::Transfer(MetricsRegistry& registry, const std::string& transport)
    : seconds(registry.Histogram(HandOff(transport, series::kKvTransfer, series::kTransferBounds))),
      bytes(registry.Histogram(HandOff(transport, series::kKvTransferBytes, series::kBytesBounds))),
      descriptors(registry.Histogram(
          HandOff(transport, series::kKvTransferDescriptors, series::kDescriptorBounds))),
      throughput(registry.Histogram(
          HandOff(transport, series::kKvTransferThroughput, series::kThroughputBounds))) {}

PrefillMetrics::PrefillMetrics(MetricsRegistry& registry)
    : engine(registry, "prefill"),
      stage_kv_alloc_wait(registry.Stage("kv_alloc_wait")),
      staging(registry),
      prompt_time({registry.AliasHistogram(
          {.series = vllm::kPrefillTime, .bounds = vllm::kRequestBounds})}),
      shared_(registry, "shared"),
      ipc_(registry, "ipc"),
      nccl_(registry, "nccl"),
      grpc_(registry, "grpc"),
      transfer_exposed_(registry.Histogram(
          {.series = series::kKvTransferExposed, .bounds = series::kTransferBounds})),
      handing_(GaugeOf(registry, series::kQueueDepth, {{"queue", "handing"}})),
      oldest_waiting_(GaugeOf(registry, series::kQueueOldestAge, {{"queue", "waiting"}})),
      tokens_waiting_(GaugeOf(registry, series::kQueueCost, {{"queue", "waiting"}})),
      failures_(registry.Counters(series::kKvTransferFailures)),
      links_(registry.Gauges(series::kPeerLink)) {
  (void)registry.AliasCounter(vllm::kPromptTokensCached);
  (void)registry.AliasCounter(vllm::kPrefixQueries);
  (void)registry.AliasCounter(vllm::kPrefixHits);
  // A rate needs a zero before the first one.
  for (const char* reason : {"timeout", "peer_gone", "layout", "lease_expired"}) {
    failures_.Add({{"reason", reason}});
  }
  for (const char* transport : {"ipc", "nccl", "grpc"}) {
    failures_.Add({{"reason", "downgrade"}, {"transport", transport}});
  }
}

PrefillMetrics::Transfer& PrefillMetrics::TransferBy(v1::KvChannelKind kind) {
  if (kind == v1::KV_CHANNEL_KIND_SHARED) return shared_;
  if (kind == v1::KV_CHANNEL_KIND_IPC) return ipc_;
  return kind == v1::KV_CHANNEL_KIND_NCCL ? nccl_ : grpc_;
}

void PrefillMetrics::OnTransfer(const Moved& moved) {
  Transfer& by = TransferBy(moved.kind);
  const double exposed = absl::ToDoubleSeconds(moved.exposed);
  const double under_way = absl::ToDoubleSeconds(moved.under_way);
  const auto bytes = static_cast<double>(moved.bytes);
  by.seconds.Observe(exposed);
  transfer_exposed_.Observe(exposed);
  by.bytes.Observe(bytes);
  by.descriptors.Observe(static_cast<double>(moved.descriptors));
  if (bytes > 0 && under_way > 0) by.throughput.Observe(bytes / under_way);
}

void PrefillMetrics::SetQueues(const Queues& queues) {
  engine.queue_waiting.Set(queues.waiting);
  engine.queue_running.Set(queues.running);
  handing_.Set(queues.handing);
  oldest_waiting_.Set(absl::ToDoubleSeconds(queues.oldest_waiting));
  tokens_waiting_.Set(queues.tokens_waiting);
}

void PrefillMetrics::SetLink(const Link& link) {
  const std::string peer = peers_.Of(link.peer);
  std::set<std::string>& transports = transports_[peer];
  // A peer has one link: what it used before is gone.
  for (const std::string& transport : transports) {
    links_.Add({{"peer", peer}, {"transport", transport}}).Set(0);
  }
  if (link.state == Link::State::kLost) return;
  transports.insert(link.transport);
  links_.Add({{"peer", peer}, {"transport", link.transport}}).Set(static_cast<double>(link.state));
}

void PrefillMetrics::CountTransferFailure(const std::string& reason) {
  failures_.Add({{"reason", reason}}).Increment();
}

void PrefillMetrics::CountDowngrade(const std::string& transport) {
  failures_.Add({{"reason", "downgrade"}, {"transport", transport}}).Increment();
}

DecodeMetrics::DecodeMetrics(MetricsRegistry& registry)
    : engine(registry, "decode"),
      inter_token_gap({{.histogram = &registry.Histogram(
                            {.series = series::kInterTokenGap, .bounds = registry.TokenBounds()}),
                        .bounds = registry.TokenBounds()},
                       {.histogram = registry.AliasHistogram(
                            {.series = vllm::kInterTokenLatency, .bounds = vllm::kTokenBounds}),
                        .bounds = vllm::kTokenBounds},
                       {.histogram = registry.LegacyHistogram(
                            {.series = vllm::kLegacyTokenTime, .bounds = vllm::kTokenBounds}),
                        .bounds = vllm::kTokenBounds}}),
      decode_time(
          {registry.AliasHistogram({.series = vllm::kDecodeTime, .bounds = vllm::kRequestBounds})}),
      lease_expired(registry.Counters(series::kKvLeaseExpired).Add({})),
      wasted(registry.Counters(series::kTokens).Add({{"kind", "wasted"}})),
      cache(registry),
      stage_decode_queue_(registry.Stage("decode_queue")),
      stage_first_decode_step_(registry.Stage("first_decode_step")),
      first_tokens_({registry.AliasCounter(vllm::kGenerationTokens)}),
      prompt_tokens_({registry.AliasCounter(vllm::kExternalQueries),
                      registry.AliasCounter(vllm::kExternalHits)}),
      replayed_(registry.Counters(series::kGraphSteps).Add({{"hit", "true"}})),
      not_replayed_(registry.Counters(series::kGraphSteps).Add({{"hit", "false"}})),
      quarantine_(GaugeOf(registry, series::kKvQuarantine, {})),
      bytes_(registry.Gauges(series::kKvBytes)),
      blocks_(registry.Gauges(series::kKvBlocks)),
      leases_(registry.Gauges(series::kKvLeases)),
      launches_(registry.Gauges(series::kStepLaunches)) {
  launches_.Add({{"batch", "1"}});
}

void DecodeMetrics::SetPages(const Pages& pages) {
  blocks_.Add({{"state", "free"}}).Set(pages.free);
  blocks_.Add({{"state", "leased_out"}}).Set(pages.leased_out);
  blocks_.Add({{"state", "receiving"}}).Set(pages.receiving);
  blocks_.Add({{"state", "active"}}).Set(pages.active);
  blocks_.Add({{"state", "quarantined"}}).Set(pages.quarantined);
  const int used = pages.leased_out + pages.receiving + pages.active + pages.quarantined;
  cache.Set(
      {.pages_used = used, .pages_total = used + pages.free, .page_tokens = pages.page_tokens});
}

void DecodeMetrics::SetPoolBytes(const PoolBytes& bytes) {
  bytes_.Add({{"pool", "compressed"}}).Set(static_cast<double>(bytes.compressed));
  bytes_.Add({{"pool", "indexer"}}).Set(static_cast<double>(bytes.indexer));
  bytes_.Add({{"pool", "window"}}).Set(static_cast<double>(bytes.window));
  bytes_.Add({{"pool", "states"}}).Set(static_cast<double>(bytes.states));
}

void DecodeMetrics::OnFirstToken(const FirstToken& token) {
  stage_decode_queue_.Observe(absl::ToDoubleSeconds(token.step - token.begun));
  stage_first_decode_step_.Observe(absl::ToDoubleSeconds(token.end - token.step));
}

void DecodeMetrics::OnAnswer(int prompt_tokens) {
  first_tokens_.Increment();
  prompt_tokens_.Increment(prompt_tokens);
}

void DecodeMetrics::SetLeases(const Leases& counts, absl::Time now) {
  quarantined_since_ =
      counts.quarantined == 0 ? absl::InfiniteFuture() : std::min(quarantined_since_, now);
  quarantine_.Set(std::max(0.0, absl::ToDoubleSeconds(now - quarantined_since_)));
  leases_.Add({{"state", "granted"}}).Set(counts.granted);
  leases_.Add({{"state", "writing"}}).Set(counts.writing);
  leases_.Add({{"state", "filled"}}).Set(counts.filled);
  leases_.Add({{"state", "committed"}}).Set(counts.committed);
  leases_.Add({{"state", "quarantined"}}).Set(counts.quarantined);
}

void DecodeMetrics::OnStep(const StepSample& step) {
  engine.OnStep(step);
  inter_token_gap.Flush();
  (step.launches > 0 ? replayed_ : not_replayed_).Increment();
  if (step.launches == 0) return;
  const unsigned batch = std::bit_ceil(static_cast<unsigned>(step.sequences));
  if (std::exchange(launches_told_[batch], step.launches) == step.launches) return;
  launches_.Add({{"batch", absl::StrCat(batch)}}).Set(static_cast<double>(step.launches));
}

}  // namespace tandem
