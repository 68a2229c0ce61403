// SPDX-License-Identifier: Apache-2.0
// Pulled, as peer_exchange.cuh has it: every rank lays its columns out for rank 0, round by round
// of a slice a block, and meets the others; rank 0 reads them.
#include <algorithm>

#include "kernels/comm/gather.h"
#include "kernels/comm/peer_exchange.cuh"
#include "kernels/common/cuda/launch.h"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kFewVectors = 1, kManyVectors = 4;  // of a thread in a round
static_assert(16 * kThreads * kManyVectors <= kPullSliceBytes);

// `columns` vectors a row of x.
template <int kVectors>
__global__ void __launch_bounds__(kThreads)
    GatherPulled(GatherArgs args, int64_t vectors, int64_t columns) {
  if (!args.peers.share_devices) ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  const PeerView& peers = args.peers;
  const int block = static_cast<int>(blockIdx.x);
  const uint4* x = reinterpret_cast<const uint4*>(args.x.data);
  uint4* y = reinterpret_cast<uint4*>(args.y.data);
  uint32_t epoch = __ldcg(peers.epochs + block);
  for (int64_t first = int64_t{block} * kVectors * kThreads; first < vectors;
       first += int64_t{gridDim.x} * kVectors * kThreads) {
    ++epoch;
    const int64_t slice = SliceOf(epoch);
    int64_t to[kVectors];  // where rank 0's part goes; the others' are behind it
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int place = v * kThreads + static_cast<int>(threadIdx.x);
      const int64_t vector = first + place;
      to[v] = -1;
      if (vector >= vectors) continue;
      to[v] = vector / columns * columns * (peers.ranks - 1) + vector;
      if (peers.rank == 0) {
        y[to[v]] = x[vector];
      } else {
        reinterpret_cast<uint4*>(peers.exchange[peers.rank] + slice)[place] = x[vector];
      }
    }
    Meet(peers, epoch);
    if (peers.rank != 0) continue;
#pragma unroll 1
    for (int r = 1; r < peers.ranks; ++r) {
      const uint4* part = reinterpret_cast<const uint4*>(peers.exchange[r] + slice) + threadIdx.x;
      uint4 own[kVectors];
#pragma unroll
      for (int v = 0; v < kVectors; ++v) own[v] = LoadPeer(part + v * kThreads);
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        if (to[v] >= 0) y[to[v] + r * columns] = own[v];
      }
    }
  }
  if (threadIdx.x == 0) peers.epochs[block] = epoch;
}

}  // namespace

void Gather(const GatherArgs& args, Stream& stream) {
  CheckGather(args);
  KERNEL_CHECK_MULTIPLE(args.x.shape[1], 4);
  KERNEL_CHECK_EQ(args.y.data != nullptr, args.peers.rank == 0);
  if (args.peers.rank == 0) {
    KERNEL_CHECK_EQ(args.y.shape[1], args.x.shape[1] * args.peers.ranks);
  }
  const int64_t vectors = args.x.size() / 4;
  const unsigned most = args.peers.pull_blocks;
  const bool few = vectors <= int64_t{most} * kThreads * kFewVectors;
  const int64_t of_block = int64_t{few ? kFewVectors : kManyVectors} * kThreads;
  Launch({.name = "gather",
          .grid = dim3(std::min(Blocks(vectors, of_block), most)),
          .threads = kThreads},
         stream, few ? GatherPulled<kFewVectors> : GatherPulled<kManyVectors>, args, vectors,
         args.x.shape[1] / 4);
}

}  // namespace tandem::kernels::cuda
