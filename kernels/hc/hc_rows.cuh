// SPDX-License-Identifier: Apache-2.0
// The mixing product of up to 16 tokens: a block a chunk, a warp a stream of it and eight mixes, so
// that fn's megabyte and a half comes in at once, before the kernel before has ended. With hc_post,
// y is in memory (OwnY) or one of the ranks' parts (PeerY): a thread pushes one vector of the chunk
// to the peers and sums what they push (peer_exchange.cuh). Sums and streams go to the blocks that
// finish the tokens (hc_mail.cuh). Internal to kernels/hc.
#pragma once

#include <cstdint>

#include "kernels/comm/peer_exchange.cuh"
#include "kernels/hc/hc_mail.cuh"
#include "kernels/hc/hc_mix.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kRowTiles = kHcMixes / 8;
inline constexpr int kRowWarps = kHcStreams * kRowTiles;
inline constexpr int kPadded = 40;  // floats of a row of partial sums in shared memory
inline constexpr int kRowVectors = kHcChunk / 8;
static_assert(kHcRows * kRowVectors <= kPushVectors);

// One of 16 rows with all that hc_post of one stream wants of it.
struct PostRow {
  uint4 x[kHcStreams] = {};
  uint4 y = {};
  float comb[kHcStreams] = {};
  float post = 0;
};

__device__ __forceinline__ void LoadPostRow(const HcMixArgs& args, int t, int d, PostRow* row) {
  const Bf16* x = args.streams + int64_t{t} * kHcStreams * args.dim + d;
#pragma unroll
  for (int i = 0; i < kHcStreams; ++i) row->x[i] = LoadL2(x + i * args.dim);
}

__device__ __forceinline__ void LoadPostWeights(const HcMixArgs& args, int t, int stream,
                                                PostRow* row) {
#pragma unroll
  for (int i = 0; i < kHcStreams; ++i) {
    row->comb[i] = args.comb[(t * kHcStreams + i) * kHcStreams + stream];
  }
  row->post = args.post[t * kHcStreams + stream];
}

// y of a block's chunk, of tokens in memory.
struct OwnY {
  __device__ __forceinline__ void Send(const HcMixArgs&) const {}
  __device__ __forceinline__ void Receive(const HcMixArgs&) const {}
  // Eight dims of the chunk from `d` on.
  __device__ __forceinline__ uint4 Load(const HcMixArgs& args, int t, int d) const {
    return LoadL2(args.y + int64_t{t} * args.dim + static_cast<int>(blockIdx.x) * kHcChunk + d);
  }
};

// y as the sum of the ranks' parts: the first threads have a vector each.
struct PeerY {
  const PeerView& peers;
  uint4* shared;  // [kHcRows, kRowVectors]: the own part, then the sum

  // Read again where it is wanted: registers are short while the block waits.
  __device__ __forceinline__ uint32_t Epoch() const {
    return __ldcg(peers.epochs + blockIdx.x) + 1;
  }

  __device__ __forceinline__ bool Takes(const HcMixArgs& args) const {
    return static_cast<int>(threadIdx.x) < args.tokens * kRowVectors;
  }
  __device__ __forceinline__ void Send(const HcMixArgs& args) const {
    if (!Takes(args)) return;
    const int place = static_cast<int>(threadIdx.x);
    const uint4 own = LoadL2(args.y + int64_t{place / kRowVectors} * args.dim +
                             static_cast<int>(blockIdx.x) * kHcChunk + place % kRowVectors * 8);
    Push(peers, own, place, Epoch());
    shared[place] = own;
    // The block's weights, which no register is left for while it waits.
    if (place >= args.tokens) return;
    ptx::PrefetchL1(args.comb + place * kHcStreams * kHcStreams);
    ptx::PrefetchL1(args.post + place * kHcStreams);
  }
  // The whole block; then the sums are in shared memory.
  __device__ __forceinline__ void Receive(const HcMixArgs& args) const {
    const int place = static_cast<int>(threadIdx.x);
    if (Takes(args)) shared[place] = SumOfPushed(peers, shared[place], place, Epoch());
    __syncthreads();
    if (place == 0) peers.epochs[blockIdx.x] = Epoch();
  }
  __device__ __forceinline__ uint4 Load(const HcMixArgs&, int t, int d) const {
    return shared[t * kRowVectors + d / 8];
  }
};

// The stream's eight dims of rows g and g + 8, after hc_post if there is one: then every warp has
// read its rows when it returns, and the whole block takes part.
template <bool kPost, typename Y>
__device__ __forceinline__ void LoadRows(const HcMixArgs& args, int stream, int d, const Y& y,
                                         uint4 (&x)[2]) {
  const int g = static_cast<int>(threadIdx.x) % 32 / 4;
  if constexpr (!kPost) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int t = g + 8 * h;
      x[h] = t < args.tokens
                 ? LoadL2(args.streams + (int64_t{t} * kHcStreams + stream) * args.dim + d)
                 : uint4{};
    }
  } else {
    PostRow row[2];
    y.Send(args);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (g + 8 * h < args.tokens) LoadPostRow(args, g + 8 * h, d, &row[h]);
    }
    y.Receive(args);
    // From here on all is found anew, so that it does not live while the block waits for peers.
    int thread = static_cast<int>(threadIdx.x);
    asm volatile("" : "+r"(thread));
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int t = thread % 32 / 4 + 8 * h;
      x[h] = {};
      if (t < args.tokens) {
        LoadPostWeights(args, t, thread / 32 % kHcStreams, &row[h]);
        row[h].y = y.Load(args, t, thread % 4 * 8);
      }
      if (8 * h < args.tokens) x[h] = PostVector(row[h].x, row[h].y, row[h].comb, row[h].post);
    }
    __syncthreads();
  }
}

// Streams after hc_post, by the warps of the first tile; behind the product, which others wait for.
__device__ __forceinline__ void StoreRows(const HcMixArgs& args, const HcMail& mail, int thread,
                                          const uint4 (&x)[2]) {
  const int stream = thread / 32, d = static_cast<int>(blockIdx.x) * kHcChunk + thread % 4 * 8;
  if (stream >= kHcStreams) return;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int t = thread % 32 / 4 + 8 * h;
    if (t >= args.tokens) continue;
    StoreMail(mail.Dims(t, stream, d), x[h]);
    Bf16* out = args.streams + (int64_t{t} * kHcStreams + stream) * args.dim + d;
    *reinterpret_cast<uint4*>(out) = x[h];
  }
}

template <bool kPost, typename Y>
__device__ __forceinline__ void MixRows(const HcMixArgs& args, const HcMail& mail, const Y& y) {
  __shared__ float sums[kHcStreams][kHcRows][kPadded];
  int thread = static_cast<int>(threadIdx.x);
  const int stream = thread / 32 % kHcStreams;
  const int d = static_cast<int>(blockIdx.x) * kHcChunk + thread % 4 * 8;
  const SplitWeights weights =
      Split(LoadWeights(args, thread / 32 / kHcStreams * 8 + thread % 32 / 4, stream, d));
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  uint4 x[2];
  LoadRows<kPost>(args, stream, d, y, x);
  asm volatile("" : "+r"(thread));  // as there
  float sum[4];
  StreamProduct(x[0], x[1], weights, sum);
  const int warp = thread / 32, lane = thread % 32, tile = warp / kHcStreams;
  float(&rows)[kHcRows][kPadded] = sums[warp % kHcStreams];
  const int g = lane / 4, n = 8 * tile + lane % 4 * 2;
  rows[g][n] = sum[0];
  rows[g][n + 1] = sum[1];
  rows[g + 8][n] = sum[2];
  rows[g + 8][n + 1] = sum[3];
  if constexpr (kPost) StoreRows(args, mail, thread, x);
  if (tile == 0) {
    const float low = StreamSquares(x[0]), high = StreamSquares(x[1]);
    if (lane % 4 == 0) {
      rows[g][kHcSquare] = low;
      rows[g + 8][kHcSquare] = high;
    }
  }
  __syncthreads();
  if (lane >= kMailWords) return;
  for (int t = warp; t < args.tokens; t += kRowWarps) {
    const float all =
        __fadd_rn(__fadd_rn(__fadd_rn(sums[0][t][lane], sums[1][t][lane]), sums[2][t][lane]),
                  sums[3][t][lane]);
    StoreMail(mail.Sums(t, static_cast<int>(blockIdx.x)) + lane,
              lane <= kHcSquare ? __float_as_uint(all) : 0);
  }
}

}  // namespace tandem::kernels::cuda
