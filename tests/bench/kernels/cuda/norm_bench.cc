// SPDX-License-Identifier: Apache-2.0
// Goal: the norms and rotary positions at Flash's sizes (TP=2: 32 heads). Method: bench.h.
#include "kernels/kernel_table.h"
#include "tests/bench/kernels/cuda/bench.h"

namespace tandem::kernels {
namespace {

BenchCase RmsNorm(int64_t tokens, int64_t dim) {
  return {.name = "rms_norm D=" + std::to_string(dim),
          .tokens = tokens,
          .bytes = 4 * tokens * dim + 2 * dim,
          .flop = 4 * tokens * dim,
          .make = [=](int64_t sets) {
            auto* x = reinterpret_cast<Bf16*>(RandomBytes(2 * sets * tokens * dim, 1));
            auto* w = reinterpret_cast<Bf16*>(RandomBytes(2 * dim, 2));
            auto* y = reinterpret_cast<Bf16*>(RandomBytes(2 * sets * tokens * dim, 3));
            return [=](int64_t set, Stream& stream) {
              const int64_t at = set * tokens * dim;
              kCudaKernels.rms_norm({.x = {x + at, {tokens, dim}},
                                     .weight = {w, {dim}},
                                     .eps = 1e-6f,
                                     .y = {y + at, {tokens, dim}}},
                                    stream);
            };
          }};
}

BenchCase HeadNorm(int64_t tokens, int64_t heads) {
  constexpr int64_t kDim = 512;
  const int64_t size = tokens * heads * kDim;
  return {.name = "head_norm H=" + std::to_string(heads),
          .tokens = tokens,
          .bytes = 4 * size,
          .flop = 3 * size,
          .make = [=](int64_t sets) {
            auto* q = reinterpret_cast<Bf16*>(RandomBytes(2 * sets * size, 1));
            return [=](int64_t set, Stream& stream) {
              kCudaKernels.head_norm({.q = {q + set * size, {tokens, heads, kDim}}, .eps = 1e-6f},
                                     stream);
            };
          }};
}

BenchCase Rope(int64_t tokens, int64_t heads) {
  constexpr int64_t kDim = 512;
  const int64_t size = tokens * heads * kDim;
  return {.name = "rope H=" + std::to_string(heads),
          .tokens = tokens,
          .bytes = tokens * (256 * heads + 256),
          .flop = 192 * tokens * heads,
          .set_bytes = 2 * size,
          .make = [=](int64_t sets) {
            auto* x = reinterpret_cast<Bf16*>(RandomBytes(2 * sets * size, 1));
            auto* table = reinterpret_cast<float*>(RandomBytes(128 * tokens, 2));
            return [=](int64_t set, Stream& stream) {
              kCudaKernels.rope({.x = {x + set * size, {tokens, heads, kDim}},
                                 .cos = {table, {tokens, 32}},
                                 .sin = {table, {tokens, 32}}},
                                stream);
            };
          }};
}

BenchCase RopeTable(int64_t tokens) {
  return {.name = "rope_table",
          .tokens = tokens,
          .bytes = 260 * tokens,
          .flop = 0,
          .make = [=](int64_t /*sets*/) {
            auto* positions = reinterpret_cast<int32_t*>(RandomBytes(4 * tokens, 1));
            auto* frequencies = reinterpret_cast<float*>(RandomBytes(128, 2));
            auto* table = reinterpret_cast<float*>(RandomBytes(256 * tokens, 2));
            return [=](int64_t /*set*/, Stream& stream) {
              kCudaKernels.rope_table({.positions = {positions, {tokens}},
                                       .frequencies = {frequencies, {32}},
                                       .cos = {table, {tokens, 32}},
                                       .sin = {table + 32 * tokens, {tokens, 32}}},
                                      stream);
            };
          }};
}

const Cases kNorms("norm", [] {
  std::vector<BenchCase> cases;
  for (const int64_t tokens : {1, 64, 4096}) {
    cases.push_back(RmsNorm(tokens, 512));
    cases.push_back(RmsNorm(tokens, 1024));
    cases.push_back(RmsNorm(tokens, 4096));
    cases.push_back(HeadNorm(tokens, 32));
    cases.push_back(Rope(tokens, 32));
    cases.push_back(RopeTable(tokens));
  }
  return cases;
});

}  // namespace
}  // namespace tandem::kernels
