// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/launch.h"
#include "kernels/ptx/grid_dependency.cuh"
#include "kernels/rope/angles.cuh"
#include "kernels/rope/rope.h"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kPairs = 4;  // a thread: 16 bytes
constexpr int kHeadThreads = kRopeDim / 2 / kPairs;

// Eight threads a head. x may be aligned to a pair only (odd d is not: kVectors says).
template <bool kVectors>
__global__ void __launch_bounds__(kThreads) RopeKernel(RopeArgs args) {
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  const int64_t heads = args.x.shape[1], dim = args.x.shape[2];
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t head = i / kHeadThreads;
  if (head >= args.x.shape[0] * heads) return;
  const int first = static_cast<int>(i % kHeadThreads) * kPairs;  // pair
  const int64_t angle = head / heads * (kRopeDim / 2) + first;
  const float4 c = *reinterpret_cast<const float4*>(args.cos.data + angle);
  float4 s = *reinterpret_cast<const float4*>(args.sin.data + angle);
  if (args.inverse) s = {-s.x, -s.y, -s.z, -s.w};
  Bf16* x = args.x.data + (head + 1) * dim - kRopeDim + 2 * first;
  if constexpr (kVectors) {
    uint4* vector = reinterpret_cast<uint4*>(x);
    const uint4 v = *vector;
    *vector = {RotatePair(v.x, c.x, s.x), RotatePair(v.y, c.y, s.y), RotatePair(v.z, c.z, s.z),
               RotatePair(v.w, c.w, s.w)};
  } else {
    const float cosines[kPairs] = {c.x, c.y, c.z, c.w}, sines[kPairs] = {s.x, s.y, s.z, s.w};
#pragma unroll
    for (int p = 0; p < kPairs; ++p) {
      const uint32_t pair = x[2 * p].bits | (uint32_t{x[2 * p + 1].bits} << 16);
      const uint32_t turned = RotatePair(pair, cosines[p], sines[p]);
      x[2 * p] = {static_cast<uint16_t>(turned)};
      x[2 * p + 1] = {static_cast<uint16_t>(turned >> 16)};
    }
  }
}

}  // namespace

void Rope(const RopeArgs& args, Stream& stream) {
  CheckRope(args);
  const bool vectors =
      args.x.shape[2] % 8 == 0 && reinterpret_cast<uintptr_t>(args.x.data) % 16 == 0;
  const int64_t threads = args.x.shape[0] * args.x.shape[1] * kHeadThreads;
  Launch({.name = "rope", .grid = dim3(Blocks(threads, kThreads)), .threads = kThreads}, stream,
         vectors ? RopeKernel<true> : RopeKernel<false>, args);
}

}  // namespace tandem::kernels::cuda
