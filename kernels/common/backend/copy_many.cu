// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>

#include "kernels/common/backend/copy_many.h"
#include "kernels/common/contract.h"
#include "kernels/common/cuda/launch.h"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels {
namespace {

// A launch's copies travel as its parameters, of which it may have 32,764 bytes: so they need no
// memory that must outlast the call.
constexpr int kCopies = 1024;
constexpr int kThreads = 512;
// Enough to fill the memory's or a link's rate, and most of the GPU is left to others.
constexpr int kBlocks = 64;
constexpr int kUnroll = 4;

struct Table {
  CopyArgs copies[kCopies];
  int count;
};

__global__ void __launch_bounds__(kThreads) CopyManyKernel(const __grid_constant__ Table table) {
  ptx::GridDependencyWait();
  for (int i = blockIdx.x; i < table.count; i += gridDim.x) {
    const CopyArgs& copy = table.copies[i];
    const auto* from = static_cast<const uint4*>(copy.from);
    auto* to = static_cast<uint4*>(copy.to);
    const int64_t whole = copy.bytes / 16;
    for (int64_t k = threadIdx.x; k < whole; k += kUnroll * kThreads) {
      uint4 held[kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        if (k + u * kThreads < whole) held[u] = from[k + u * kThreads];
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        if (k + u * kThreads < whole) to[k + u * kThreads] = held[u];
      }
    }
    const int64_t word = whole * 4 + threadIdx.x;
    if (word < copy.bytes / 4) {
      static_cast<uint32_t*>(copy.to)[word] = static_cast<const uint32_t*>(copy.from)[word];
    }
  }
}

}  // namespace

void CopyMany(std::span<const CopyArgs> copies, Stream& stream) {
  while (!copies.empty()) {
    Table table;
    table.count = static_cast<int>(std::min<size_t>(copies.size(), kCopies));
    for (int i = 0; i < table.count; ++i) {
      const CopyArgs& copy = table.copies[i] = copies[i];
      KERNEL_CHECK_EQ(reinterpret_cast<uintptr_t>(copy.to) % 16, 0U);
      KERNEL_CHECK_EQ(reinterpret_cast<uintptr_t>(copy.from) % 16, 0U);
      KERNEL_CHECK_EQ(copy.bytes % 4, 0);
    }
    copies = copies.subspan(static_cast<size_t>(table.count));
    cuda::Launch({.name = "copy_many",
                  .grid = static_cast<unsigned>(std::min(table.count, kBlocks)),
                  .threads = kThreads},
                 stream, CopyManyKernel, table);
  }
}

}  // namespace tandem::kernels
