// SPDX-License-Identifier: Apache-2.0
// Goal: time, bytes and flop of the hot operations at tiny-v4's sizes (hidden 256, 4 heads, 16
// experts), fast table, one thread. Method: Google Benchmark; the argument is T. `bytes` counts
// weights once and rows as stored.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/kernel_table.h"

namespace tandem::kernels {
namespace {

constexpr int64_t kDim = 256;

template <typename T, int kRank>
struct Buffer {
  explicit Buffer(TensorView<T, kRank> shape) : view(shape), values(shape.size()) {
    view.data = values.data();
  }
  TensorView<T, kRank> view;
  std::vector<T> values;
};

template <int kRank>
Buffer<Bf16, kRank> Wave(TensorView<Bf16, kRank> shape) {
  Buffer<Bf16, kRank> buffer(shape);
  for (int64_t i = 0; i < shape.size(); ++i)
    buffer.values[i] = ToBf16(static_cast<float>(i % 17) / 8 - 1);
  return buffer;
}

// A prepared weight of pseudo-random codes under scale 2^-6.
struct Weight {
  Weight(WeightFormat format, int64_t n, int64_t k)
      : bytes(format == WeightFormat::kBf16  ? 2 * n * k
              : format == WeightFormat::kFp8 ? n * k
                                             : n * k / 2) {
    linear = {.format = format, .n = n, .k = k};
    scales.assign(ScaleCount(linear), 121);
    for (size_t i = 0; i < bytes.size(); ++i)
      bytes[i] = static_cast<uint8_t>((i * 2654435761u >> 13) & 0x77);
    if (format == WeightFormat::kBf16) {  // 1 .. 2: a subnormal would cost a trap
      for (size_t i = 1; i < bytes.size(); i += 2) bytes[i] = 0x3F;
      for (size_t i = 0; i < bytes.size(); i += 2) bytes[i] |= 0x80;
    }
    linear.bytes = bytes.data();
    linear.scales = scales.empty() ? nullptr : scales.data();
    const int64_t size = kCpuKernels.prepared_bytes(linear);
    storage.resize(size + 64);
    const auto skip = (64 - reinterpret_cast<uintptr_t>(storage.data()) % 64) % 64;
    kCpuKernels.prepare_linear(&linear, {storage.data() + skip, static_cast<size_t>(size)});
  }
  Weight(const Weight&) = delete;
  Weight& operator=(const Weight&) = delete;
  std::vector<uint8_t> bytes, scales, storage;
  LinearWeight linear;
};

// Per second: bytes, and multiply-adds as two flop.
void Report(benchmark::State& state, int64_t bytes, int64_t flop) {
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * bytes);
  state.counters["flop"] =
      benchmark::Counter(static_cast<double>(flop), benchmark::Counter::kIsIterationInvariantRate);
}

void QuantLinear(benchmark::State& state, WeightFormat format, int64_t n, int64_t k) {
  const int64_t tokens = state.range(0);
  const Weight weight(format, n, k);
  const auto x = Wave<2>({nullptr, {tokens, k}});
  Buffer<E4M3, 2> q({nullptr, {tokens, k}});
  Buffer<Ue8m0, 2> scale({nullptr, {tokens, k / 128}});
  Buffer<Bf16, 2> y({nullptr, {tokens, n}});
  Stream stream;
  kCpuKernels.act_quant({.x = x.view, .q = q.view, .scale = scale.view}, stream);
  for (auto _ : state) {
    kCpuKernels.quant_linear(
        {.q = q.view, .scale = scale.view, .weight = weight.linear, .y = y.view}, stream);
  }
  Report(state, 2 * n * k, 2 * n * k * tokens);
}
BENCHMARK_CAPTURE(QuantLinear, wq_b, WeightFormat::kFp8, 2048, 128)->Arg(1)->Arg(16)->Arg(64);
BENCHMARK_CAPTURE(QuantLinear, wo_b, WeightFormat::kFp8, 256, 512)->Arg(1)->Arg(16)->Arg(64);
BENCHMARK_CAPTURE(QuantLinear, expert_w1, WeightFormat::kFp4, 128, 256)->Arg(1)->Arg(16)->Arg(64);

void Bf16Linear(benchmark::State& state, int64_t n, int64_t k) {
  const int64_t tokens = state.range(0);
  const Weight weight(WeightFormat::kBf16, n, k);
  const auto x = Wave<2>({nullptr, {tokens, k}});
  Buffer<float, 2> y({nullptr, {tokens, n}});
  Stream stream;
  for (auto _ : state)
    kCpuKernels.bf16_linear({.x = x.view, .weight = weight.linear, .y = y.view}, stream);
  Report(state, 2 * n * k, 2 * n * k * tokens);
}
BENCHMARK_CAPTURE(Bf16Linear, lm_head, 1920, kDim)->Arg(1)->Arg(16);
BENCHMARK_CAPTURE(Bf16Linear, compressor, 1024, kDim)->Arg(1)->Arg(16);

void ActQuant(benchmark::State& state) {
  const int64_t tokens = state.range(0);
  const auto x = Wave<2>({nullptr, {tokens, kDim}});
  Buffer<E4M3, 2> q({nullptr, {tokens, kDim}});
  Buffer<Ue8m0, 2> scale({nullptr, {tokens, kDim / 128}});
  Stream stream;
  for (auto _ : state)
    kCpuKernels.act_quant({.x = x.view, .q = q.view, .scale = scale.view}, stream);
  Report(state, 3 * tokens * kDim, tokens * kDim);
}
BENCHMARK(ActQuant)->Arg(1)->Arg(16);

void RmsNorm(benchmark::State& state) {
  const int64_t tokens = state.range(0);
  const auto x = Wave<2>({nullptr, {tokens, kDim}});
  const auto weight = Wave<1>({nullptr, {kDim}});
  Buffer<Bf16, 2> y({nullptr, {tokens, kDim}});
  Stream stream;
  for (auto _ : state)
    kCpuKernels.rms_norm({.x = x.view, .weight = weight.view, .eps = 1e-6f, .y = y.view}, stream);
  Report(state, 4 * tokens * kDim, 4 * tokens * kDim);
}
BENCHMARK(RmsNorm)->Arg(1)->Arg(16);

void HeadNorm(benchmark::State& state) {
  const int64_t tokens = state.range(0);
  auto q = Wave<3>({nullptr, {tokens, 4, 512}});
  Stream stream;
  for (auto _ : state) kCpuKernels.head_norm({.q = q.view, .eps = 1e-6f}, stream);
  Report(state, 4 * tokens * 2048, 3 * tokens * 2048);
}
BENCHMARK(HeadNorm)->Arg(1)->Arg(16);

void HcPreAndPost(benchmark::State& state) {
  const int64_t tokens = state.range(0);
  auto streams = Wave<3>({nullptr, {tokens, 4, kDim}});
  Buffer<float, 2> fn({nullptr, {24, 4 * kDim}});
  for (float& v : fn.values) v = 0.01f;
  Buffer<float, 1> base({nullptr, {24}}), scale({nullptr, {3}});
  Buffer<Bf16, 2> x({nullptr, {tokens, kDim}});
  Buffer<float, 2> post({nullptr, {tokens, 4}});
  Buffer<float, 3> comb({nullptr, {tokens, 4, 4}});
  Stream stream;
  for (auto _ : state) {
    kCpuKernels.hc_pre({.streams = streams.view,
                        .fn = fn.view,
                        .base = base.view,
                        .scale = scale.view,
                        .norm_eps = 1e-6f,
                        .hc_eps = 1e-6f,
                        .iterations = 20,
                        .x = x.view,
                        .post = post.view,
                        .comb = comb.view},
                       stream);
    kCpuKernels.hc_post(
        {.y = x.view, .post = post.view, .comb = comb.view, .streams = streams.view}, stream);
  }
  Report(state, 24 * 4 * kDim * 4 + tokens * 28 * kDim, tokens * kDim * (8 * 24 + 48));
}
BENCHMARK(HcPreAndPost)->Arg(1)->Arg(16);

void SparseAttention(benchmark::State& state) {
  const int64_t tokens = state.range(0), keys = 160;
  const auto q = Wave<3>({nullptr, {tokens, 4, 512}});
  const auto kv = Wave<2>({nullptr, {keys, 512}});
  std::vector<uint8_t> pool(3 * KvPageBytes(64));
  const KvPages pages{.base = pool.data(), .pages = 3};
  std::vector<int32_t> index;
  for (int64_t i = 0; i < tokens * keys; ++i) index.push_back(static_cast<int32_t>(i % keys));
  for (int64_t i = 0; i < keys; ++i) WriteKvRow(kv.view.row(i), pages, i);
  Buffer<float, 1> sink({nullptr, {4}});
  Buffer<Bf16, 3> out({nullptr, {tokens, 4, 512}});
  SparseAttentionArgs args{.q = q.view, .sink = sink.view, .scale = 0.0442f, .out = out.view};
  args.sources[0] = {.rows = pages, .index = {index.data(), {tokens, keys}}};
  Stream stream;
  for (auto _ : state) kCpuKernels.sparse_attention(args, stream);
  Report(state, tokens * keys * kKvRowBytes, 4 * 512 * 4 * keys * tokens);
}
BENCHMARK(SparseAttention)->Arg(1)->Arg(16);

void MoeExperts(benchmark::State& state) {
  const int64_t tokens = state.range(0);
  std::vector<std::unique_ptr<Weight>> owned;
  std::vector<ExpertWeights> experts;
  for (int e = 0; e <= 16; ++e) {
    const WeightFormat format = e < 16 ? WeightFormat::kFp4 : WeightFormat::kFp8;
    for (const bool down : {false, false, true}) {
      owned.push_back(std::make_unique<Weight>(format, down ? kDim : 128, down ? 128 : kDim));
    }
    const auto* w = &owned[3 * e];
    experts.push_back({.w1 = w[0]->linear, .w3 = w[1]->linear, .w2 = w[2]->linear});
  }
  const auto x = Wave<2>({nullptr, {tokens, kDim}});
  Buffer<int32_t, 2> chosen({nullptr, {tokens, 6}});
  Buffer<float, 2> weight({nullptr, {tokens, 6}});
  for (int64_t i = 0; i < 6 * tokens; ++i)
    chosen.values[i] = static_cast<int32_t>((i * 5 + i / 6) % 16);
  Buffer<Bf16, 2> y({nullptr, {tokens, kDim}});
  Stream stream;
  for (auto _ : state) {
    kCpuKernels.moe_experts({.x = x.view,
                             .experts = chosen.view,
                             .weight = weight.view,
                             .routed = {experts.data(), {16}},
                             .shared = experts[16],
                             .limit = 10,
                             .y = y.view},
                            stream);
  }
  Report(state, 7 * 3 * 128 * kDim * 2, tokens * 7 * 3 * 128 * kDim * 2);
}
BENCHMARK(MoeExperts)->Arg(1)->Arg(16)->Arg(64);

}  // namespace
}  // namespace tandem::kernels

BENCHMARK_MAIN();
