// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/paged_rows.h"

#include <cstring>

#include "kernels/common/quantise.h"

namespace tandem::kernels {

void WriteKvRow(const Bf16* kv, const KvPages& pages, int64_t row) {
  uint8_t* data = pages.data_of(row);
  uint8_t* scales = pages.scales_of(row);
  E4M3 codes[kKvTile];
  for (int tile = 0; tile < kKvTiles; ++tile) {
    scales[tile] = QuantiseE4M3(kv + tile * kKvTile, kKvTile, codes).bits;
    std::memcpy(data + tile * kKvTile, codes, kKvTile);
  }
  scales[kKvTiles] = 0;
  std::memcpy(data + kNopeDim, kv + kNopeDim, kRopeDim * sizeof(Bf16));
}

void ReadKvRow(const ConstKvPages& pages, int64_t row, float* kv) {
  const uint8_t* data = pages.data_of(row);
  const uint8_t* scales = pages.scales_of(row);
  for (int tile = 0; tile < kKvTiles; ++tile) {
    const float scale = ToFloat(Ue8m0{scales[tile]});
    for (int i = tile * kKvTile; i < (tile + 1) * kKvTile; ++i) {
      kv[i] = ToFloat(E4M3{data[i]}) * scale;
    }
  }
  Bf16 rope[kRopeDim];
  std::memcpy(rope, data + kNopeDim, sizeof(rope));
  for (int i = 0; i < kRopeDim; ++i) kv[kNopeDim + i] = ToFloat(rope[i]);
}

void WriteIndexerRow(const Bf16* key, const IndexerPages& pages, int64_t row) {
  for (int group = 0; group < kIndexRowScales; ++group) {
    uint8_t* codes = pages.data_of(row) + group * kIndexGroup / 2;
    pages.scales_of(row)[group] = QuantiseE2M1(key + group * kIndexGroup, kIndexGroup, codes).bits;
  }
}

void ReadIndexerRow(const ConstIndexerPages& pages, int64_t row, float* key) {
  ReadE2M1(pages.data_of(row), pages.scales_of(row), key);
}

void ReadE2M1(const uint8_t* packed, const uint8_t* scales, float* values) {
  for (int i = 0; i < kIndexRowBytes; ++i) {
    const float scale = ToFloat(Ue8m0{scales[2 * i / kIndexGroup]});
    values[2 * i] = E2M1ToFloat(packed[i] & 15) * scale;
    values[2 * i + 1] = E2M1ToFloat(packed[i] >> 4) * scale;
  }
}

}  // namespace tandem::kernels
