// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/kv_row.cuh"
#include "kernels/attention/qkv_finish.h"
#include "kernels/common/cuda/launch.h"
#include "kernels/common/cuda/reduce.cuh"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kWarps = 8;

// 1 / sqrt(mean x² + eps) of the warp's vector; the lanes' sums are of type T.
template <typename T>
__device__ __forceinline__ float InverseRms(const LaneValues& v, float eps) {
  T sum = 0;
#pragma unroll
  for (const uint32_t pair : v.pairs) {
    const T a = LowBf16(pair), b = HighBf16(pair);
    sum += a * a;
    sum += b * b;
  }
  sum = WarpReduce(sum, Sum());
  return static_cast<float>(1 / sqrt(sum / kHeadDim + static_cast<T>(eps)));
}

// The lanes with rotated dims turn theirs; roundings as the rope's.
__device__ __forceinline__ void Rotate(LaneValues& v, const float* cos, const float* sin) {
  constexpr int kPairs = kLaneDims / 2;
  const int first = (static_cast<int>(threadIdx.x) % 32 - kRopeLane) * kPairs;
  if (first < 0) return;
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    const float a = LowBf16(v.pairs[i]), b = HighBf16(v.pairs[i]);
    const float c = cos[first + i], s = sin[first + i];
    v.pairs[i] = PackBf16(__fsub_rn(__fmul_rn(a, c), __fmul_rn(b, s)),
                          __fadd_rn(__fmul_rn(a, s), __fmul_rn(b, c)));
  }
}

// One warp a vector: the heads of a token, then its kv.
__global__ void __launch_bounds__(32 * kWarps) QkvFinishKernel(QkvFinishArgs args) {
  ptx::GridDependencyWait();
  ptx::GridDependencyLaunch();
  const int64_t heads = args.q.shape[1];
  const int64_t t = blockIdx.x;
  const int64_t h = int64_t{blockIdx.y} * kWarps + threadIdx.x / 32;
  if (h < heads) {
    Bf16* q = args.q.row(t) + h * kHeadDim;
    LaneValues v = LoadLane(q);
    const float r = InverseRms<float>(v, args.eps);
#pragma unroll
    for (uint32_t& pair : v.pairs) pair = PackBf16(LowBf16(pair) * r, HighBf16(pair) * r);
    Rotate(v, args.cos.row(t), args.sin.row(t));
    StoreLane(v, q);
  } else if (h == heads && args.index[t] >= 0) {
    LaneValues v = LoadLane(args.kv.row(t));
    const LaneValues w = LoadLane(args.kv_weight.data);
    const float r = InverseRms<double>(v, args.eps);
#pragma unroll
    for (int i = 0; i < kLaneDims / 2; ++i) {
      v.pairs[i] = PackBf16(LowBf16(w.pairs[i]) * (LowBf16(v.pairs[i]) * r),
                            HighBf16(w.pairs[i]) * (HighBf16(v.pairs[i]) * r));
    }
    Rotate(v, args.cos.row(t), args.sin.row(t));
    WriteRow(v, args.rows, args.index[t]);
  }
}

}  // namespace

void QkvFinish(const QkvFinishArgs& args, Stream& stream) {
  CheckQkvFinish(args);
  Launch({.name = "qkv_finish",
          .grid = dim3(static_cast<unsigned>(args.q.shape[0]), Blocks(args.q.shape[1] + 1, kWarps)),
          .threads = 32 * kWarps},
         stream, QkvFinishKernel, args);
}

}  // namespace tandem::kernels::cuda
