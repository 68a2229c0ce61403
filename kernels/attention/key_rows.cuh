// SPDX-License-Identifier: Apache-2.0
// Which rows a token's lists name, tile by tile: its raw entries are read in segments, and the
// addresses of the valid ones kept in order in shared memory. Internal to kernels/attention.
#pragma once

#include <cstdint>

#include "kernels/attention/sparse_attention.h"
#include "kernels/common/paged_rows.h"
#include "kernels/ptx/async_copy.cuh"
#include "kernels/ptx/named_barrier.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kKeyWarps = 8;  // that read lists and bring keys
inline constexpr int kKeyThreads = 32 * kKeyWarps;
inline constexpr int kTileKeys = 32;
inline constexpr int kSlots = 2;             // of tiles in shared memory
inline constexpr int kSegmentEntries = 768;  // V4-Flash has 640 a token

struct DeviceKeySource {
  const uint8_t* base;   // of the pages
  const int32_t* index;  // [T, columns]
  int32_t columns;       // 0: nothing to read
  int32_t row_shift;     // log2 of the rows of a page
  int32_t page_bytes;
};

// What the key warps share.
struct KeyRows {
  DeviceKeySource sources[kMaxKeySources];
  const uint8_t* rows[kSegmentEntries];
  uint64_t scales[kSegmentEntries];  // of a row, a byte each; on their way when the rows are there
  int32_t warp_counts[kKeyWarps];
};

// Puts the rows that entries begin .. min(end, begin + kSegmentEntries)−1 of token t's lists name,
// counted through the three, into `keys`; returns their number. All key warps call it, and meet at
// `barrier`.
__device__ __forceinline__ int ReadSegment(KeyRows& keys, int t, int begin, int end, int thread,
                                           int barrier) {
  constexpr int kEach = kSegmentEntries / kKeyThreads;
  const int warp = thread / 32, lane = thread % 32;
  const int first = keys.sources[0].columns, second = first + keys.sources[1].columns;
  int32_t rows[kEach];  // a warp's are neighbours
  uint32_t sources[kEach];
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int position = begin + (warp * kEach + i) * 32 + lane, at = min(position, end - 1);
    sources[i] = (at >= first ? 1u : 0u) + (at >= second ? 1u : 0u);
    const DeviceKeySource& source = keys.sources[sources[i]];
    const int column = at - (sources[i] == 0 ? 0 : sources[i] == 1 ? first : second);
    const int32_t row = __ldg(source.index + int64_t{t} * source.columns + column);
    rows[i] = position < end ? row : -1;
  }
  int n = 0;
#pragma unroll
  for (const int32_t row : rows) n += __popc(__ballot_sync(0xFFFFFFFFu, row >= 0));
  if (lane == 0) keys.warp_counts[warp] = n;
  ptx::BarrierWait(barrier, kKeyThreads);  // also: the rows before have been read
  int before = 0, count = 0;
#pragma unroll
  for (int w = 0; w < kKeyWarps; ++w) {
    before += w < warp ? keys.warp_counts[w] : 0;
    count += keys.warp_counts[w];
  }
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const uint32_t valid = __ballot_sync(0xFFFFFFFFu, rows[i] >= 0);
    if (rows[i] >= 0) {
      const DeviceKeySource& source = keys.sources[sources[i]];
      const int place = before + __popc(valid & ((1u << lane) - 1)), shift = source.row_shift;
      const int r = rows[i] & ((1 << shift) - 1);
      const uint8_t* page =
          source.base + static_cast<int64_t>(rows[i] >> shift) * source.page_bytes;
      keys.rows[place] = page + kKvRowDataBytes * r;
      ptx::CopyAsync8(&keys.scales[place],
                      page + (kKvRowDataBytes << shift) + kKvRowScaleBytes * r);
    }
    before += __popc(valid);
  }
  ptx::CopyAsyncCommit();
  ptx::BarrierWait(barrier, kKeyThreads);
  return count;
}

// A job is some heads of a token over one split of its entries; block b has jobs b, b + grid, …
struct KeyJobs {
  int32_t groups;         // that share a token's heads
  int32_t units;          // (token, group): units · splits are the jobs
  int32_t columns;        // of all lists
  int32_t split_columns;  // of one split
  int32_t splits;
};

// What the key warps say of a tile: its number of keys, and
constexpr uint32_t kFirst = 0x100;  // it is its job's first
constexpr uint32_t kLast = 0x200;   // it is its job's last
constexpr uint32_t kEnd = 0x400;    // there is none
__device__ __forceinline__ int KeysOf(uint32_t note) {
  return static_cast<int>(note & 0xFFu);
}

// This block's number, asked for anew as the thread's.
__device__ __forceinline__ int ThisBlock() {
  uint32_t block;
  asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(block));
  return static_cast<int>(block);
}
// This thread's number, asked for anew: kept, it would take a register that the loops over the
// tiles have not, and so would what both kinds of warps make of it.
__device__ __forceinline__ int ThisThread() {
  uint32_t thread;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
  __builtin_assume(thread < 1024);
  return static_cast<int>(thread);
}
// The same among the key warps, the second half of a block.
__device__ __forceinline__ int KeyThread() {
  return ThisThread() % kKeyThreads;
}

// The tiles of all jobs of this block, one after the other. All key warps have the same.
class TileStream {
 public:
  __device__ __forceinline__ TileStream(const KeyJobs& jobs, KeyRows& keys, int barrier)
      : jobs_(jobs),
        keys_(keys),
        barrier_(barrier),
        job_(static_cast<int>(blockIdx.x - gridDim.x)) {}

  // Goes on to the next tile, its rows first() .. of the list, and returns its note.
  __device__ __forceinline__ uint32_t Next() {
    uint32_t note = 0;
    if (next_ >= count_) {
      if ((read_ & kMore) == 0) {
        job_ += static_cast<int>(gridDim.x);
        if (job_ >= jobs_.units * jobs_.splits) return kEnd;
        read_ = 0;
        note = kFirst;
      }
      ReadMore();
    }
    note |= static_cast<uint32_t>(min(kTileKeys, count_ - next_));
    next_ += kTileKeys;
    return next_ >= count_ && (read_ & kMore) == 0 ? note | kLast : note;
  }
  __device__ __forceinline__ int first() const { return next_ - kTileKeys; }
  // Rows of the list, those of tiles to come among them.
  __device__ __forceinline__ int count() const { return count_; }
  // The tile's scales are there.
  __device__ __forceinline__ void AwaitScales() const {
    if (next_ != kTileKeys) return;  // they came with those of the list's first
    ptx::CopyAsyncWait<0>();
    ptx::BarrierWait(barrier_, kKeyThreads);
  }
  __device__ __forceinline__ int job() const { return job_; }

 private:
  // To the next segment of the job's entries that has a row, or to none.
  __device__ __forceinline__ void ReadMore() {
    const int unit = job_ / jobs_.splits, t = unit / jobs_.groups;
    const int begin = (job_ - unit * jobs_.splits) * jobs_.split_columns;
    const int end = min(begin + jobs_.split_columns, jobs_.columns);
    int read = begin + (read_ & ~kMore);
    next_ = count_ = 0;
    for (; count_ == 0 && read < end; read += kSegmentEntries) {
      count_ = ReadSegment(keys_, t, read, end, KeyThread(), barrier_);
    }
    read_ = (read - begin) | (read < end ? kMore : 0);
  }

  const KeyJobs& jobs_;
  KeyRows& keys_;
  int barrier_;
  int job_;
  static constexpr int kMore = 1;
  int read_ = 0;              // entries of the job, whole segments; kMore: there are others
  int next_ = 0, count_ = 0;  // rows of the list that are not in a tile yet
};

}  // namespace tandem::kernels::cuda
