// SPDX-License-Identifier: Apache-2.0
// Goal: sampling over Flash's vocabulary, and the small quantisers. Method: bench.h; logits from
// −8 to 8, so that no row is peaked.
#include <string>
#include <vector>

#include "kernels/kernel_table.h"
#include "tests/bench/kernels/cuda/inputs.h"

namespace tandem::kernels {
namespace {

constexpr int64_t kVocabulary = 129280;

template <typename T>
T* Fill(int64_t n, T (*value)(int64_t i)) {
  std::vector<T> values(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) values[static_cast<size_t>(i)] = value(i);
  return Upload(values);
}

float* Logits(int64_t n) {
  return Fill<float>(n, [](int64_t i) {
    const auto z = static_cast<uint64_t>(i) * 0x9E3779B97F4A7C15u;
    return static_cast<float>((z ^ (z >> 29)) >> 40 & 0xFFFFFF) * 0x1p-20f - 8.0f;
  });
}

BenchCase Sample(const std::string& name, int64_t tokens, int32_t* (*top_k)(int64_t),
                 float* (*top_p)(int64_t), double bar_us) {
  return {.name = "sample " + name,
          .tokens = tokens,
          .bytes = 4 * tokens * kVocabulary,
          .flop = 0,
          .bar_us = bar_us,
          .make = [=](int64_t sets) {
            float* logits = Logits(sets * tokens * kVocabulary);
            float* one = Fill<float>(tokens, [](int64_t) { return 1.0f; });
            float* zero = Fill<float>(tokens, [](int64_t) { return 0.0f; });
            float* u =
                Fill<float>(tokens, [](int64_t i) { return 0.015f * static_cast<float>(i); });
            int32_t* ks = top_k(tokens);
            float* ps = top_p(tokens);
            int32_t* token = Fill<int32_t>(tokens, [](int64_t) { return 0; });
            return [=](int64_t set, Stream& stream) {
              kCudaKernels.sample(
                  {.logits = {logits + set * tokens * kVocabulary, {tokens, kVocabulary}},
                   .temperature = {one, {tokens}},
                   .top_k = {ks, {tokens}},
                   .top_p = {ps, {tokens}},
                   .min_p = {zero, {tokens}},
                   .u = {u, {tokens}},
                   .token = {token, {tokens}}},
                  stream);
            };
          }};
}

int32_t* NoTopK(int64_t n) {
  return Fill<int32_t>(n, [](int64_t) { return 0; });
}
int32_t* TopK50(int64_t n) {
  return Fill<int32_t>(n, [](int64_t) { return 50; });
}
float* NoTopP(int64_t n) {
  return Fill<float>(n, [](int64_t) { return 1.0f; });
}
float* TopP95(int64_t n) {
  return Fill<float>(n, [](int64_t) { return 0.95f; });
}

BenchCase TopLogprobs(int64_t tokens, int64_t k) {
  return {.name = "top_logprobs K=" + std::to_string(k),
          .tokens = tokens,
          .bytes = 4 * tokens * kVocabulary,
          .make = [=](int64_t sets) {
            float* logits = Logits(sets * tokens * kVocabulary);
            int32_t* token =
                Fill<int32_t>(tokens, [](int64_t i) { return static_cast<int32_t>(i); });
            float* out = NoTopP(tokens * (k + 1));
            int32_t* ids = NoTopK(tokens * k + 1);
            return [=](int64_t set, Stream& stream) {
              kCudaKernels.top_logprobs(
                  {.logits = {logits + set * tokens * kVocabulary, {tokens, kVocabulary}},
                   .token = {token, {tokens}},
                   .chosen = {out, {tokens}},
                   .ids = {ids, {tokens, k}},
                   .values = {out + tokens, {tokens, k}}},
                  stream);
            };
          }};
}

// Requests that have produced `seen` distinct tokens each.
BenchCase Penalties(int64_t rows, int64_t seen) {
  return {.name = "penalties seen=" + std::to_string(seen),
          .tokens = rows,
          .bytes = rows * seen * 16,
          .set_bytes = 4 * rows * kVocabulary,
          .make = [=](int64_t sets) {
            std::vector<int32_t> begin, token;
            for (int64_t i = 0; i <= rows; ++i) begin.push_back(static_cast<int32_t>(i * seen));
            for (int64_t i = 0; i < rows * seen; ++i) {
              token.push_back(static_cast<int32_t>(i % seen * (kVocabulary / seen)));
            }
            float* logits = Logits(sets * rows * kVocabulary);
            const int32_t *begins = Upload(begin), *tokens = Upload(token);
            const int32_t* counts = Upload(std::vector<int32_t>(token.size(), 2));
            const float* half = Upload(std::vector<float>(static_cast<size_t>(rows), 0.5f));
            return [=](int64_t set, Stream& stream) {
              kCudaKernels.penalties(
                  {.logits = {logits + set * rows * kVocabulary, {rows, kVocabulary}},
                   .begin = {begins, {rows + 1}},
                   .token = {tokens, {rows * seen}},
                   .count = {counts, {rows * seen}},
                   .repetition = {half, {rows}},
                   .presence = {half, {rows}},
                   .frequency = {half, {rows}}},
                  stream);
            };
          }};
}

BenchCase Uniform(int64_t rows) {
  return {.name = "uniform", .tokens = rows, .bytes = 20 * rows, .make = [=](int64_t /*sets*/) {
            auto* seeds = reinterpret_cast<uint64_t*>(RandomBytes(16 * rows, 1));
            auto* u = reinterpret_cast<float*>(RandomBytes(4 * rows, 2));
            return [=](int64_t /*set*/, Stream& stream) {
              kCudaKernels.uniform(
                  {.seed = {seeds, {rows}}, .counter = {seeds + rows, {rows}}, .u = {u, {rows}}},
                  stream);
            };
          }};
}

BenchCase ActQuant(int64_t tokens, int64_t k) {
  return {.name = "act_quant K=" + std::to_string(k),
          .tokens = tokens,
          .bytes = tokens * (3 * k + k / 128),
          .make = [=](int64_t sets) {
            auto* x = reinterpret_cast<Bf16*>(RandomBytes(2 * sets * tokens * k, 1));
            auto* q = reinterpret_cast<E4M3*>(RandomBytes(sets * tokens * k, 2));
            auto* s = reinterpret_cast<Ue8m0*>(RandomBytes(sets * tokens * k / 128, 3));
            return [=](int64_t set, Stream& stream) {
              kCudaKernels.act_quant({.x = {x + set * tokens * k, {tokens, k}},
                                      .q = {q + set * tokens * k, {tokens, k}},
                                      .scale = {s + set * tokens * k / 128, {tokens, k / 128}}},
                                     stream);
            };
          }};
}

enum class QueryStep { kHadamard, kFp4, kAll };

BenchCase Queries(const std::string& name, QueryStep step, int64_t tokens) {
  constexpr int64_t kHeads = 64;
  const int64_t rows = tokens * kHeads;
  return {.name = name + " H=64",
          .tokens = tokens,
          .bytes = rows * (step == QueryStep::kHadamard ? 512 : 324),
          .make = [=](int64_t sets) {
            auto* x = reinterpret_cast<Bf16*>(RandomBytes(256 * sets * rows, 1));
            auto* cos = reinterpret_cast<float*>(RandomBytes(128 * tokens, 2));
            uint8_t* q = RandomBytes(64 * sets * rows, 3);
            auto* s = reinterpret_cast<Ue8m0*>(RandomBytes(4 * sets * rows, 4));
            return [=](int64_t set, Stream& stream) {
              Bf16* in = x + 128 * set * rows;
              uint8_t* out = q + 64 * set * rows;
              Ue8m0* scale = s + 4 * set * rows;
              if (step == QueryStep::kHadamard) {
                kCudaKernels.hadamard({.x = {in, {rows, 128}}}, stream);
              } else if (step == QueryStep::kFp4) {
                kCudaKernels.fp4_quant(
                    {.x = {in, {rows, 128}}, .q = {out, {rows, 64}}, .scale = {scale, {rows, 4}}},
                    stream);
              } else {
                kCudaKernels.index_query({.x = {in, {tokens, kHeads, 128}},
                                          .cos = {cos, {tokens, 32}},
                                          .sin = {cos, {tokens, 32}},
                                          .q = {out, {tokens, kHeads, 64}},
                                          .scale = {scale, {tokens, kHeads, 4}}},
                                         stream);
              }
            };
          }};
}

const Cases kSampling("sampling", [] {
  return std::vector<BenchCase>{Sample("plain", 1, NoTopK, NoTopP, 25),
                                Sample("plain", 64, NoTopK, NoTopP, 60),
                                Sample("top_k=50", 1, TopK50, NoTopP, 0),
                                Sample("top_p=.95", 1, NoTopK, TopP95, 0),
                                Sample("top_k=50 top_p=.95", 1, TopK50, TopP95, 0),
                                Sample("top_k=50 top_p=.95", 64, TopK50, TopP95, 0),
                                Sample("top_p=.95", 64, NoTopK, TopP95, 0),
                                TopLogprobs(1, 20),
                                TopLogprobs(64, 20),
                                TopLogprobs(64, 0),
                                Penalties(64, 4096),
                                Uniform(64)};
});

const Cases kQuant("quant", [] {
  return std::vector<BenchCase>{ActQuant(1, 4096),
                                ActQuant(64, 4096),
                                ActQuant(4096, 4096),
                                Queries("hadamard", QueryStep::kHadamard, 1),
                                Queries("hadamard", QueryStep::kHadamard, 4096),
                                Queries("fp4_quant", QueryStep::kFp4, 1),
                                Queries("fp4_quant", QueryStep::kFp4, 4096),
                                Queries("index_query", QueryStep::kAll, 1),
                                Queries("index_query", QueryStep::kAll, 64),
                                Queries("index_query", QueryStep::kAll, 4096)};
});

}  // namespace
}  // namespace tandem::kernels
