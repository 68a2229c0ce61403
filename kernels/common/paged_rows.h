// SPDX-License-Identifier: Apache-2.0
// The two row formats of the cache and their page geometry.
//
// KV rows, 584 bytes each, in pages of B rows that are split in two regions (never 584 contiguous
// bytes):
//   [0, 576·B)        row r at 576·r: 448 x E4M3 (dims 0..447) | 64 x bf16 (dims 448..511, already
//   rotated) [576·B, 584·B)    row r at 576·B + 8·r: 7 x UE8M0 (one a tile of 64 dims) | 1 zero
//   byte [584·B, page)     padding; page = 576·ceil(584·B / 576) bytes: 37,440 for B = 64, 1,728
//   for B = 2
// Indexer rows: 64 a page of 4,352 bytes: row r has 64 bytes of E2M1 at 64·r (low nibble = even
// dim) and 4 UE8M0 bytes (one a group of 32 dims) at 4,096 + 4·r.
//
// A row is named by one flat int32 index, page · B + row; -1 names none. Offsets are 64-bit: pools
// pass 4 GiB. Views borrow; functions are pure and thread-safe as far as their rows are distinct.
// Source: reference/deepseek_v4.md 4.3, 4.4, 4.6; kernels/common/README.md.
#pragma once

#include <cstdint>

#include "kernels/common/dtype.h"

namespace tandem::kernels {

inline constexpr int kHeadDim = 512;
inline constexpr int kRopeDim = 64;
inline constexpr int kNopeDim = kHeadDim - kRopeDim;
inline constexpr int kKvTile = 64;
inline constexpr int kKvTiles = kNopeDim / kKvTile;
inline constexpr int kKvRowDataBytes = kNopeDim + 2 * kRopeDim;
inline constexpr int kKvRowScaleBytes = 8;
inline constexpr int kKvRowBytes = kKvRowDataBytes + kKvRowScaleBytes;

inline constexpr int kIndexDim = 128;
inline constexpr int kIndexGroup = 32;
inline constexpr int kIndexRowBytes = kIndexDim / 2;
inline constexpr int kIndexRowScales = kIndexDim / kIndexGroup;

inline constexpr int kPageTokens = 256;  // tokens under one page id, in every layer
inline constexpr int kWindow = 128;      // ring rows of a slot
inline constexpr int kBlockRows = 64;    // rows a block of the ring, of the chunk and of a CSA page
inline constexpr int kIndexPageBytes = kBlockRows * (kIndexRowBytes + kIndexRowScales);

TANDEM_HOST_DEVICE constexpr int64_t KvPageBytes(int64_t rows) {
  return kKvRowDataBytes * ((kKvRowBytes * rows + kKvRowDataBytes - 1) / kKvRowDataBytes);
}
static_assert(KvPageBytes(64) == 37440 && KvPageBytes(2) == 1728 && kIndexPageBytes == 4352);

// Pages of KV rows, contiguous at `base`. Byte = uint8_t or const uint8_t.
template <typename Byte>
struct BasicKvPages {
  Byte* base = nullptr;
  int64_t pages = 0;
  int64_t rows_per_page = kBlockRows;

  TANDEM_HOST_DEVICE int64_t rows() const { return pages * rows_per_page; }
  TANDEM_HOST_DEVICE Byte* data_of(int64_t row) const {
    return page_of(row) + kKvRowDataBytes * (row % rows_per_page);
  }
  TANDEM_HOST_DEVICE Byte* scales_of(int64_t row) const {
    return page_of(row) + kKvRowDataBytes * rows_per_page +
           kKvRowScaleBytes * (row % rows_per_page);
  }
  operator BasicKvPages<const uint8_t>() const { return {base, pages, rows_per_page}; }  // NOLINT

 private:
  TANDEM_HOST_DEVICE Byte* page_of(int64_t row) const {
    return base + KvPageBytes(rows_per_page) * (row / rows_per_page);
  }
};
using KvPages = BasicKvPages<uint8_t>;
using ConstKvPages = BasicKvPages<const uint8_t>;

// Pages of indexer rows, contiguous at `base`.
template <typename Byte>
struct BasicIndexerPages {
  Byte* base = nullptr;
  int64_t pages = 0;

  TANDEM_HOST_DEVICE int64_t rows() const { return pages * kBlockRows; }
  TANDEM_HOST_DEVICE Byte* data_of(int64_t row) const {
    return base + kIndexPageBytes * (row / kBlockRows) + kIndexRowBytes * (row % kBlockRows);
  }
  TANDEM_HOST_DEVICE Byte* scales_of(int64_t row) const {
    return base + kIndexPageBytes * (row / kBlockRows) + kIndexRowBytes * kBlockRows +
           kIndexRowScales * (row % kBlockRows);
  }
  operator BasicIndexerPages<const uint8_t>() const { return {base, pages}; }  // NOLINT
};
using IndexerPages = BasicIndexerPages<uint8_t>;
using ConstIndexerPages = BasicIndexerPages<const uint8_t>;

// Flat index of compressed row w of a sequence whose page ids are `pages`; `ratio` tokens make one
// row.
TANDEM_HOST_DEVICE inline int32_t CompressedRow(const int32_t* pages, int64_t w, int64_t ratio) {
  const int64_t rows_per_page = kPageTokens / ratio;
  return static_cast<int32_t>(pages[w / rows_per_page] * rows_per_page + w % rows_per_page);
}

// Writes kv[512] (bf16, normed and rotated): dims 0..447 to E4M3 in tiles of 64, dims 448..511 as
// they are.
void WriteKvRow(const Bf16* kv, const KvPages& pages, int64_t row);
// Reads it back as fp32 (every value is exact in bf16).
void ReadKvRow(const ConstKvPages& pages, int64_t row, float* kv);

// Writes key[128] (bf16, after Hadamard) as E2M1 in groups of 32.
void WriteIndexerRow(const Bf16* key, const IndexerPages& pages, int64_t row);
void ReadIndexerRow(const ConstIndexerPages& pages, int64_t row, float* key);
// The same of a query, which is not paged: 64 bytes and 4 scales.
void ReadE2M1(const uint8_t* packed, const uint8_t* scales, float* values);

}  // namespace tandem::kernels
