// SPDX-License-Identifier: Apache-2.0
// What follows the mixing product, as kernels.
//
//   HcFinish      up to some hundred tokens: a block a token. One warp weighs the streams and goes
//                 on to Sinkhorn, which the others do not wait for: they collapse.
//   HcWeigh and   more: weights of all tokens, a warp each; then a block a token, the last tokens
//   HcCollapse    first, whose streams are still in L2.
#include "kernels/common/cuda/launch.h"
#include "kernels/hc/hc_finish.cuh"
#include "kernels/hc/hc_job.h"

namespace tandem::kernels::cuda {
namespace {

constexpr int kWeighWarps = 4;
constexpr int kCollapseVectors = 2;
constexpr int kSumsBatch = 8;  // groups whose sums are loaded together

// Dims' warps first, then the one that weighs.
template <HcOutput kOutput>
__global__ void __launch_bounds__(32 * (kMaxHcWarps + 1)) HcFinish(HcFinishArgs args) {
  __shared__ float sums[kMaxHcGroups + 1][kHcPartial];
  __shared__ float4 weights;
  __shared__ PairSum squares[32];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int warps = static_cast<int>(blockDim.x) / 32 - 1;
  const int groups = (args.entries + kHcGroup - 1) / kHcGroup;
  const int64_t token = blockIdx.x;
  const bool weighs = warp == warps;
  MixWeights mix;
  if (weighs) mix = LoadMixWeights<kOutput>(args, lane);
  uint4 raw[1][kHcStreams] = {}, norm[1] = {};
  if (!weighs) LoadNorm<kOutput>(args, 32 * warps, norm);
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  if (!weighs) LoadStreams(args, token, 32 * warps, raw);
  for (int group = warp; group < groups; group += warps + 1) {
    if (lane <= kHcSquare) sums[group][lane] = GroupSum(args, token, group, lane);
  }
  __syncthreads();
  if (weighs) {
    float sum = 0;
    for (int first = 0; first < groups; first += kSumsBatch) {
#pragma unroll
      for (int i = first; i < first + kSumsBatch; ++i) {
        sum = __fadd_rn(sum, i < groups ? sums[i][lane] : 0.0f);
      }
    }
    float logit;
    const float pre = PreOf(args, sum, mix, &logit);
    if (lane < kHcStreams) reinterpret_cast<float*>(&weights)[lane] = pre;
    __syncthreads();
    if constexpr (kOutput != HcOutput::kHead) PostAndComb(args, token, logit);
    return;
  }
  __syncthreads();
  const float pre[kHcStreams] = {weights.x, weights.y, weights.z, weights.w};
  CollapseToken<kOutput>(args, token, pre, raw, norm, 32 * warps, squares);
}

// Entries are groups here.
template <HcOutput kOutput>
__global__ void __launch_bounds__(32 * kWeighWarps) HcWeigh(HcFinishArgs args) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t token = int64_t{blockIdx.x} * kWeighWarps + threadIdx.x / 32;
  const MixWeights mix = LoadMixWeights<kOutput>(args, lane);
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  if (token >= args.tokens) return;
  const float* partial = args.partial + token * args.entries * kHcPartial;
  float sum = 0;
  for (int first = 0; first < args.entries; first += kSumsBatch) {
    float value[kSumsBatch];
#pragma unroll
    for (int i = 0; i < kSumsBatch; ++i) {
      const bool there = first + i < args.entries && lane <= kHcSquare;
      value[i] = there ? __ldcg(partial + (first + i) * kHcPartial + lane) : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kSumsBatch; ++i) sum = __fadd_rn(sum, value[i]);
  }
  float logit;
  const float pre = PreOf(args, sum, mix, &logit);
  if (lane < kHcStreams) args.pre[token * kHcStreams + lane] = pre;
  if constexpr (kOutput != HcOutput::kHead) PostAndComb(args, token, logit);
}

template <HcOutput kOutput>
__global__ void __launch_bounds__(32 * (kMaxHcWarps + 1) / kCollapseVectors)
    HcCollapse(HcFinishArgs args) {
  __shared__ PairSum squares[32];
  const int threads = static_cast<int>(blockDim.x);
  const int64_t token = gridDim.x - 1 - blockIdx.x;
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  uint4 raw[kCollapseVectors][kHcStreams], norm[kCollapseVectors];
  LoadStreams(args, token, threads, raw);
  const float4 weights = __ldcg(reinterpret_cast<const float4*>(args.pre) + token);
  LoadNorm<kOutput>(args, threads, norm);
  const float pre[kHcStreams] = {weights.x, weights.y, weights.z, weights.w};
  CollapseToken<kOutput>(args, token, pre, raw, norm, threads, squares);
}

template <HcOutput kOutput>
void Finish(const char* name, HcFinishArgs args, Stream& stream) {
  const int warps = (args.dim + 255) / 256;
  const unsigned tokens = static_cast<unsigned>(args.tokens);
  if (args.per_group != 1) {
    Launch({.name = name, .grid = dim3(tokens), .threads = 32 * (warps + 1)}, stream,
           HcFinish<kOutput>, args);
    return;
  }
  Scratch scratch(stream);
  args.pre = scratch.Take<float>(int64_t{args.tokens} * kHcStreams);
  Launch({.name = name, .grid = dim3(Blocks(tokens, kWeighWarps)), .threads = 32 * kWeighWarps},
         stream, HcWeigh<kOutput>, args);
  const int halves = (warps + kCollapseVectors - 1) / kCollapseVectors;
  Launch({.name = name, .grid = dim3(tokens), .threads = 32 * halves}, stream, HcCollapse<kOutput>,
         args);
}

}  // namespace

void RunHcFinish(const char* name, const HcFinishArgs& args, Stream& stream) {
  if (args.comb == nullptr) {
    Finish<HcOutput::kHead>(name, args, stream);
  } else if (args.norm == nullptr) {
    Finish<HcOutput::kPre>(name, args, stream);
  } else {
    Finish<HcOutput::kQuant>(name, args, stream);
  }
}

}  // namespace tandem::kernels::cuda
