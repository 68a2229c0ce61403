// SPDX-License-Identifier: Apache-2.0
// How fast tiny-v4 runs on the serving table: decode steps of a batch, and prefill chunks. items/s
// are tokens/s; no RPC, scheduler or sampling. Sequences stand at position 256 when decoding
// begins, past the window, and go on from there.
#include <benchmark/benchmark.h>

#include <memory>
#include <vector>

#include "services/runtime/base/check.h"
#include "services/runtime/loader/loaded_model.h"
#include "services/runtime/model/model.h"

namespace tandem {
namespace {

constexpr int kPositions = 2048;
constexpr int kPages = kPositions / kPageTokens;
constexpr int kStart = 256;
constexpr int kVocabulary = 1900;

struct Bench {
  explicit Bench(int sequences) {
    auto loading = LoadedModel::Load(
        {.folder = TANDEM_SOURCE_DIR "/deploy/models/tiny-v4", .kernels = kernels::kCpuKernels});
    CHECK(loading.ok());
    loaded = *std::move(loading);
    auto creating = Model::Create(
        {.config = loaded->config(), .weights = loaded->weights(), .kernels = kernels::kCpuKernels},
        {.max_tokens_per_step = 512, .max_positions = kPositions});
    CHECK(creating.ok());
    model = *std::move(creating);
    auto placing =
        KvLayout::Create(loaded->config(), {.pages = kPages * sequences, .slots = sequences});
    CHECK(placing.ok());
    layout = std::make_unique<KvLayout>(*std::move(placing));
    memory.resize(layout->bytes());
    for (int s = 0; s < sequences; ++s) {
      pages.emplace_back();
      for (int p = 0; p < kPages; ++p) pages.back().push_back(s * kPages + p);
    }
    for (int i = 0; i < kPositions; ++i) tokens.push_back(i * 7919 % kVocabulary);
  }

  SequenceChunk Chunk(int sequence, int start, int count) const {
    return {.tokens = absl::MakeConstSpan(tokens).subspan(start, count),
            .start = start,
            .slot = sequence,
            .pages = pages[sequence]};
  }
  void Forward(absl::Span<const SequenceChunk> chunks) {
    model->Forward(chunks, {.base = memory.data(), .layout = layout.get()},
                   [](const LogitsBlock& block) { benchmark::DoNotOptimize(block.logits.data); });
  }

  std::unique_ptr<LoadedModel> loaded;
  std::unique_ptr<Model> model;
  std::unique_ptr<KvLayout> layout;
  std::vector<std::byte> memory;
  std::vector<std::vector<int32_t>> pages;
  std::vector<int32_t> tokens;
};

void BM_Decode(benchmark::State& state) {
  const int batch = static_cast<int>(state.range(0));
  Bench bench(batch);
  std::vector<SequenceChunk> step(batch);
  for (int s = 0; s < batch; ++s) {
    step[0] = bench.Chunk(s, 0, kStart);
    bench.Forward(absl::MakeSpan(step).subspan(0, 1));
  }
  int position = kStart;
  for (auto _ : state) {
    for (int s = 0; s < batch; ++s) step[s] = bench.Chunk(s, position, 1);
    bench.Forward(step);
    if (++position == kPositions) position = kStart;
  }
  state.SetItemsProcessed(state.iterations() * batch);
}
BENCHMARK(BM_Decode)->Arg(1)->Arg(4)->Arg(16)->Unit(benchmark::kMillisecond);

void BM_Prefill(benchmark::State& state) {
  const int chunk = static_cast<int>(state.range(0));
  Bench bench(1);
  int position = 0;
  for (auto _ : state) {
    const SequenceChunk step = bench.Chunk(0, position, chunk);
    bench.Forward({&step, 1});
    position = position + 2 * chunk <= kPositions ? position + chunk : 0;
  }
  state.SetItemsProcessed(state.iterations() * chunk);
}
BENCHMARK(BM_Prefill)->Arg(16)->Arg(64)->Arg(256)->Arg(512)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace tandem

BENCHMARK_MAIN();
