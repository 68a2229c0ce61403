// SPDX-License-Identifier: Apache-2.0
// One-shot, as peer_exchange.cuh has it.
//
//   Pushed   what the inboxes hold: a thread a vector, in one round.
//   Pulled   more: rounds of a slice a block, one vector a thread while that is enough.
// With hc_post and the next norm behind it: up to hc_post_pre's 16 tokens, that operation takes y
// from the peers itself, a launch and a round trip to memory less; more tokens are summed first.
#include <algorithm>

#include "kernels/comm/all_reduce.h"
#include "kernels/comm/peer_exchange.cuh"
#include "kernels/common/cuda/launch.h"
#include "kernels/hc/hc_mix.cuh"
#include "kernels/ptx/grid_dependency.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kPullThreads = 256;
constexpr int kFewVectors = 1, kManyVectors = 4;  // of a thread in a round
static_assert(16 * kPullThreads * kManyVectors <= kPullSliceBytes);

// What hc_post wants at one vector of y, beside it.
struct PostInput {
  Bf16* streams;
  uint4 x[kHcStreams];
  float comb[kHcStreams][kHcStreams];
  float post[kHcStreams];
};

__device__ __forceinline__ void LoadPost(const HcPostArgs& args, int64_t vector, int64_t dim,
                                         PostInput* input) {
  const int64_t t = vector * 8 / dim;
  input->streams = args.streams.data + t * kHcStreams * dim + (vector * 8 - t * dim);
#pragma unroll
  for (int i = 0; i < kHcStreams; ++i) {
    input->x[i] = *reinterpret_cast<const uint4*>(input->streams + i * dim);
    input->post[i] = args.post.data[t * kHcStreams + i];
#pragma unroll
    for (int j = 0; j < kHcStreams; ++j) {
      input->comb[j][i] = args.comb.data[(t * kHcStreams + i) * kHcStreams + j];
    }
  }
}

__device__ __forceinline__ void PostStreams(const PostInput& input, const uint4& y, int64_t dim) {
#pragma unroll
  for (int j = 0; j < kHcStreams; ++j) {
    *reinterpret_cast<uint4*>(input.streams + j * dim) =
        PostVector(input.x, y, input.comb[j], input.post[j]);
  }
}

template <bool kPost>
__global__ void __launch_bounds__(kPushVectors)
    AllReducePushed(AllReduceArgs args, int64_t vectors) {
  if (!args.peers.share_devices) ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  const int place = static_cast<int>(threadIdx.x), block = static_cast<int>(blockIdx.x);
  const int64_t vector = int64_t{block} * kPushVectors + place;
  const uint32_t epoch = __ldcg(args.peers.epochs + block) + 1;
  if (vector < vectors) {
    const uint4 own = reinterpret_cast<const uint4*>(args.x.data)[vector];
    Push(args.peers, own, place, epoch);
    PostInput input;
    if constexpr (kPost) LoadPost(args.post, vector, args.x.shape[1], &input);
    const uint4 y = SumOfPushed(args.peers, own, place, epoch);
    if (args.y.data != nullptr) reinterpret_cast<uint4*>(args.y.data)[vector] = y;
    if constexpr (kPost) PostStreams(input, y, args.x.shape[1]);
  }
  __syncthreads();
  if (place == 0) args.peers.epochs[block] = epoch;
}

// A block's vectors of one round, on their way from x to the peers.
template <int kVectors>
__device__ __forceinline__ void Offer(const AllReduceArgs& args, int64_t first, int64_t vectors,
                                      int64_t slice, uint4 (&own)[kVectors]) {
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int place = v * kPullThreads + static_cast<int>(threadIdx.x);
    own[v] = first + place < vectors ? reinterpret_cast<const uint4*>(args.x.data)[first + place]
                                     : uint4{};
    reinterpret_cast<uint4*>(args.peers.exchange[args.peers.rank] + slice)[place] = own[v];
  }
}

template <bool kPost, int kVectors>
__global__ void __launch_bounds__(kPullThreads)
    AllReducePulled(AllReduceArgs args, int64_t vectors) {
  if (!args.peers.share_devices) ptx::GridDependencyLaunch();
  ptx::GridDependencyWait();
  const PeerView& peers = args.peers;
  const int64_t stride = int64_t{gridDim.x} * kVectors * kPullThreads;
  int64_t first = int64_t{blockIdx.x} * kVectors * kPullThreads;
  uint32_t epoch = __ldcg(peers.epochs + blockIdx.x) + 1;
  uint4 own[kVectors], next[kVectors];
  Offer(args, first, vectors, SliceOf(epoch), own);
  Tell(peers, epoch);
  while (true) {
    AwaitTold(peers, epoch);
    const bool more = first + stride < vectors;
    if (more) {
      Offer(args, first + stride, vectors, SliceOf(epoch + 1), next);
      Tell(peers, epoch + 1);
    }
    const int64_t mine = SliceOf(epoch) + 16 * static_cast<int>(threadIdx.x);
    if constexpr (kVectors == 1) {
      own[0] = SumOfPulled(peers, own[0], mine);
    } else {
      SumPulled(peers, mine, 16 * kPullThreads, own);
    }
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int64_t vector = first + v * kPullThreads + static_cast<int>(threadIdx.x);
      if (vector >= vectors) continue;
      if (args.y.data != nullptr) reinterpret_cast<uint4*>(args.y.data)[vector] = own[v];
      if constexpr (kPost) {
        PostInput input;
        LoadPost(args.post, vector, args.x.shape[1], &input);
        PostStreams(input, own[v], args.x.shape[1]);
      }
    }
    if (!more) break;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) own[v] = next[v];
    first += stride;
    ++epoch;
  }
  if (threadIdx.x == 0) peers.epochs[blockIdx.x] = epoch;
}

template <bool kPost>
void Reduce(const AllReduceArgs& args, Stream& stream) {
  const int64_t vectors = args.x.size() / 8;
  if (vectors <= int64_t{args.peers.push_blocks} * kPushVectors) {
    Launch({.name = "all_reduce",
            .grid = dim3(Blocks(vectors, kPushVectors)),
            .threads = kPushVectors},
           stream, AllReducePushed<kPost>, args, vectors);
    return;
  }
  const unsigned most = args.peers.pull_blocks;
  const bool few = vectors <= int64_t{most} * kPullThreads * kFewVectors;
  const int64_t of_block = int64_t{few ? kFewVectors : kManyVectors} * kPullThreads;
  Launch({.name = "all_reduce",
          .grid = dim3(std::min(Blocks(vectors, of_block), most)),
          .threads = kPullThreads},
         stream, few ? AllReducePulled<kPost, kFewVectors> : AllReducePulled<kPost, kManyVectors>,
         args, vectors);
}

void ReduceThenNext(const AllReduceArgs& args, Stream& stream) {
  HcPostPreArgs rest{.post = args.post, .next = args.next};
  rest.post.y = args.x;
  if (args.x.shape[0] <= kMostPeerTokens && !args.peers.share_devices) {
    rest.peers = args.peers;
    HcPostPre(rest, stream);
    return;
  }
  Scratch scratch(stream);
  const TensorView<Bf16, 2> y = {scratch.Take<Bf16>(args.x.size()),
                                 {args.x.shape[0], args.x.shape[1]}};
  Reduce<false>({.x = args.x, .y = y, .peers = args.peers}, stream);
  rest.post.y = y;
  HcPostPre(rest, stream);
}

}  // namespace

void AllReduce(const AllReduceArgs& args, Stream& stream) {
  CheckAllReduce(args);
  KERNEL_CHECK_MULTIPLE(args.x.shape[1], 8);
  if (args.next.x.data != nullptr) return ReduceThenNext(args, stream);
  if (args.post.streams.data == nullptr) return Reduce<false>(args, stream);
  KERNEL_CHECK_EQ(args.post.streams.shape[1], kHcStreams);
  Reduce<true>(args, stream);
}

}  // namespace tandem::kernels::cuda
