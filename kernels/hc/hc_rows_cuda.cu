// SPDX-License-Identifier: Apache-2.0
// Up to 16 tokens in one launch: a block a chunk multiplies (hc_rows.cuh), and behind them a block
// a token does the rest with what they send it (hc_mail.cuh). Its first warps collapse, the last
// one weighs the streams and goes on to Sinkhorn, which the others do not wait for.
#include "kernels/common/cuda/launch.h"
#include "kernels/common/cuda/mailbox.h"
#include "kernels/hc/hc_finish.cuh"
#include "kernels/hc/hc_job.h"
#include "kernels/hc/hc_mail.cuh"
#include "kernels/hc/hc_rows.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = 32 * kRowWarps;
constexpr int kCollapseWarps = kRowWarps - 1;  // at most
constexpr int kMailQuads = kMailWords / 4;

// While the block waits its registers are full of streams.
template <int kVectors>
__device__ __forceinline__ void PrefetchNorm(const HcFinishArgs& args, int threads) {
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int d = 8 * (static_cast<int>(threadIdx.x) + threads * v);
    if (d < args.dim) ptx::PrefetchL1(args.norm + d);
  }
}

template <bool kPost, HcOutput kOutput, int kVectors>
__device__ __forceinline__ void FinishRow(const HcFinishArgs& args, const HcMail& mail, int token) {
  __shared__ float4 sums[kMaxHcGroups + 1][kMailQuads];
  __shared__ float4 weights;
  __shared__ PairSum squares[32];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int warps = (args.dim + 256 * kVectors - 1) / (256 * kVectors), threads = 32 * warps;
  const int chunks = args.dim / kHcChunk, groups = (chunks + kHcGroup - 1) / kHcGroup;
  const bool weighs = warp == kCollapseWarps, collapses = warp < warps;
  MixWeights mix;
  if (weighs) mix = LoadMixWeights<kOutput>(args, lane);
  if (kOutput == HcOutput::kQuant && collapses) PrefetchNorm<kVectors>(args, threads);
  uint4 raw[kVectors][kHcStreams];
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  if (!collapses) {
    for (int i = static_cast<int>(threadIdx.x) - threads; i < groups * kMailQuads;
         i += kThreads - threads) {
      const int group = i / kMailQuads, quad = i % kMailQuads;
      sums[group][quad] = AwaitGroup(mail, token, group, quad, chunks);
    }
  } else if constexpr (kPost) {
    AwaitStreams(args, mail, token, threads, raw);
  } else {
    LoadStreams(args, token, threads, raw);
  }
  __syncthreads();
  if (weighs) {
    float sum = 0;
    for (int i = 0; i < groups; ++i) {
      const float* row = reinterpret_cast<const float*>(sums[i]);
      sum = __fadd_rn(sum, lane < kMailWords ? row[lane] : 0.0f);
    }
    float logit;
    const float pre = PreOf(args, sum, mix, &logit);
    if (lane < kHcStreams) reinterpret_cast<float*>(&weights)[lane] = pre;
    __syncthreads();
    if constexpr (kOutput != HcOutput::kHead) PostAndComb(args, token, logit);
    return;
  }
  __syncthreads();
  if (!collapses) return;
  uint4 norm[kVectors];
  LoadNorm<kOutput>(args, threads, norm);
  const float pre[kHcStreams] = {weights.x, weights.y, weights.z, weights.w};
  CollapseToken<kOutput>(args, token, pre, raw, norm, threads, squares);
}

template <bool kPost, HcOutput kOutput, int kVectors>
__global__ void __launch_bounds__(kThreads, 2)
    HcRows(HcMixArgs mix, HcFinishArgs finish, HcMail mail) {
  const int token = static_cast<int>(blockIdx.x) - mix.dim / kHcChunk;
  if (token < 0) {
    MixRows<kPost>(mix, mail, OwnY{});
  } else {
    FinishRow<kPost, kOutput, kVectors>(finish, mail, token);
  }
}

template <int kVectors>
__global__ void __launch_bounds__(kThreads, 2)
    HcPeerRows(HcMixArgs mix, HcFinishArgs finish, HcMail mail, PeerView peers) {
  __shared__ uint4 sums[kHcRows * kRowVectors];
  const int token = static_cast<int>(blockIdx.x) - mix.dim / kHcChunk;
  if (token < 0) {
    MixRows<true>(mix, mail, PeerY{.peers = peers, .shared = sums});
  } else {
    FinishRow<true, HcOutput::kQuant, kVectors>(finish, mail, token);
  }
}

template <int kVectors>
void Run(const HcJob& job, const HcMixArgs& mix, const HcFinishArgs& finish, Stream& stream) {
  const int chunks = mix.dim / kHcChunk;
  const LaunchConfig config = {.name = job.name,
                               .grid = dim3(static_cast<unsigned>(chunks + mix.tokens)),
                               .threads = kThreads};
  const HcMail mail{Mailbox(stream)};
  if (job.y == nullptr) {
    const auto kernel = finish.comb == nullptr   ? HcRows<false, HcOutput::kHead, kVectors>
                        : finish.norm == nullptr ? HcRows<false, HcOutput::kPre, kVectors>
                                                 : HcRows<false, HcOutput::kQuant, kVectors>;
    Launch(config, stream, kernel, mix, finish, mail);
  } else if (job.peers.ranks == 1) {
    Launch(config, stream, HcRows<true, HcOutput::kQuant, kVectors>, mix, finish, mail);
  } else {
    KERNEL_CHECK_LE(chunks, kPushBlocks);
    Launch(config, stream, HcPeerRows<kVectors>, mix, finish, mail, job.peers);
  }
}

}  // namespace

void RunHcRows(const HcJob& job, const HcMixArgs& mix, const HcFinishArgs& finish, Stream& stream) {
  if (mix.dim <= 2 * 256 * kCollapseWarps) {
    Run<2>(job, mix, finish, stream);
  } else {
    Run<3>(job, mix, finish, stream);
  }
}

}  // namespace tandem::kernels::cuda
