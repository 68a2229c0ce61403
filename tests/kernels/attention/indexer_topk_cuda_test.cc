// SPDX-License-Identifier: Apache-2.0
// Goal: the indexer's choice on a device equals the contract's, from a few rows to 1M tokens.
// Method: fresh random codes and scales; scores in fp64 on the host for some of the queries; a row
// may differ from the K best only if its score is within the fp32 bound of the K-th. Exact where
// every sum is: ties, zeros, infinities. Twice, for the same bits; by both products
// (indexer_math.h), and those against each other.
#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>

#include "kernels/attention/indexer_math.h"
#include "kernels/attention/indexer_topk.h"
#include "kernels/attention/lanes.h"
#include "tests/kernels/attention/sequences.h"
#include "tests/kernels/cuda/device.h"

namespace tandem::kernels {
namespace {

using cuda::IndexerMath;

constexpr int32_t kRowTokens = 4;

// One query's rows by the definition: fp64 scores, and the sum of magnitudes that bounds fp32's.
struct Scores {
  std::vector<double> value, magnitude;
};

// How a random row's scales lie: near each other; nearly always, but rows up to 2^40 apart; far.
enum class Scales { kRegular, kMixed, kWild };

class IndexerTopkCudaTest : public OnDevice, public testing::WithParamInterface<IndexerMath> {
 protected:
  void Make(int64_t pages, int64_t heads, int64_t tokens, Scales scales) {
    pool_.resize(static_cast<size_t>(pages * kIndexPageBytes));
    for (int64_t row = 0; row < pages * kBlockRows; ++row) {
      FillRow(Pool().data_of(row), Pool().scales_of(row), scales);
    }
    heads_ = heads;
    q_.resize(static_cast<size_t>(tokens * heads * kIndexRowBytes));
    q_scale_.resize(static_cast<size_t>(tokens * heads * kIndexRowScales));
    proj_.resize(static_cast<size_t>(tokens * heads));
    for (int64_t i = 0; i < tokens * heads; ++i) {
      FillRow(&q_[i * kIndexRowBytes], &q_scale_[i * kIndexRowScales], scales);
      proj_[i] = random_.Normal();
    }
  }
  void FillRow(uint8_t* codes, uint8_t* scales, Scales kind) {
    for (int i = 0; i < kIndexRowBytes; i += 8) {
      const uint64_t bits = Bits();
      std::memcpy(codes + i, &bits, 8);
    }
    const uint64_t bits = Bits();
    const bool mixed = kind == Scales::kMixed;
    const bool wild = kind == Scales::kWild || (mixed && Bits() % 64 == 0);
    const auto base = static_cast<int>(118 + (mixed ? Bits() % 40 : bits % 4));
    for (int g = 0; g < kIndexRowScales; ++g) {
      const auto more = static_cast<int>((bits >> (8 + 8 * g)) % (wild ? 13 : 4));
      scales[g] = static_cast<uint8_t>(base + more);
    }
    if (mixed && Bits() % 64 == 0) {  // a group of zeros
      std::fill_n(codes + kIndexRowBytes / 4, kIndexRowBytes / 4, uint8_t{0});
      scales[1] = 0;
    }
  }
  uint64_t Bits() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    return state_ ^= state_ << 17;
  }
  IndexerPages Pool() {
    return {.base = pool_.data(), .pages = static_cast<int64_t>(pool_.size()) / kIndexPageBytes};
  }
  // A shuffled page table of the pool's pages from `first` on, for `rows` rows.
  std::vector<int32_t> Table(int64_t rows, int32_t first = 0) {
    std::vector<int32_t> table(static_cast<size_t>((rows + kBlockRows) / kBlockRows));
    std::iota(table.begin(), table.end(), first);
    for (size_t i = table.size() - 1; i > 0; --i) {
      std::swap(table[i], table[static_cast<size_t>(random_.Below(static_cast<int64_t>(i) + 1))]);
    }
    return table;
  }

  // Runs the operation on the device, twice; returns rows[T, K].
  Tensor<int32_t, 2> Run(const Sequences& steps, int64_t topk) {
    return Run(steps, topk, [](const IndexerTopkArgs& args, Stream& stream) {
      cuda::IndexerTopk(args, GetParam(), stream);
    });
  }
  template <typename Operation>
  Tensor<int32_t, 2> Run(const Sequences& steps, int64_t topk, const Operation& operation) {
    const Batch& host_batch = steps.batch;
    const int64_t tokens = host_batch.tokens();
    const DeviceBytes keys(static_cast<int64_t>(pool_.size()));
    const_cast<DeviceBytes&>(keys).Write(pool_.data(), keys.size());
    const auto copy = [this](const auto& view) {
      const auto bytes = static_cast<int64_t>(view.size() * sizeof(*view.data));
      held_.push_back(std::make_unique<DeviceBytes>(bytes));
      held_.back()->Write(view.data, bytes);
      auto moved = view;
      moved.data = reinterpret_cast<decltype(moved.data)>(held_.back()->data());
      return moved;
    };
    Tensor<int32_t, 2> rows(tokens, topk), again(tokens, topk);
    const DeviceTensor d_rows(rows.Poison());
    const DeviceTensor d_again(again.Poison());
    IndexerTopkArgs args = Args(steps, topk);
    args.q = copy(args.q);
    args.q_scale = copy(args.q_scale);
    args.proj = copy(args.proj);
    args.batch = {.positions = copy(host_batch.positions),
                  .sequence = copy(host_batch.sequence),
                  .begin = copy(host_batch.begin),
                  .slot = copy(host_batch.slot),
                  .pages = copy(host_batch.pages)};
    args.keys.base = keys.data();
    args.rows = d_rows;
    operation(args, stream);
    args.rows = d_again;
    operation(args, stream);
    EXPECT_TRUE(Synchronize(stream)) << stream.error();
    Tensor<int32_t, 2> out = d_rows.Fetch();
    EXPECT_EQ(out.values, d_again.Fetch().values);
    held_.clear();
    return out;
  }
  // Host views; without rows.
  IndexerTopkArgs Args(const Sequences& steps, int64_t) {
    const int64_t tokens = steps.batch.tokens();
    return {.q = {q_.data(), {tokens, heads_, kIndexRowBytes}},
            .q_scale = {reinterpret_cast<const Ue8m0*>(q_scale_.data()),
                        {tokens, heads_, kIndexRowScales}},
            .proj = {proj_.data(), {tokens, heads_}},
            .weight_scale = 1 / std::sqrt(128.0f * static_cast<float>(heads_)),
            .batch = steps.batch,
            .keys = Pool(),
            .rows = {}};
  }

  Scores Score(const IndexerTopkArgs& args, int64_t t, bool exact_in_float) {
    std::vector<float> q(static_cast<size_t>(heads_ * kIndexDim));
    std::vector<double> w(static_cast<size_t>(heads_));
    for (int64_t h = 0; h < heads_; ++h) {
      const int64_t row = t * heads_ + h;
      ReadE2M1(&q_[row * kIndexRowBytes], &q_scale_[row * kIndexRowScales], &q[h * kIndexDim]);
      w[h] = RoundBf16(RoundBf16(proj_[row]) * args.weight_scale);
    }
    const int32_t* pages = args.batch.pages.row(args.batch.sequence[t]);
    const int64_t n = (args.batch.positions[t] + 1) / kRowTokens;
    Scores scores{std::vector<double>(n), std::vector<double>(n)};
    float key[kIndexDim];
    for (int64_t j = 0; j < n; ++j) {
      ReadIndexerRow(args.keys, CompressedRow(pages, j, kRowTokens), key);
      for (int64_t h = 0; h < heads_; ++h) {
        double dot = 0;
        if (exact_in_float) {
          dot = Dot(&q[h * kIndexDim], key, kIndexDim);
        } else {
          for (int i = 0; i < kIndexDim; ++i)
            dot += static_cast<double>(q[h * kIndexDim + i]) * key[i];
        }
        const double term = dot <= 0 ? 0.0 : dot * w[h];
        scores.value[j] += term;
        scores.magnitude[j] += std::fabs(term);
      }
      if (std::isnan(scores.value[j])) scores.value[j] = -INFINITY;
    }
    return scores;
  }

  // The device's rows of query t against the definition; `slack` in units of 2^-24 of magnitude.
  void Check(const IndexerTopkArgs& args, const Tensor<int32_t, 2>& rows, int64_t t, Scales scales,
             double slack = 16) {
    SCOPED_TRACE("query " + std::to_string(t) + " at " + std::to_string(args.batch.positions[t]));
    const Scores scores = Score(args, t, scales == Scales::kRegular);
    const auto n = static_cast<int64_t>(scores.value.size()), topk = rows.view.shape[1];
    const int64_t kept = std::min(n, topk);
    std::vector<int32_t> order(static_cast<size_t>(n));
    std::iota(order.begin(), order.end(), 0);
    const auto better = [&](int32_t a, int32_t b) {
      const auto x = static_cast<float>(scores.value[a]), y = static_cast<float>(scores.value[b]);
      return x != y ? x > y : a < b;
    };
    if (kept < n) std::nth_element(order.begin(), order.begin() + kept - 1, order.end(), better);
    const double least = kept > 0 ? scores.value[order[kept - 1]] : 0;
    const double bound = kept > 0 ? scores.magnitude[order[kept - 1]] : 0;
    std::sort(order.begin(), order.begin() + kept);
    std::vector<int32_t> chosen = Ordinals(args, rows, t);
    ASSERT_EQ(static_cast<int64_t>(chosen.size()), kept);
    ASSERT_TRUE(std::is_sorted(chosen.begin(), chosen.end()));
    ASSERT_EQ(std::adjacent_find(chosen.begin(), chosen.end()), chosen.end());
    std::vector<int32_t> different;
    std::set_symmetric_difference(order.begin(), order.begin() + kept, chosen.begin(), chosen.end(),
                                  std::back_inserter(different));
    for (const int32_t j : different) {
      ASSERT_LE(std::fabs(scores.value[j] - least), slack * 0x1p-24 * (scores.magnitude[j] + bound))
          << "row " << j << " of " << n << ": " << scores.value[j] << ", K-th " << least;
    }
    differences_ += static_cast<int64_t>(different.size());
  }
  std::vector<int32_t> Ordinals(const IndexerTopkArgs& args, const Tensor<int32_t, 2>& rows,
                                int64_t t) {
    const TensorView<const int32_t, 2>& pages = args.batch.pages;
    const int32_t* table = pages.row(args.batch.sequence[t]);
    std::map<int32_t, int32_t> ordinal;
    for (int32_t i = 0; i < pages.shape[1]; ++i) ordinal[table[i]] = i;
    std::vector<int32_t> out;
    bool ended = false;
    for (int64_t i = 0; i < rows.view.shape[1]; ++i) {
      const int32_t row = rows.view.row(t)[i];
      ended = ended || row < 0;
      if (ended) {
        EXPECT_EQ(row, -1) << i;
        continue;
      }
      EXPECT_EQ(ordinal.count(row / kBlockRows), 1u) << row;
      out.push_back(ordinal[row / kBlockRows] * kBlockRows + row % kBlockRows);
    }
    return out;
  }

  static Sequence At(int64_t rows, std::vector<int32_t> table, int32_t tokens = 1) {
    return {.slot = 0,
            .first = static_cast<int32_t>(kRowTokens * rows - 1 + 2),  // two tokens of the next row
            .tokens = tokens,
            .pages = std::move(table)};
  }

  Random random_{std::random_device{}()};
  uint64_t state_ = static_cast<uint64_t>(random_.Below(int64_t{1} << 62)) | 1;
  std::vector<uint8_t> pool_, q_, q_scale_;
  std::vector<float> proj_;
  int64_t heads_ = 0;
  int64_t differences_ = 0;
  std::vector<std::unique_ptr<DeviceBytes>> held_;
};

TEST_P(IndexerTopkCudaTest, EqualsTheDefinitionAtEveryEdge) {
  SCOPED_TRACE(random_.Trace());
  for (const int64_t heads : {1, 4, 16, 17, 64}) {
    Make(33, heads, 1, Scales::kRegular);
    for (const int64_t topk : {1, 8, 32, 512}) {
      for (const int64_t rows :
           {0, 1, 7, 8, 9, 31, 32, 33, 63, 64, 65, 127, 513, 700, 1000, 2047, 2048}) {
        const Sequences steps({At(rows, Table(rows))});
        Check(Args(steps, topk), Run(steps, topk), 0, Scales::kRegular);
      }
    }
  }
}

TEST_P(IndexerTopkCudaTest, EqualsTheDefinitionUnderWildScales) {
  SCOPED_TRACE(random_.Trace());
  for (const int64_t heads : {4, 64}) {
    Make(24, heads, 3, Scales::kWild);
    // A row of zeros, a group of zeros with the least scale, rows that are no number.
    std::fill_n(Pool().data_of(70), kIndexRowBytes, uint8_t{0x80});
    std::fill_n(Pool().scales_of(70), kIndexRowScales, uint8_t{1});
    std::fill_n(Pool().data_of(71), kIndexRowBytes / 4, uint8_t{0});
    Pool().scales_of(71)[0] = 1;
    Pool().scales_of(130)[2] = 0xFF;
    std::fill_n(Pool().scales_of(131), kIndexRowScales, uint8_t{0xFF});
    const Sequences steps({At(1500, Table(1500)), At(900, Table(900)), At(40, Table(40))});
    const auto rows = Run(steps, 512);
    for (int t = 0; t < 3; ++t) Check(Args(steps, 512), rows, t, Scales::kWild, 256);
  }
}

TEST_P(IndexerTopkCudaTest, EqualsTheDefinitionWhereFewRowsAreWild) {
  SCOPED_TRACE(random_.Trace());
  for (const int64_t pages : {32, 70, 300}) {
    Make(pages, 64, 3, Scales::kMixed);
    for (int64_t i = 0; i < 2 * heads_; ++i) {  // of the third query some heads are wild
      FillRow(&q_[i * kIndexRowBytes], &q_scale_[i * kIndexRowScales], Scales::kRegular);
    }
    const int64_t most = pages * kBlockRows;
    const Sequences steps(
        {At(most - 1, Table(most - 1)), At(most - 77, Table(most - 77)), At(900, Table(900))});
    const auto rows = Run(steps, 512);
    for (int t = 0; t < 3; ++t) Check(Args(steps, 512), rows, t, Scales::kMixed, 256);
  }
}

TEST_P(IndexerTopkCudaTest, NotANumberIsTheLeast) {
  SCOPED_TRACE(random_.Trace());
  Make(4, 4, 2, Scales::kRegular);
  proj_[1] = std::numeric_limits<float>::quiet_NaN();  // of query 0: every score
  q_scale_[4 * 4 + 2] = 0xFF;                          // of query 1 too
  const Sequences steps({At(100, Table(100)), At(100, Table(100))});
  const auto rows = Run(steps, 8);
  for (int t = 0; t < 2; ++t) {
    EXPECT_EQ(Ordinals(Args(steps, 8), rows, t), (std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6, 7}));
  }
}

TEST_P(IndexerTopkCudaTest, TiesGoToTheLowestRows) {
  SCOPED_TRACE(random_.Trace());
  // Three kinds of rows and whole weights: sums are exact, and most rows tie. The wider table takes
  // the selection that is split over blocks; its ties overflow the list of candidates.
  for (const int64_t pages : {20, 400}) {
    const int64_t rows = pages * kBlockRows - 21;
    Make(pages, 4, 1, Scales::kRegular);
    for (int64_t row = 0; row < pages * kBlockRows; ++row) {
      const int64_t kind = random_.Below(3);
      std::memcpy(Pool().data_of(row), Pool().data_of(kind), kIndexRowBytes);
      std::memcpy(Pool().scales_of(row), Pool().scales_of(kind), kIndexRowScales);
    }
    for (const float sign : {1.0f, -1.0f, 0.0f}) {
      std::fill(proj_.begin(), proj_.end(), sign);
      for (const int64_t topk : {1, 500, 512, 1024}) {
        const Sequences steps({At(rows, Table(rows))});
        Check(Args(steps, topk), Run(steps, topk), 0, Scales::kRegular, 0);
      }
    }
  }
}

TEST_P(IndexerTopkCudaTest, ChunksOfAPrefillShareKeys) {
  SCOPED_TRACE(random_.Trace());
  constexpr int32_t kTokens = 300;
  Make(40, 64, kTokens + 1, Scales::kRegular);
  const Sequences steps({At(2200, Table(2400), kTokens), At(2000, Table(2000))});
  const auto rows = Run(steps, 512);
  for (const int64_t t : {0, 1, 2, 3, 150, kTokens - 1, kTokens}) {
    Check(Args(steps, 512), rows, t, Scales::kRegular);
  }
}

TEST_P(IndexerTopkCudaTest, HoldsToAMillionTokens) {
  SCOPED_TRACE(random_.Trace());
  Make(4096, 64, 1, Scales::kRegular);
  for (const int64_t rows : {513, 8192, 65536, 262143}) {
    for (const int64_t topk : {512, 1024}) {
      if (rows > 100000 && topk == 512) continue;  // slow on the host
      const Sequences steps({At(rows, Table(rows))});
      Check(Args(steps, topk), Run(steps, topk), 0, Scales::kRegular);
    }
  }
  RecordProperty("rows_within_rounding", static_cast<int>(differences_));
}

TEST_P(IndexerTopkCudaTest, ServesABatchOfManyLengths) {
  SCOPED_TRACE(random_.Trace());
  constexpr int32_t kSequences = 64;
  Make(1024, 64, kSequences, Scales::kRegular);
  std::vector<Sequence> list;
  for (int i = 0; i < kSequences; ++i) {
    const int64_t rows = i % 8 == 0 ? random_.Below(600) : random_.Below(65536);
    list.push_back(At(rows, Table(i == 5 ? 65500 : rows)));
  }
  const Sequences steps(list);
  const auto rows = Run(steps, 512);
  for (const int64_t t : {0, 1, 7, 8, 31, 63}) Check(Args(steps, 512), rows, t, Scales::kRegular);
}

TEST_P(IndexerTopkCudaTest, ChoosesAlikeInOneLaunchAndInThree) {
  SCOPED_TRACE(random_.Trace());
  Make(32, 64, 65, Scales::kWild);
  std::vector<Sequence> list;
  for (int i = 0; i < 65; ++i) {
    const int64_t rows = i == 0 ? 2047 : random_.Below(2048);
    list.push_back(At(rows, Table(rows)));
  }
  const Sequences many(list);
  const auto rows = Run(many, 512);
  list.pop_back();
  const Sequences few(list);
  const auto again = Run(few, 512);
  for (const int64_t t : {0, 1, 63}) Check(Args(few, 512), again, t, Scales::kWild, 256);
  EXPECT_TRUE(std::equal(again.values.begin(), again.values.end(), rows.values.begin()));
}

TEST_P(IndexerTopkCudaTest, TheTableChoosesAlikeToTheRow) {  // sums are exact in both
  SCOPED_TRACE(random_.Trace());
  for (const int64_t pages : {32, 300}) {
    Make(pages, 64, 2, Scales::kRegular);
    const int64_t rows = pages * kBlockRows - 5;
    const Sequences steps({At(rows, Table(rows)), At(rows - 70, Table(rows - 70))});
    for (const int64_t topk : {1, 2, 3, 5, 10, 30, 100, 300, 512, 1000, 2000}) {
      EXPECT_EQ(Run(steps, topk).values, Run(steps, topk, cuda.indexer_topk).values) << topk;
    }
  }
}

constexpr IndexerMath kProducts[] = {IndexerMath::kBytes, IndexerMath::kMx};
INSTANTIATE_TEST_SUITE_P(BytesMx, IndexerTopkCudaTest, testing::ValuesIn(kProducts));

}  // namespace
}  // namespace tandem::kernels
