// SPDX-License-Identifier: Apache-2.0
// How four warps of a block bring the keys that one token's lists name into shared memory, as
// tiles of 32 rows of bf16.
//
// A tile is [32 rows][64 chunks of 16 bytes]; chunk c of row r stands at place c ^ (r % 8), so that
// eight rows' same chunk (ldmatrix) and four threads' neighbouring chunks of two rows (the stores
// here) lie in different banks. Rows beyond the list's end are zero. The lists are read in segments
// of raw entries, of which the valid ones are kept in order; a tile does not cross a segment's end.
// The bytes of a row wait in registers: a tile's loads are under way while earlier ones are turned
// into bf16. Internal to kernels/attention.
#pragma once

#include <cstdint>

#include "kernels/attention/sparse_attention.h"
#include "kernels/common/paged_rows.h"
#include "kernels/gemm/dequant.cuh"
#include "kernels/ptx/named_barrier.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kTileKeys = 32;
inline constexpr int kTileRowBytes = 2 * kHeadDim;
inline constexpr int kTileBytes = kTileKeys * kTileRowBytes;
inline constexpr int kLoaderThreads = 128;
inline constexpr int kRowThreads = kLoaderThreads / kTileKeys;  // that share a row
inline constexpr int kSegmentEntries = 1024;
inline constexpr int kEntriesPerThread = kSegmentEntries / kLoaderThreads;

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

// What the four warps share.
struct KeyList {
  DeviceKeySource sources[kMaxKeySources];
  uint64_t entries[kSegmentEntries];  // source << 32 | flat row
  int32_t warp_counts[kLoaderThreads / 32];
};

// A thread's part of a tile: chunks j, j + 4, … of a row, so that its i-th one has scale byte i.
struct RawKeys {
  uint4 chunks[9];  // 7 of E4M3, 2 of bf16
  uint2 scales;
  int valid;  // rows of the tile; 0: the list has ended
};

__device__ __forceinline__ uint4 LoadOnce(const uint8_t* address) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(address));
  return v;
}

// One thread of the four warps; all call the same functions in the same order. `thread` is 0..127.
class KeyTiles {
 public:
  // Raw entries begin .. end−1 of token t's lists, counted through the three.
  __device__ __forceinline__ KeyTiles(const DeviceKeySource* sources, int64_t t, int begin, int end,
                                      KeyList* list, int thread, int barrier)
      : list_(list), t_(t), position_(begin), end_(end), thread_(thread), barrier_(barrier) {
    if (thread < kMaxKeySources) list->sources[thread] = sources[thread];
    ptx::BarrierWait(barrier, kLoaderThreads);
  }

  // Starts the loads of the next tile.
  __device__ __forceinline__ void Load(RawKeys& keys) {
    keys.valid = 0;
    while (next_ >= count_) {
      if (position_ >= end_) return;
      ReadSegment();
    }
    keys.valid = min(kTileKeys, count_ - next_);
    const int row = thread_ / kRowThreads;
    if (row < keys.valid) {
      LoadRow(list_->entries[next_ + row], keys);
    } else {
#pragma unroll
      for (uint4& chunk : keys.chunks) chunk = make_uint4(0, 0, 0, 0);
      keys.scales = make_uint2(0, 0);
    }
    next_ += kTileKeys;
  }

  // Turns them into bf16 in `tile`.
  __device__ __forceinline__ void Store(const RawKeys& keys, uint8_t* tile) const {
    const int row = thread_ / kRowThreads, j = thread_ % kRowThreads;
#pragma unroll
    for (int i = 0; i < kKvTiles; ++i) {
      const uint32_t scale =
          Bf16Scale(((i < 4 ? keys.scales.x : keys.scales.y) >> (8 * (i % 4))) & 0xFFu);
      const uint4 c = keys.chunks[i];
      uint4 low, high;
      Widen(c.x, c.y, scale, low);
      Widen(c.z, c.w, scale, high);
      *reinterpret_cast<uint4*>(tile + TileOffset(row, 8 * i + 2 * j)) = low;
      *reinterpret_cast<uint4*>(tile + TileOffset(row, 8 * i + 2 * j + 1)) = high;
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      *reinterpret_cast<uint4*>(tile + TileOffset(row, 8 * kKvTiles + 4 * i + j)) =
          keys.chunks[kKvTiles + i];
    }
  }

 private:
  static __device__ __forceinline__ void Widen(uint32_t a, uint32_t b, uint32_t scale, uint4& out) {
    const uint32_t unit[2] = {a, b};
    uint32_t pairs[4];
    Bf16sOfFp8(unit, scale, pairs);
    out = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
  }

  __device__ __forceinline__ void LoadRow(uint64_t entry, RawKeys& keys) const {
    const uint32_t flat = static_cast<uint32_t>(entry);
    const DeviceKeySource& source = list_->sources[entry >> 32];
    const int shift = source.row_shift;
    const uint32_t r = flat & ((1u << shift) - 1);
    const uint8_t* page = source.base + static_cast<int64_t>(flat >> shift) * source.page_bytes;
    const uint8_t* data = page + kKvRowDataBytes * r + 16 * (thread_ % kRowThreads);
#pragma unroll
    for (int i = 0; i < 9; ++i) keys.chunks[i] = LoadOnce(data + 16 * kRowThreads * i);
    keys.scales = __ldg(reinterpret_cast<const uint2*>(
        page + (static_cast<int64_t>(kKvRowDataBytes) << shift) + kKvRowScaleBytes * r));
  }

  // The entry at a raw position: source << 32 | row; all ones if there is none.
  __device__ __forceinline__ uint64_t Entry(int position) const {
    if (position >= end_) return ~uint64_t{0};
    int s = 0;
    const DeviceKeySource* source = list_->sources;
    for (; s < kMaxKeySources - 1 && position >= source->columns; ++s) {
      position -= (source++)->columns;
    }
    const int32_t row = __ldg(source->index + t_ * source->columns + position);
    return row < 0 ? ~uint64_t{0} : static_cast<uint64_t>(s) << 32 | static_cast<uint32_t>(row);
  }

  // The valid entries of the next segment, in order, to the list. A warp owns neighbours.
  __device__ __forceinline__ void ReadSegment() {
    const int warp = thread_ / 32, lane = thread_ % 32;
    const int first = position_ + warp * 32 * kEntriesPerThread + lane;
    uint64_t entries[kEntriesPerThread];
#pragma unroll
    for (int k = 0; k < kEntriesPerThread; ++k) entries[k] = Entry(first + 32 * k);
    int n = 0;
#pragma unroll
    for (const uint64_t entry : entries) n += __popc(__ballot_sync(0xFFFFFFFFu, ~entry != 0));
    ptx::BarrierWait(barrier_, kLoaderThreads);  // the list before has been read
    if (lane == 0) list_->warp_counts[warp] = n;
    ptx::BarrierWait(barrier_, kLoaderThreads);
    int before = 0;
    count_ = 0;
#pragma unroll
    for (int w = 0; w < kLoaderThreads / 32; ++w) {
      if (w == warp) before = count_;
      count_ += list_->warp_counts[w];
    }
#pragma unroll
    for (const uint64_t entry : entries) {
      const uint32_t valid = __ballot_sync(0xFFFFFFFFu, ~entry != 0);
      if (~entry != 0) list_->entries[before + __popc(valid & ((1u << lane) - 1))] = entry;
      before += __popc(valid);
    }
    ptx::BarrierWait(barrier_, kLoaderThreads);
    next_ = 0;
    position_ += kSegmentEntries;
  }

  KeyList* list_;
  int64_t t_;
  int position_;  // the next raw entry
  int end_;
  int thread_;
  int barrier_;
  int count_ = 0;  // valid entries of the segment
  int next_ = 0;   // the first one of the next tile
};

}  // namespace tandem::kernels::cuda
