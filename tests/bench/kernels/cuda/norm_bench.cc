// SPDX-License-Identifier: Apache-2.0
// Goal: the norms at Flash's sizes. Method: bench.h.
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

const Cases kNorms("norm", [] {
  return std::vector<BenchCase>{RmsNorm(1, 4096), RmsNorm(64, 4096), RmsNorm(4096, 4096)};
});

}  // namespace
}  // namespace tandem::kernels
