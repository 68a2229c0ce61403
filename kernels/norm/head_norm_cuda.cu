// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/codec.cuh"
#include "kernels/common/cuda/launch.h"
#include "kernels/norm/head_norm.h"
#include "kernels/norm/pair_sum.cuh"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kVector = 8;
constexpr int kHeadVectors = 2;  // a lane: 512 values a head

__device__ __forceinline__ uint32_t Scaled(uint32_t pair, float r) {
  return PackBf16(__fmul_rn(LowBf16(pair), r), __fmul_rn(HighBf16(pair), r));
}

// One warp a head, in registers; d is a multiple of 8, at most 512.
__global__ void __launch_bounds__(32 * kWarps) HeadNormVectors(HeadNormArgs args) {
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  const int64_t heads = args.q.shape[0] * args.q.shape[1], dim = args.q.shape[2];
  const int64_t head = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (head >= heads) return;
  Bf16* q = args.q.data + head * dim;
  uint4 value[kHeadVectors] = {};
  PairSum sum;
#pragma unroll
  for (int v = 0; v < kHeadVectors; ++v) {
    const int64_t d = kVector * (threadIdx.x % 32 + 32 * v);
    if (d < dim) value[v] = *reinterpret_cast<const uint4*>(q + d);
  }
#pragma unroll
  for (int v = 0; v < kHeadVectors; ++v) AddSquares(value[v], &sum);
  const float r = InverseRms(WarpSum(sum), static_cast<float>(dim), args.eps);
#pragma unroll
  for (int v = 0; v < kHeadVectors; ++v) {
    const int64_t d = kVector * (threadIdx.x % 32 + 32 * v);
    if (d >= dim) continue;
    *reinterpret_cast<uint4*>(q + d) = {Scaled(value[v].x, r), Scaled(value[v].y, r),
                                        Scaled(value[v].z, r), Scaled(value[v].w, r)};
  }
}

// Any size.
__global__ void __launch_bounds__(32 * kWarps) HeadNormScalars(HeadNormArgs args) {
  ptx::GridDependencyWait();
  const int64_t heads = args.q.shape[0] * args.q.shape[1], dim = args.q.shape[2];
  const int64_t head = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (head >= heads) return;
  Bf16* q = args.q.data + head * dim;
  PairSum sum;
  for (int64_t d = threadIdx.x % 32; d < dim; d += 32) AddSquare(ToFloat(q[d]), &sum);
  const float r = InverseRms(WarpSum(sum), static_cast<float>(dim), args.eps);
  for (int64_t d = threadIdx.x % 32; d < dim; d += 32) {
    q[d] = RoundToBf16(__fmul_rn(ToFloat(q[d]), r));
  }
}

}  // namespace

void HeadNorm(const HeadNormArgs& args, Stream& stream) {
  CheckHeadNorm(args);
  const int64_t dim = args.q.shape[2];
  const bool vectors = dim % kVector == 0 && dim <= 32 * kVector * kHeadVectors &&
                       reinterpret_cast<uintptr_t>(args.q.data) % 16 == 0;
  Launch({.name = "head_norm",
          .grid = dim3(Blocks(args.q.shape[0] * args.q.shape[1], kWarps)),
          .threads = 32 * kWarps},
         stream, vectors ? HeadNormVectors : HeadNormScalars, args);
}

}  // namespace tandem::kernels::cuda
