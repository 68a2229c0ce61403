// SPDX-License-Identifier: Apache-2.0
// Goal: one table of the CUDA operations against this machine's own ceilings. Method: bench.h.
//
//   kernels_cuda_bench COPY_GB_PER_S BF16_TFLOP_PER_S [FAMILY…]
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "tests/bench/kernels/cuda/bench.h"

int main(int argc, char** argv) {
  using tandem::kernels::Bench;
  using tandem::kernels::Cases;
  if (argc < 3) {
    std::cerr << "usage: kernels_cuda_bench COPY_GB_PER_S BF16_TFLOP_PER_S [FAMILY…]\n";
    return 2;
  }
  const std::vector<std::string> wanted(argv + 3, argv + argc);
  Bench bench({.bytes_per_second = 1e9 * std::strtod(argv[1], nullptr),
               .flop_per_second = 1e12 * std::strtod(argv[2], nullptr)});
  std::cout << "Ceilings: copy " << argv[1] << " GB/s, bf16 " << argv[2] << " TFLOP/s\n\n";
  Bench::PrintHead();
  for (const Cases& cases : Cases::All()) {
    bool on = wanted.empty();
    for (const std::string& family : wanted) on = on || family == cases.family;
    if (!on) continue;
    for (const auto& bench_case : cases.list()) bench.Run(bench_case);
  }
  return 0;
}
