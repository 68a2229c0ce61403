// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/launch.h"
#include "kernels/hc/hc_mix.cuh"
#include "kernels/hc/hc_post.h"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = 64;  // one token's 512 vectors on eight SMs: latency, not bandwidth

// Four streams: a thread has eight dims of all of them.
__global__ void __launch_bounds__(kThreads) HcPostVectors(HcPostArgs args) {
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  const int64_t dim = args.y.shape[1], t = blockIdx.y;
  const int64_t d = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * 8;
  if (d >= dim) return;
  Bf16* streams = args.streams.data + t * kHcStreams * dim + d;
  uint4 x[kHcStreams];
#pragma unroll
  for (int i = 0; i < kHcStreams; ++i) x[i] = *reinterpret_cast<const uint4*>(streams + i * dim);
  const uint4 y = *reinterpret_cast<const uint4*>(args.y.data + t * dim + d);
  float4 rows[kHcStreams];
#pragma unroll
  for (int i = 0; i < kHcStreams; ++i) {
    rows[i] = reinterpret_cast<const float4*>(args.comb.data)[t * kHcStreams + i];
  }
  const float4 post = reinterpret_cast<const float4*>(args.post.data)[t];
  const float columns[kHcStreams][kHcStreams] = {{rows[0].x, rows[1].x, rows[2].x, rows[3].x},
                                                 {rows[0].y, rows[1].y, rows[2].y, rows[3].y},
                                                 {rows[0].z, rows[1].z, rows[2].z, rows[3].z},
                                                 {rows[0].w, rows[1].w, rows[2].w, rows[3].w}};
  const float posts[kHcStreams] = {post.x, post.y, post.z, post.w};
#pragma unroll
  for (int j = 0; j < kHcStreams; ++j) {
    *reinterpret_cast<uint4*>(streams + j * dim) = PostVector(x, y, columns[j], posts[j]);
  }
}

// Any number of streams and any size: a thread has one dim.
__global__ void __launch_bounds__(kThreads) HcPostScalars(HcPostArgs args) {
  ptx::GridDependencyWait();
  const int64_t dim = args.y.shape[1], m = args.streams.shape[1], t = blockIdx.y;
  const int64_t d = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (d >= dim) return;
  Bf16* streams = args.streams.data + t * m * dim + d;
  const float* comb = args.comb.data + t * m * m;
  const float y = ToFloat(args.y.data[t * dim + d]);
  float old[kMaxStreams];
#pragma unroll
  for (int i = 0; i < kMaxStreams; ++i) old[i] = i < m ? ToFloat(streams[i * dim]) : 0.0f;
  for (int64_t j = 0; j < m; ++j) {
    float sum = __fmul_rn(comb[j], old[0]);
#pragma unroll
    for (int i = 1; i < kMaxStreams; ++i) {
      if (i < m) sum = __fmaf_rn(comb[i * m + j], old[i], sum);
    }
    streams[j * dim] = RoundToBf16(__fmaf_rn(args.post.data[t * m + j], y, sum));
  }
}

bool Aligned16(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

}  // namespace

void HcPost(const HcPostArgs& args, Stream& stream) {
  CheckHcPost(args);
  const int64_t dim = args.y.shape[1];
  const bool vectors = args.streams.shape[1] == kHcStreams && dim % 8 == 0 &&
                       Aligned16(args.streams.data) && Aligned16(args.y.data) &&
                       Aligned16(args.comb.data) && Aligned16(args.post.data);
  Launch({.name = "hc_post",
          .grid = dim3(Blocks(vectors ? dim / 8 : dim, kThreads),
                       static_cast<unsigned>(args.y.shape[0])),
          .threads = kThreads},
         stream, vectors ? HcPostVectors : HcPostScalars, args);
}

}  // namespace tandem::kernels::cuda
