// SPDX-License-Identifier: Apache-2.0
// How a block brings the keys that one token's lists name into shared memory, as tiles of 32 rows
// of bf16.
//
// Two groups of four warps read the lists in segments of raw entries and keep the valid ones in
// order. Then each fills its buffer, by turns: a group's rows wait in its registers until their
// buffer is free. A tile is [32 rows][64 chunks of 16 bytes]; chunk c of
// row r stands at place c ^ (r % 8), so that eight rows' same chunk (ldmatrix) and four threads'
// neighbouring chunks of two rows (the stores here) lie in different banks. Rows beyond the list's
// end are zero. Internal to kernels/attention.
#pragma once

#include <cstdint>

#include "kernels/attention/sparse_attention.h"
#include "kernels/common/paged_rows.h"
#include "kernels/gemm/dequant.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kTileKeys = 32;
inline constexpr int kTileRowBytes = 2 * kHeadDim;
inline constexpr int kTileBytes = kTileKeys * kTileRowBytes;
inline constexpr int kGroups = 2;
inline constexpr int kGroupThreads = 128;
inline constexpr int kLoaderThreads = kGroups * kGroupThreads;
inline constexpr int kRowThreads = kGroupThreads / kTileKeys;  // that share a row
inline constexpr int kSegmentEntries = 1024;
inline constexpr int kRowBits = 30;  // of an entry: 2^30 rows are 600 GB
inline constexpr uint32_t kNoEntry = ~0u;

// Where 16-byte chunk c of row r stands in a tile.
__device__ __forceinline__ int TileOffset(int row, int chunk) {
  return row * kTileRowBytes + ((chunk ^ (row & 7)) << 4);
}

struct DeviceKeySource {
  const uint8_t* base;   // of the pages
  const int32_t* index;  // [T, columns]
  int32_t columns;       // 0: nothing to read
  int32_t row_shift;     // log2 of the rows of a page
  int32_t page_bytes;
};

// What the block shares.
struct KeyList {
  DeviceKeySource sources[kMaxKeySources];
  uint32_t entries[kSegmentEntries];  // source << kRowBits | flat row
  int32_t warp_counts[kLoaderThreads / 32];
  int32_t count;
};

// A thread's part of a tile: as many chunks of each four of its row.
inline constexpr int kFours = kKvRowDataBytes / 64;
inline constexpr int kOfFour = 4 / kRowThreads;
struct RawKeys {
  uint4 chunks[kFours][kOfFour];
  uint2 scales;  // a byte for each four chunks of E4M3
};

// Which of four chunks a thread's i-th is. Of two, rows 2 and 3 of each four take theirs in the
// other order, lest two threads of a store meet in a bank.
__device__ __forceinline__ int PlaceOf(int thread, int i) {
  const int turn = kOfFour == 2 ? thread / kRowThreads / 2 % 2 : 0;
  return kRowThreads * (i ^ turn) + thread % kRowThreads;
}

__device__ __forceinline__ uint4 LoadOnce(const uint8_t* address) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(address));
  return v;
}

// Raw entry `position` of token t's lists, counted through the three. Without a branch, so that a
// thread's loads are under way together.
__device__ __forceinline__ uint32_t Entry(const KeyList& list, int t, int position) {
  const DeviceKeySource* source = list.sources;
  const int first = source[0].columns, second = first + source[1].columns;
  const uint32_t s = (position >= first ? 1u : 0u) + (position >= second ? 1u : 0u);
  position -= s == 0 ? 0 : s == 1 ? first : second;
  const int32_t row = __ldg(source[s].index + int64_t{t} * source[s].columns + position);
  return row < 0 ? kNoEntry : s << kRowBits | static_cast<uint32_t>(row);
}

// Waits for the groups' ReadSegment, as all other threads of the block do; returns the number of
// entries.
__device__ __forceinline__ int AwaitSegment(const KeyList& list) {
  __syncthreads();
  __syncthreads();
  return list.count;
}

// Puts the valid ones of entries begin .. min(end, begin + kSegmentEntries)−1 into the list, in
// order; returns their number. `thread` counts through the groups.
__device__ __forceinline__ int ReadSegment(KeyList& list, int t, int begin, int end, int thread) {
  constexpr int kEach = kSegmentEntries / kLoaderThreads;
  const int warp = thread / 32, lane = thread % 32;
  uint32_t entries[kEach];  // a warp's are neighbours
  int n = 0;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int position = begin + (warp * kEach + i) * 32 + lane;
    const uint32_t entry = Entry(list, t, min(position, end - 1));
    entries[i] = position < end ? entry : kNoEntry;
  }
#pragma unroll
  for (const uint32_t entry : entries) n += __popc(__ballot_sync(0xFFFFFFFFu, entry != kNoEntry));
  if (lane == 0) list.warp_counts[warp] = n;
  __syncthreads();  // also: the list before has been read
  int before = 0;
  for (int w = 0; w < warp; ++w) before += list.warp_counts[w];
  if (thread == kLoaderThreads - 1) list.count = before + n;
#pragma unroll
  for (const uint32_t entry : entries) {
    const uint32_t valid = __ballot_sync(0xFFFFFFFFu, entry != kNoEntry);
    if (entry != kNoEntry) list.entries[before + __popc(valid & ((1u << lane) - 1))] = entry;
    before += __popc(valid);
  }
  __syncthreads();
  return list.count;
}

// Starts the loads of a tile whose `valid` rows `entries` name; `thread` is 0..127 in its group.
__device__ __forceinline__ void LoadKeys(const KeyList& list, const uint32_t* entries, int valid,
                                         int thread, RawKeys& keys) {
  const int row = thread / kRowThreads;
  if (row >= valid) {
#pragma unroll
    for (auto& chunks : keys.chunks) {
#pragma unroll
      for (uint4& chunk : chunks) chunk = make_uint4(0, 0, 0, 0);
    }
    keys.scales = make_uint2(0, 0);
    return;
  }
  const uint32_t flat = entries[row] & ((1u << kRowBits) - 1);
  const DeviceKeySource& source = list.sources[entries[row] >> kRowBits];
  const int shift = source.row_shift;
  const uint32_t r = flat & ((1u << shift) - 1);
  const uint8_t* page = source.base + static_cast<int64_t>(flat >> shift) * source.page_bytes;
  const uint8_t* data = page + kKvRowDataBytes * r;
#pragma unroll
  for (int i = 0; i < kOfFour; ++i) {
    const uint8_t* from = data + 16 * PlaceOf(thread, i);
#pragma unroll
    for (int four = 0; four < kFours; ++four) keys.chunks[four][i] = LoadOnce(from + 64 * four);
  }
  keys.scales = __ldg(reinterpret_cast<const uint2*>(
      page + (static_cast<int64_t>(kKvRowDataBytes) << shift) + kKvRowScaleBytes * r));
}

__device__ __forceinline__ uint4 Widen(uint32_t a, uint32_t b, uint32_t scale) {
  const uint32_t unit[2] = {a, b};
  uint32_t pairs[4];
  Bf16sOfFp8(unit, scale, pairs);
  return make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

// Turns them into bf16 in `tile`.
__device__ __forceinline__ void StoreKeys(const RawKeys& keys, int thread, uint8_t* tile) {
  const int row = thread / kRowThreads;
#pragma unroll
  for (int i = 0; i < kOfFour; ++i) {
    const int place = PlaceOf(thread, i);
    uint8_t* const low = tile + TileOffset(row, 2 * place);
    uint8_t* const high = tile + TileOffset(row, 2 * place + 1);
#pragma unroll
    for (int four = 0; four < kKvTiles; ++four) {
      const uint32_t scale =
          Bf16Scale(((four < 4 ? keys.scales.x : keys.scales.y) >> (8 * (four % 4))) & 0xFFu);
      const uint4 c = keys.chunks[four][i];
      *reinterpret_cast<uint4*>(low + 128 * four) = Widen(c.x, c.y, scale);
      *reinterpret_cast<uint4*>(high + 128 * four) = Widen(c.z, c.w, scale);
    }
#pragma unroll
    for (int four = kKvTiles; four < kFours; ++four) {
      const int chunk = kNopeDim / 8 + 4 * (four - kKvTiles) + place;
      *reinterpret_cast<uint4*>(tile + TileOffset(row, chunk)) = keys.chunks[four][i];
    }
  }
}

}  // namespace tandem::kernels::cuda
