// SPDX-License-Identifier: Apache-2.0
// Goal: the products of prefill and of many tokens' experts at Flash's sizes (shard of TP = 2), and
// the ceiling of mma.sync. Method: bench.h; weights random codes under scales of 2^-7.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "kernels/gemm/fragment_order.h"
#include "kernels/kernel_table.h"
#include "tests/bench/kernels/cuda/bench.h"
#include "tests/bench/kernels/cuda/tile_peak.h"

namespace tandem::kernels {
namespace {

constexpr double kBar = 0.45;  // of the bf16 rate
constexpr int kScale = 120;

int64_t ScaleBytes(WeightFormat format, int64_t n, int64_t k) {
  return format == WeightFormat::kBf16  ? 0
         : format == WeightFormat::kFp8 ? n / 128 * (k / 128)
                                        : n * k / 32;
}

int64_t WeightBytes(WeightFormat format, int64_t n, int64_t k) {
  return FragmentScaleOffset(format, n, k) + ScaleBytes(format, n, k);
}

// A weight as PrepareLinear leaves it, at `at`.
LinearWeight Prepared(WeightFormat format, int64_t n, int64_t k, uint8_t* at) {
  (void)cudaMemset(at + FragmentScaleOffset(format, n, k), kScale, ScaleBytes(format, n, k));
  return {.format = format, .n = n, .k = k, .bytes = at, .scales = at, .prepared = at};
}

BenchCase Quant(const char* name, WeightFormat format, int64_t tokens, int64_t n, int64_t k) {
  return {.name = std::string("quant_linear ") + name + " N=" + std::to_string(n) +
                  " K=" + std::to_string(k),
          .tokens = tokens,
          .bytes = WeightBytes(format, n, k) + tokens * (k + 2 * n),
          .flop = 2 * tokens * n * k,
          .bar = tokens == 4096 ? kBar : 0,
          .make = [=](int64_t sets) {
            const int64_t stride = (WeightBytes(format, n, k) + 255) / 256 * 256;
            uint8_t* w = RandomBytes(sets * stride, 1);
            uint8_t* q = RandomBytes(sets * tokens * k, 2);
            uint8_t* s = RandomBytes(tokens * k / 128, 3);
            (void)cudaMemset(s, kScale, tokens * k / 128);
            uint8_t* y = RandomBytes(2 * sets * tokens * n, 4);
            std::vector<LinearWeight> weights;
            for (int64_t i = 0; i < sets; ++i) {
              weights.push_back(Prepared(format, n, k, w + i * stride));
            }
            return [=](int64_t set, Stream& stream) {
              kCudaKernels.quant_linear(
                  {.q = {reinterpret_cast<E4M3*>(q + set * tokens * k), {tokens, k}},
                   .scale = {reinterpret_cast<Ue8m0*>(s), {tokens, k / 128}},
                   .weight = weights[set],
                   .y = {reinterpret_cast<Bf16*>(y + 2 * set * tokens * n), {tokens, n}}},
                  stream);
            };
          }};
}

BenchCase Grouped(int64_t tokens, int64_t groups, int64_t rank, int64_t k) {
  const WeightFormat format = WeightFormat::kFp8;
  const int64_t n = groups * rank;
  return {
      .name = "grouped_linear wo_a G=" + std::to_string(groups) + " R=" + std::to_string(rank) +
              " K=" + std::to_string(k),
      .tokens = tokens,
      .bytes = WeightBytes(format, n, k) + 2 * tokens * (groups * k + n),
      .flop = 2 * tokens * n * k,
      .bar = tokens == 4096 ? kBar : 0,
      .make = [=](int64_t sets) {
        uint8_t* w = RandomBytes(WeightBytes(format, n, k), 1);
        uint8_t* x = RandomBytes(2 * sets * tokens * groups * k, 2);
        uint8_t* y = RandomBytes(2 * sets * tokens * n, 4);
        const LinearWeight weight = Prepared(format, n, k, w);
        return [=](int64_t set, Stream& stream) {
          kCudaKernels.grouped_linear(
              {.x = {reinterpret_cast<Bf16*>(x + 2 * set * tokens * groups * k),
                     {tokens, groups, k}},
               .weight = weight,
               .y = {reinterpret_cast<Bf16*>(y + 2 * set * tokens * n), {tokens, groups, rank}}},
              stream);
        };
      }};
}

BenchCase Wide(const char* name, int64_t tokens, int64_t n, int64_t k) {
  const WeightFormat format = WeightFormat::kBf16;
  return {.name = std::string("bf16_linear ") + name + " N=" + std::to_string(n) +
                  " K=" + std::to_string(k),
          .tokens = tokens,
          .bytes = WeightBytes(format, n, k) + tokens * (2 * k + 4 * n),
          .flop = 2 * tokens * n * k,
          .make = [=](int64_t sets) {
            uint8_t* w = RandomBytes(WeightBytes(format, n, k), 1);
            uint8_t* x = RandomBytes(2 * sets * tokens * k, 2);
            uint8_t* y = RandomBytes(4 * sets * tokens * n, 4);
            const LinearWeight weight = Prepared(format, n, k, w);
            return [=](int64_t set, Stream& stream) {
              kCudaKernels.bf16_linear(
                  {.x = {reinterpret_cast<Bf16*>(x + 2 * set * tokens * k), {tokens, k}},
                   .weight = weight,
                   .y = {reinterpret_cast<float*>(y + 4 * set * tokens * n), {tokens, n}}},
                  stream);
            };
          }};
}

// Distinct random experts for every token; `used`: how many experts have any.
std::vector<int32_t> Routes(int64_t tokens, int64_t slots, int64_t experts, int64_t* used) {
  std::mt19937 engine(7);
  std::vector<int32_t> routes, all(experts);
  std::vector<bool> seen(experts, false);
  for (int64_t e = 0; e < experts; ++e) all[e] = static_cast<int32_t>(e);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t k = 0; k < slots; ++k) {
      std::swap(all[k], all[k + engine() % (experts - k)]);
      routes.push_back(all[k]);
      seen[all[k]] = true;
    }
  }
  *used = std::count(seen.begin(), seen.end(), true);
  return routes;
}

BenchCase Experts(int64_t tokens, double bar) {
  const int64_t dim = 4096, inner = 1024, experts = 256, slots = 6;
  int64_t used = 0;
  const std::vector<int32_t> routes = Routes(tokens, slots, experts, &used);
  const WeightFormat fp4 = WeightFormat::kFp4, fp8 = WeightFormat::kFp8;
  const int64_t w4 = WeightBytes(fp4, inner, dim), w8 = WeightBytes(fp8, inner, dim);
  return {.name = "moe_experts D=4096 I=1024 E=256 K=6",
          .tokens = tokens,
          .bytes = 3 * (used * w4 + w8) + 4 * tokens * dim,
          .flop = 6 * dim * inner * tokens * (slots + 1),
          .bar = bar,
          .make = [=](int64_t sets) {
            const int64_t stride = (std::max(w4, w8) + 255) / 256 * 256;
            uint8_t* w = RandomBytes(3 * (experts + 1) * stride, 1);
            uint8_t* x = RandomBytes(2 * sets * tokens * dim, 2);
            uint8_t* y = RandomBytes(2 * sets * tokens * dim, 3);
            uint8_t* e = RandomBytes(4 * tokens * slots, 4);
            uint8_t* g = RandomBytes(4 * tokens * slots, 5);
            (void)cudaMemcpy(e, routes.data(), 4 * routes.size(), cudaMemcpyDefault);
            (void)cudaMemset(g, 0x3E, 4 * tokens * slots);
            std::vector<ExpertWeights> weights;
            for (int64_t i = 0; i <= experts; ++i) {
              const WeightFormat format = i < experts ? fp4 : fp8;
              uint8_t* at = w + 3 * i * stride;
              weights.push_back({Prepared(format, inner, dim, at),
                                 Prepared(format, inner, dim, at + stride),
                                 Prepared(format, dim, inner, at + 2 * stride)});
            }
            return [=](int64_t set, Stream& stream) {
              const int64_t at = 2 * set * tokens * dim;
              kCudaKernels.moe_experts({.x = {reinterpret_cast<Bf16*>(x + at), {tokens, dim}},
                                        .experts = {reinterpret_cast<int32_t*>(e), {tokens, slots}},
                                        .weight = {reinterpret_cast<float*>(g), {tokens, slots}},
                                        .routed = {weights.data(), {experts}},
                                        .shared = weights[experts],
                                        .limit = 10,
                                        .y = {reinterpret_cast<Bf16*>(y + at), {tokens, dim}}},
                                       stream);
            };
          }};
}

BenchCase Peak() {
  return {.name = "mma.sync bf16, registers only",
          .bytes = 1 << 26,
          .flop = int64_t{132} * 12 * 8 * 512 * 16 * 4096,
          .make = [](int64_t) {
            auto* sink = reinterpret_cast<float*>(RandomBytes(4, 1));
            return [=](int64_t, Stream& stream) { MmaSyncPeak(stream, sink); };
          }};
}

const Cases kTiles("tile", [] {
  const WeightFormat fp8 = WeightFormat::kFp8, fp4 = WeightFormat::kFp4;
  return std::vector<BenchCase>{
      Peak(),
      Quant("wq_b", fp8, 4096, 16384, 1024),
      Quant("wo_b", fp8, 4096, 4096, 4096),
      Quant("wq_a+wkv", fp8, 4096, 1536, 4096),
      Quant("fp4", fp4, 4096, 4096, 4096),
      Quant("wq_b", fp8, 128, 16384, 1024),
      Quant("wo_b", fp8, 128, 4096, 4096),
      Quant("wq_a+wkv", fp8, 128, 1536, 4096),
      Quant("wo_b", fp8, 512, 4096, 4096),
      Grouped(4096, 4, 1024, 4096),
      Grouped(128, 4, 1024, 4096),
      Wide("gate", 4096, 256, 4096),
      Wide("wkv", 4096, 1024, 4096),
  };
});

const Cases kExperts("tile_moe", [] {
  return std::vector<BenchCase>{
      Experts(4096, kBar), Experts(2048, 0),  Experts(1024, 0), Experts(512, 0),
      Experts(128, 0),     Experts(64, 0.75), Experts(16, 0),
  };
});

}  // namespace
}  // namespace tandem::kernels
