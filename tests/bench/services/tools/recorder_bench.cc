// SPDX-License-Identifier: Apache-2.0
// What a token costs the load tool beside gRPC: Recorder::OnChunk from one and from several
// threads, OnRequest, and the Snapshot of the live view.
#include <memory>

#include "benchmark/benchmark.h"
#include "services/runtime/base/clock.h"
#include "services/tools/load/result/recorder.h"

namespace tandem {
namespace {

Recorder& Shared() {
  static Recorder* const recorder = new Recorder(Clock::Real().Now(), {});
  return *recorder;
}

void Chunk(benchmark::State& state) {
  int64_t i = 0;
  for (auto _ : state) {
    ++i;
    Shared().OnChunk({.at = absl::Microseconds(i % 60'000'000),
                      .gap = absl::Microseconds(20'000 + i * 7919 % 10'000),
                      .tokens = 1,
                      .measured = true});
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(Chunk)->ThreadRange(1, 4)->UseRealTime();

void Request(benchmark::State& state) {
  RequestRecord record;
  record.tokens = 64;
  record.finish_reason = "length";
  record.stages = StageTimes{};
  int64_t i = 0;
  for (auto _ : state) {
    record.sent = absl::Milliseconds(++i % 60'000);
    record.scheduled = record.sent;
    record.first_token = record.sent + absl::Milliseconds(100 + i * 7919 % 100);
    record.last_token = *record.first_token + absl::Seconds(1);
    record.end = *record.last_token;
    Shared().OnSend(record.sent);
    Shared().OnRequest(record);
  }
}
BENCHMARK(Request);

void Snapshot(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(Shared().Snapshot(absl::Seconds(60)));
}
BENCHMARK(Snapshot);

}  // namespace
}  // namespace tandem

BENCHMARK_MAIN();
