// SPDX-License-Identifier: Apache-2.0
// How a block gets vectors of sixteen bytes from the same block of the other ranks: pushed, where
// few are waited for, or pulled, where many are moved.
//
// Push: a rank writes its vector into every peer's inbox, each word with the round's number beside
// it in one store of eight bytes, and polls its own inbox: one way over the link, and no barrier.
// Pull: a block writes its slice to its own exchange buffer, releases a flag at every peer, waits
// for theirs, tells them of its next slice, and reads theirs: every byte travels once.
//
// Rounds. A block's round e (its epoch, kept in memory, so that a graph's replays go on counting)
// is pushed into half e mod 2 of an inbox, or lies in slice e mod 4. Nothing is reset: numbers only
// grow, and one that repeats after 2^32 rounds would have to meet a place that was not written
// since. Nobody is overtaken. A rank pushes round e + 2 in a kernel that comes after its round
// e + 1, for which it had the peer's part, of a kernel after the peer's round e. It fills a slice
// for round e + 3 when it has the peer's flag of round e + 2, which the peer releases when it waits
// no more for round e + 1, and so has read round e. A block's places depend on the block alone, so
// calls of different sizes, pushed and pulled, may follow each other. A peer that does not come
// within the limit is recorded once; from then on nobody waits.
#pragma once

#include <cstdint>

#include "kernels/comm/peer_group.h"
#include "kernels/common/cuda/codec.cuh"

namespace tandem::kernels::cuda {

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
               : "l"(address));
  return v;
}

// Two words, each with its round above it: single accesses of eight bytes, which never tear.
__device__ __forceinline__ void StoreWords(uint8_t* address, uint32_t a, uint32_t b,
                                           uint32_t epoch) {
  const uint64_t high = uint64_t{epoch} << 32;
  asm volatile("st.relaxed.sys.global.v2.b64 [%0], {%1, %2};" ::"l"(address), "l"(high | a),
               "l"(high | b)
               : "memory");
}

__device__ __forceinline__ ulonglong2 LoadWords(const uint8_t* address) {
  ulonglong2 v;
  asm volatile("ld.relaxed.sys.global.v2.b64 {%0, %1}, [%2];"
               : "=l"(v.x), "=l"(v.y)
               : "l"(address)
               : "memory");
  return v;
}

// One peer's wait, begun at `start`: false once nothing is to be waited for any more. `error` is
// read beside what is polled, so that it costs no time of its own.
__device__ __forceinline__ uint32_t PeerError(const PeerView& peers) {
  return *static_cast<volatile uint32_t*>(peers.error);
}

__device__ __forceinline__ bool GoOnWaiting(const PeerView& peers, int peer, int64_t start,
                                            uint32_t error) {
  if (error != 0) return false;
  if (clock64() - start <= peers.limit) return true;
  const uint32_t mine = 1u + static_cast<uint32_t>(peer);
  if (atomicCAS(peers.error, 0u, mine) == 0u) *static_cast<volatile uint32_t*>(peers.report) = mine;
  return false;
}

// Pull: tells the peers that this block's slice of a round is there: thread p has peer p.
__device__ __forceinline__ void Tell(const PeerView& peers, uint32_t epoch) {
  __syncthreads();
  const int peer = static_cast<int>(threadIdx.x), block = static_cast<int>(blockIdx.x);
  if (peer >= peers.ranks || peer == peers.rank) return;
  StoreRelease(peers.flags[peer] + peers.rank * kPullBlocks + block, epoch);
}

// And waits for theirs.
__device__ __forceinline__ void AwaitTold(const PeerView& peers, uint32_t epoch) {
  const int peer = static_cast<int>(threadIdx.x), block = static_cast<int>(blockIdx.x);
  if (peer < peers.ranks && peer != peers.rank) {
    const uint32_t* flag = peers.flags[peers.rank] + peer * kPullBlocks + block;
    const int64_t start = clock64();
    while (true) {
      const uint32_t seen = LoadAcquire(flag), error = PeerError(peers);
      // Signed distance: the count may wrap.
      if (static_cast<int32_t>(seen - epoch) >= 0) break;
      if (!GoOnWaiting(peers, peer, start, error)) break;
    }
  }
  __syncthreads();
}

// Both: every rank's slice of the round is there.
__device__ __forceinline__ void Meet(const PeerView& peers, uint32_t epoch) {
  Tell(peers, epoch);
  AwaitTold(peers, epoch);
}

__device__ __forceinline__ int64_t SliceOf(uint32_t epoch) {
  return (int64_t{epoch % kPullSlices} * kPullBlocks + blockIdx.x) * kPullSliceBytes;
}

// Where `writer` leaves vector `place` of this block in an inbox: its first half, the second
// kPushVectors · 16 bytes on.
__device__ __forceinline__ int64_t PushPlace(const PeerView& peers, int writer, int place,
                                             uint32_t epoch) {
  const int boxes = kPushBoxes / peers.ranks;
  const int box =
      static_cast<int>(epoch % 2) * kPushBoxes + writer * boxes + static_cast<int>(blockIdx.x);
  return (int64_t{box} * 2 * kPushVectors + place) * 16;
}

__device__ __forceinline__ void Push(const PeerView& peers, const uint4& own, int place,
                                     uint32_t epoch) {
  const int64_t at = PushPlace(peers, peers.rank, place, epoch);
#pragma unroll
  for (int r = 0; r < kMaxPeers; ++r) {
    if (r >= peers.ranks) break;
    if (r == peers.rank) continue;
    StoreWords(peers.inbox[r] + at, own.x, own.y, epoch);
    StoreWords(peers.inbox[r] + at + kPushVectors * 16, own.z, own.w, epoch);
  }
}

__device__ __forceinline__ uint4 AwaitPushed(const PeerView& peers, int peer, int place,
                                             uint32_t epoch) {
  const uint8_t* at = peers.inbox[peers.rank] + PushPlace(peers, peer, place, epoch);
  const int64_t start = clock64();
  ulonglong2 low, high;
  while (true) {
    low = LoadWords(at);
    high = LoadWords(at + kPushVectors * 16);
    const uint32_t error = PeerError(peers);
    const uint32_t missing = (static_cast<uint32_t>(low.x >> 32) ^ epoch) |
                             (static_cast<uint32_t>(low.y >> 32) ^ epoch) |
                             (static_cast<uint32_t>(high.x >> 32) ^ epoch) |
                             (static_cast<uint32_t>(high.y >> 32) ^ epoch);
    if (missing == 0 || !GoOnWaiting(peers, peer, start, error)) break;
  }
  return {static_cast<uint32_t>(low.x), static_cast<uint32_t>(low.y), static_cast<uint32_t>(high.x),
          static_cast<uint32_t>(high.y)};
}

__device__ __forceinline__ void AddVector(const uint4& part, float (&sum)[8]) {
  const uint32_t pairs[4] = {part.x, part.y, part.z, part.w};
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    sum[2 * p] = __fadd_rn(sum[2 * p], LowBf16(pairs[p]));
    sum[2 * p + 1] = __fadd_rn(sum[2 * p + 1], HighBf16(pairs[p]));
  }
}

__device__ __forceinline__ uint4 Round(const float (&sum)[8]) {
  return {PackBf16(sum[0], sum[1]), PackBf16(sum[2], sum[3]), PackBf16(sum[4], sum[5]),
          PackBf16(sum[6], sum[7])};
}

// bf( Σ_r x_r ) of eight values, r ascending; `own` is this rank's, and has been pushed.
__device__ __forceinline__ uint4 SumOfPushed(const PeerView& peers, const uint4& own, int place,
                                             uint32_t epoch) {
  float sum[8] = {};
#pragma unroll 1
  for (int r = 0; r < peers.ranks; ++r) {
    AddVector(r == peers.rank ? own : AwaitPushed(peers, r, place, epoch), sum);
  }
  return Round(sum);
}

// The same of a vector that lies `offset` bytes into every rank's exchange buffer: all ranks' on
// their way together.
__device__ __forceinline__ uint4 SumOfPulled(const PeerView& peers, const uint4& own,
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
    AddVector(part[r], sum);
  }
  return Round(sum);
}

// The same of kVectors vectors, `stride` bytes apart: a rank's on their way together. own becomes
// the sum.
template <int kVectors>
__device__ __forceinline__ void SumPulled(const PeerView& peers, int64_t offset, int64_t stride,
                                          uint4 (&own)[kVectors]) {
  float sum[kVectors][8] = {};
#pragma unroll 1
  for (int r = 0; r < peers.ranks; ++r) {
    uint4 part[kVectors];
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      part[v] = own[v];
      if (r != peers.rank) {
        const uint8_t* address = peers.exchange[r] + offset + v * stride;
        part[v] = LoadPeer(reinterpret_cast<const uint4*>(address));
      }
    }
#pragma unroll
    for (int v = 0; v < kVectors; ++v) AddVector(part[v], sum[v]);
  }
#pragma unroll
  for (int v = 0; v < kVectors; ++v) own[v] = Round(sum[v]);
}

}  // namespace tandem::kernels::cuda
