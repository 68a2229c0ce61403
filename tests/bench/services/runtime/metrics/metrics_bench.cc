// SPDX-License-Identifier: Apache-2.0
// What counting costs, in ns: once a token and once a step in a decode worker, once a delta and
// once a request in the router, with and without vLLM aliases (argument 1 or 0), from 1 and from 4
// threads where several threads count. items/s are observations.
#include <benchmark/benchmark.h>

#include <memory>

#include "absl/time/time.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/metrics/router_metrics.h"
#include "services/runtime/metrics/vllm_series.h"
#include "services/runtime/metrics/worker_metrics.h"

namespace tandem {
namespace {

std::unique_ptr<MetricsRegistry> MakeRegistry(ProcessRole role, bool aliases) {
  auto registry = MetricsRegistry::Create(
      {.role = role,
       .model_name = "bench",
       .compat = aliases ? v1::METRICS_COMPAT_VLLM : v1::METRICS_COMPAT_NONE});
  CHECK(registry.ok());
  return *std::move(registry);
}

// Gaps of 1 to 64 ms, as a loop's would differ.
double GapOf(int64_t i) {
  return 0.001 * static_cast<double>(1 + i % 64);
}

// A whole step of `range(0)` sequences: their gaps, then the step.
void DecodeStep(benchmark::State& state) {
  const auto registry = MakeRegistry(ProcessRole::kDecode, state.range(1) != 0);
  DecodeMetrics metrics(*registry);
  const int sequences = static_cast<int>(state.range(0));
  const absl::Time begin = absl::UnixEpoch();
  int64_t steps = 0;
  for (auto _ : state) {
    ++steps;
    for (int i = 0; i < sequences; ++i) metrics.inter_token_gap.Add(GapOf(steps));
    metrics.OnStep({.begin = begin,
                    .end = begin + steps * absl::Milliseconds(10),
                    .sequences = sequences,
                    .tokens_generated = sequences});
  }
  state.SetItemsProcessed(steps * sequences);
}
BENCHMARK(DecodeStep)->ArgNames({"sequences", "aliases"})->ArgsProduct({{1, 64, 512}, {0, 1}});

// What DecodeStep would pay for each token if it did not gather them: prometheus-cpp's own Observe.
void ObserveEachGap(benchmark::State& state) {
  static MetricsRegistry* const kRegistry = MakeRegistry(ProcessRole::kDecode, true).release();
  static prometheus::Histogram& native =
      kRegistry->Histogram({.series = series::kInterTokenGap, .bounds = series::kTokenBounds});
  int64_t i = 0;
  for (auto _ : state) native.Observe(GapOf(++i));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(ObserveEachGap)->Threads(1)->Threads(4);

// What a time costs that a stage or a wait is told from: two to four a delta, two a message that
// waits for its client.
void ReadClock(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(Clock::Real().Now());
}
BENCHMARK(ReadClock);

// Many requests at once share the router's histograms.
void RouterDelta(benchmark::State& state) {
  static auto* const kMetrics =
      new RouterMetrics(*MakeRegistry(ProcessRole::kRouter, true).release(), 65536);
  int64_t i = 0;
  for (auto _ : state) kMetrics->chunk_gap.Observe(GapOf(++i));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(RouterDelta)->Threads(1)->Threads(4);

void RouterRequest(benchmark::State& state) {
  static RouterMetrics* const kWith[] = {
      new RouterMetrics(*MakeRegistry(ProcessRole::kRouter, false).release(), 65536),
      new RouterMetrics(*MakeRegistry(ProcessRole::kRouter, true).release(), 65536)};
  RouterMetrics& metrics = *kWith[state.range(0)];
  for (auto _ : state) {
    for (TwinHistogram* each : {&metrics.ttft, &metrics.tpot, &metrics.e2e, &metrics.prompt_tokens,
                                &metrics.answer_tokens, &metrics.queue_time,
                                &metrics.inference_time, &metrics.params_n}) {
      each->Observe(0.05);
    }
    for (prometheus::Histogram* stage :
         {&metrics.stages.render, &metrics.stages.tokenize, &metrics.stages.route,
          &metrics.stages.reserve, &metrics.stages.prefill_queue, &metrics.stages.prefill,
          &metrics.stages.kv_transfer, &metrics.stages.decode, &metrics.stages.detokenize,
          &metrics.stages.send}) {
      stage->Observe(0.05);
    }
    metrics.CountRequest({.outcome = "stop", .code = "OK"});
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(RouterRequest)->ArgName("aliases")->Arg(0)->Arg(1)->Threads(1)->Threads(4);

void Scrape(benchmark::State& state) {
  const auto registry = MakeRegistry(ProcessRole::kRouter, state.range(0) != 0);
  const RouterMetrics metrics(*registry, 65536);
  size_t bytes = 0;
  for (auto _ : state) bytes = registry->Text().size();
  state.counters["bytes"] = static_cast<double>(bytes);
}
BENCHMARK(Scrape)->ArgName("aliases")->Arg(0)->Arg(1);

}  // namespace
}  // namespace tandem

BENCHMARK_MAIN();
