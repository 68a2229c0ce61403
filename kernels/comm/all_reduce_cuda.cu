// SPDX-License-Identifier: Apache-2.0
// One-shot: a block copies its slice of x to its exchange buffer, tells the same block of every
// peer, waits for theirs, and reads their slices.
//
// Rounds. A block's round e (its epoch, kept in memory, so that a graph's replays go on counting)
// uses exchange buffer e mod 2. Nothing is reset: flags only grow, and a wait is for >= e. Nobody
// is overtaken: a rank writes buffer e mod 2 again in round e + 2, which it reaches after it has
// seen the peer's flag of round e + 1, which the peer writes after it has read round e. A slice's
// place in the buffer depends on the block alone, so calls of different sizes may follow each
// other. Memory. The slice is written, the block synchronises, then one thread a peer releases the
// flag at system scope; the reader acquires it at system scope and synchronises its block. The
// peers' slices are read past L1.
#include <algorithm>

#include "kernels/comm/all_reduce.h"
#include "kernels/common/cuda/launch.h"
#include "kernels/hc/hc_mix.cuh"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = 128;
// Vectors of a thread in a round: one while that keeps the blocks within bounds, for the latency;
// else as many as eight ranks' parts leave registers for.
constexpr int kFewVectors = 1, kManyVectors = 2;
static_assert(16 * kThreads * kManyVectors <= kPeerSliceBytes);

__device__ __forceinline__ void StoreRelease(uint32_t* address, uint32_t value) {
  asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(address), "r"(value) : "memory");
}

__device__ __forceinline__ uint32_t LoadAcquire(const uint32_t* address) {
  uint32_t value;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(address) : "memory");
  return value;
}

__device__ __forceinline__ uint4 LoadPeer(const uint4* address) {
  uint4 v;
  asm volatile("ld.relaxed.sys.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(address)
               : "memory");
  return v;
}

// Tells the peers that this block's slice of a round is there, and waits for theirs: thread p has
// peer p. False once a peer has not come within the limit, now or ever before.
__device__ __forceinline__ void Meet(const PeerView& peers, uint32_t epoch) {
  __syncthreads();
  const int peer = static_cast<int>(threadIdx.x), block = static_cast<int>(blockIdx.x);
  if (peer < peers.ranks && peer != peers.rank) {
    StoreRelease(peers.flags[peer] + peers.rank * kPeerBlocks + block, epoch);
    const uint32_t* flag = peers.flags[peers.rank] + peer * kPeerBlocks + block;
    const int64_t start = clock64();
    // Signed distance: the count may wrap.
    while (static_cast<int32_t>(LoadAcquire(flag) - epoch) < 0) {
      if (*static_cast<volatile uint32_t*>(peers.error) != 0) break;
      if (clock64() - start > peers.limit) {
        atomicCAS(peers.error, 0u, 1u + static_cast<uint32_t>(peer));
        break;
      }
    }
  }
  __syncthreads();
}

// bf( Σ_r x_r ) of eight values; `own` is this rank's.
__device__ __forceinline__ uint4 SumOfRanks(const PeerView& peers, const uint4& own,
                                            int64_t offset) {
  uint4 part[kMaxPeers];
#pragma unroll
  for (int r = 0; r < kMaxPeers; ++r) {
    if (r >= peers.ranks) break;
    part[r] = r == peers.rank
                  ? own
                  : LoadPeer(reinterpret_cast<const uint4*>(peers.exchange[r] + offset));
  }
  float sum[8] = {};
#pragma unroll
  for (int r = 0; r < kMaxPeers; ++r) {
    if (r >= peers.ranks) break;
    const uint32_t pairs[4] = {part[r].x, part[r].y, part[r].z, part[r].w};
#pragma unroll
    for (int p = 0; p < 4; ++p) {
      sum[2 * p] = __fadd_rn(sum[2 * p], LowBf16(pairs[p]));
      sum[2 * p + 1] = __fadd_rn(sum[2 * p + 1], HighBf16(pairs[p]));
    }
  }
  return {PackBf16(sum[0], sum[1]), PackBf16(sum[2], sum[3]), PackBf16(sum[4], sum[5]),
          PackBf16(sum[6], sum[7])};
}

// hc_post of the streams at one vector of y.
__device__ __forceinline__ void PostStreams(const HcPostArgs& args, const uint4& y, int64_t vector,
                                            int64_t dim) {
  const int64_t t = vector * 8 / dim;
  Bf16* streams = args.streams.data + t * kHcStreams * dim + (vector * 8 - t * dim);
  uint4 x[kHcStreams];
#pragma unroll
  for (int i = 0; i < kHcStreams; ++i) x[i] = *reinterpret_cast<const uint4*>(streams + i * dim);
#pragma unroll
  for (int j = 0; j < kHcStreams; ++j) {
    float comb[kHcStreams];
#pragma unroll
    for (int i = 0; i < kHcStreams; ++i) {
      comb[i] = args.comb.data[(t * kHcStreams + i) * kHcStreams + j];
    }
    *reinterpret_cast<uint4*>(streams + j * dim) =
        PostVector(x, y, comb, args.post.data[t * kHcStreams + j]);
  }
}

template <bool kPost, int kVectors>
__global__ void __launch_bounds__(kThreads, 1)
    AllReduceKernel(AllReduceArgs args, int64_t vectors) {
  ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  const PeerView& peers = args.peers;
  const int block = static_cast<int>(blockIdx.x);
  const uint4* x = reinterpret_cast<const uint4*>(args.x.data);
  uint32_t epoch = peers.epochs[block];
  for (int64_t first = int64_t{block} * kVectors * kThreads; first < vectors;
       first += int64_t{gridDim.x} * kVectors * kThreads) {
    ++epoch;
    const int64_t slice = (int64_t{epoch % 2} * kPeerBlocks + block) * kPeerSliceBytes;
    uint4 own[kVectors];
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int place = v * kThreads + static_cast<int>(threadIdx.x);
      if (first + place >= vectors) continue;
      own[v] = x[first + place];
      reinterpret_cast<uint4*>(peers.exchange[peers.rank] + slice)[place] = own[v];
    }
    Meet(peers, epoch);
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int place = v * kThreads + static_cast<int>(threadIdx.x);
      if (first + place >= vectors) continue;
      const uint4 y = SumOfRanks(peers, own[v], slice + 16 * place);
      if (args.y.data != nullptr) reinterpret_cast<uint4*>(args.y.data)[first + place] = y;
      if constexpr (kPost) PostStreams(args.post, y, first + place, args.x.shape[1]);
    }
  }
  if (threadIdx.x == 0) peers.epochs[block] = epoch;
}

}  // namespace

void AllReduce(const AllReduceArgs& args, Stream& stream) {
  CheckAllReduce(args);
  KERNEL_CHECK_MULTIPLE(args.x.shape[1], 8);
  const bool post = args.post.streams.data != nullptr;
  if (post) KERNEL_CHECK_EQ(args.post.streams.shape[1], kHcStreams);
  const int64_t vectors = args.x.size() / 8;
  const bool few = vectors <= int64_t{kPeerBlocks} * kThreads * kFewVectors;
  // All blocks of all ranks must run at once, so they are few.
  const unsigned blocks = std::min<unsigned>(
      Blocks(vectors, int64_t{few ? kFewVectors : kManyVectors} * kThreads), kPeerBlocks);
  const LaunchConfig config = {.name = "all_reduce", .grid = dim3(blocks), .threads = kThreads};
  if (post) {
    Launch(config, stream,
           few ? AllReduceKernel<true, kFewVectors> : AllReduceKernel<true, kManyVectors>, args,
           vectors);
  } else {
    Launch(config, stream,
           few ? AllReduceKernel<false, kFewVectors> : AllReduceKernel<false, kManyVectors>, args,
           vectors);
  }
}

}  // namespace tandem::kernels::cuda
