// SPDX-License-Identifier: Apache-2.0
// Goal: the bytes of both page formats. Method: rows land at the offsets that the format names,
// neighbours and padding keep their poison, and reading gives the quantised values back.
#include "kernels/common/paged_rows.h"

#include "kernels/common/quantise.h"
#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

constexpr uint8_t kPoison = 0xA5;

template <int kRows>
void ExpectRowAtItsOffsets(int64_t page, int64_t in_page) {
  Random random(page * 100 + in_page);
  SCOPED_TRACE(random.Trace());
  std::vector<uint8_t> pool(3 * KvPageBytes(kRows), kPoison);
  const KvPages pages{.base = pool.data(), .pages = 3, .rows_per_page = kRows};
  Tensor<Bf16, 1> kv(kHeadDim);
  random.Fill(kv, 3);
  WriteKvRow(kv.values.data(), pages, page * kRows + in_page);

  std::vector<uint8_t> expected(pool.size(), kPoison);
  uint8_t* base = expected.data() + page * KvPageBytes(kRows);
  for (int tile = 0; tile < 7; ++tile) {
    E4M3 codes[64];
    base[576 * kRows + 8 * in_page + tile] = QuantiseE4M3(&kv[64 * tile], 64, codes).bits;
    std::memcpy(base + 576 * in_page + 64 * tile, codes, 64);
  }
  base[576 * kRows + 8 * in_page + 7] = 0;
  std::memcpy(base + 576 * in_page + 448, &kv[448], 128);
  EXPECT_EQ(pool, expected);

  float back[kHeadDim];
  ReadKvRow(pages, page * kRows + in_page, back);
  for (int d = 0; d < 448; ++d) {
    const float scale = ToFloat(Ue8m0{base[576 * kRows + 8 * in_page + d / 64]});
    EXPECT_EQ(back[d], ToFloat(ToE4M3(ToFloat(kv[d]) / scale)) * scale);
    EXPECT_EQ(back[d], RoundBf16(back[d]));
  }
  for (int d = 448; d < kHeadDim; ++d) EXPECT_EQ(back[d], ToFloat(kv[d]));
}

TEST(PagedRowsTest, KvRowsLieInTheTwoRegionsOfTheirPage) {
  for (const int64_t row : {0, 1, 63}) ExpectRowAtItsOffsets<64>(1, row);
  for (const int64_t row : {0, 1}) ExpectRowAtItsOffsets<2>(2, row);
}

TEST(PagedRowsTest, IndexerRowsLieAsNibblesThenScales) {
  Random random(7);
  std::vector<uint8_t> pool(2 * kIndexPageBytes, kPoison);
  Tensor<Bf16, 1> key(kIndexDim);
  random.Fill(key);
  const IndexerPages pages{.base = pool.data(), .pages = 2};
  WriteIndexerRow(key.values.data(), pages, 64 + 5);
  std::vector<uint8_t> expected(pool.size(), kPoison);
  for (int g = 0; g < 4; ++g) {
    expected[4352 + 4096 + 4 * 5 + g] =
        QuantiseE2M1(&key[32 * g], 32, &expected[4352 + 64 * 5 + 16 * g]).bits;
  }
  EXPECT_EQ(pool, expected);
  float back[kIndexDim];
  ReadIndexerRow(pages, 64 + 5, back);
  for (int d = 0; d < kIndexDim; ++d) {
    const float scale = ToFloat(Ue8m0{expected[4352 + 4096 + 4 * 5 + d / 32]});
    EXPECT_EQ(back[d], E2M1ToFloat(ToE2M1(ToFloat(key[d]) / scale)) * scale);
  }
}

TEST(PagedRowsTest, OffsetsPassFourGibibytes) {
  const auto* base = reinterpret_cast<const uint8_t*>(uintptr_t{1} << 20);  // never read
  const ConstKvPages pages{.base = base, .pages = 1 << 20, .rows_per_page = 64};
  const auto offset = pages.data_of(int64_t{200'000} * 64 + 3) - base;
  EXPECT_EQ(offset, int64_t{200'000} * 37'440 + 3 * 576);
}

TEST(PagedRowsTest, CompressedRowsFollowThePageTable) {
  const int32_t pages[] = {9, 4};
  EXPECT_EQ(CompressedRow(pages, 63, 4), 9 * 64 + 63);
  EXPECT_EQ(CompressedRow(pages, 64, 4), 4 * 64);
  EXPECT_EQ(CompressedRow(pages, 1, 128), 9 * 2 + 1);
  EXPECT_EQ(CompressedRow(pages, 2, 128), 4 * 2);
}

}  // namespace
}  // namespace tandem::kernels
