// SPDX-License-Identifier: Apache-2.0
// Goal: an all-reduce that moves wrong data never looks right to a trial: what is in another place,
// of another rank or of a call before is found in any vector of sixteen bytes. Method: sums made on
// the host, right but for one thing.
#include "services/runtime/parallel/trial_pattern.h"

#include <algorithm>
#include <functional>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using kernels::Bf16;
using Parts = std::vector<std::vector<Bf16>>;

constexpr int64_t kVector = 8;
constexpr TrialCall kTwo = {.ranks = 2, .tokens = 16, .dim = 64, .round = 1};
constexpr TrialCall kEight = {.ranks = 8, .tokens = 16, .dim = 64, .round = 1};

Parts PartsOf(const TrialCall& call) {
  Parts parts;
  for (int r = 0; r < call.ranks; ++r) parts.push_back(TrialPart(call, r));
  return parts;
}

// Rounded at every step, as NCCL does.
std::vector<Bf16> SumOf(const Parts& parts) {
  std::vector<Bf16> sum = parts[0];
  for (size_t r = 1; r < parts.size(); ++r) {
    for (size_t i = 0; i < sum.size(); ++i) {
      sum[i] = kernels::ToBf16(kernels::ToFloat(sum[i]) + kernels::ToFloat(parts[r][i]));
    }
  }
  return sum;
}

void CopyVector(const std::vector<Bf16>& from, int64_t from_vector, std::vector<Bf16>& to,
                int64_t to_vector) {
  std::copy_n(from.begin() + from_vector * kVector, kVector, to.begin() + to_vector * kVector);
}

// What goes wrong with vector `v` of the call.
using Fault = std::function<std::vector<Bf16>(const TrialCall& call, int64_t v)>;

void ExpectFoundEverywhere(const Fault& fault) {
  for (const TrialCall& call : {kTwo, kEight}) {
    for (int64_t v = 0; v < call.tokens * call.dim / kVector; ++v) {
      const absl::Status found = CheckTrialSum(call, fault(call, v));
      EXPECT_EQ(found.code(), absl::StatusCode::kDataLoss) << call.ranks << " ranks, vector " << v;
    }
  }
}

TEST(TrialPatternTest, TheSumIsExactInAnyOrder) {
  for (int ranks = 1; ranks <= 8; ++ranks) {
    const TrialCall call = {.ranks = ranks, .tokens = 33, .dim = 4096, .round = 0};
    Parts parts = PartsOf(call);
    EXPECT_TRUE(CheckTrialSum(call, SumOf(parts)).ok()) << ranks;
    std::reverse(parts.begin(), parts.end());
    EXPECT_TRUE(CheckTrialSum(call, SumOf(parts)).ok()) << ranks;
  }
}

TEST(TrialPatternTest, SwappedVectorsAreFound) {
  for (const int64_t by : {1, 8, 64}) {  // a neighbour, the next token's, half the message on
    ExpectFoundEverywhere([by](const TrialCall& call, int64_t v) {
      const std::vector<Bf16> right = SumOf(PartsOf(call));
      const int64_t other = (v + by) % (call.tokens * call.dim / kVector);
      std::vector<Bf16> sum = right;
      CopyVector(right, v, sum, other);
      CopyVector(right, other, sum, v);
      return sum;
    });
  }
}

// As long as what a block moves at a time.
TEST(TrialPatternTest, SwappedSlicesOfALongCallAreFound) {
  constexpr TrialCall kLong = {.ranks = 2, .tokens = 32, .dim = 4096, .round = 0};
  constexpr int64_t kSlice = 8192;
  std::vector<Bf16> sum = SumOf(PartsOf(kLong));
  for (int64_t a = 0; a < kLong.tokens * kLong.dim; a += kSlice) {
    for (int64_t b = 0; b < a; b += kSlice) {
      std::swap_ranges(sum.begin() + a, sum.begin() + a + kSlice, sum.begin() + b);
      EXPECT_FALSE(CheckTrialSum(kLong, sum).ok()) << a << " and " << b;
      std::swap_ranges(sum.begin() + a, sum.begin() + a + kSlice, sum.begin() + b);
    }
  }
  EXPECT_TRUE(CheckTrialSum(kLong, sum).ok());
}

TEST(TrialPatternTest, OneRanksVectorInAnothersPlaceIsFound) {
  ExpectFoundEverywhere([](const TrialCall& call, int64_t v) {
    Parts parts = PartsOf(call);
    CopyVector(TrialPart(call, 1), v, parts[1], (v + 1) % (call.tokens * call.dim / kVector));
    return SumOf(parts);
  });
}

TEST(TrialPatternTest, AnotherRanksBoxIsFound) {
  ExpectFoundEverywhere([](const TrialCall& call, int64_t v) {
    Parts parts = PartsOf(call);
    CopyVector(parts[0], v, parts[1], v);
    return SumOf(parts);
  });
}

TEST(TrialPatternTest, APreviousRoundsDataIsFound) {
  for (const int rank : {0, 1}) {
    ExpectFoundEverywhere([rank](const TrialCall& call, int64_t v) {
      TrialCall before = call;
      --before.round;
      Parts parts = PartsOf(call);
      CopyVector(TrialPart(before, rank), v, parts[static_cast<size_t>(rank)], v);
      return SumOf(parts);
    });
  }
  ExpectFoundEverywhere([](const TrialCall& call, int64_t v) {
    TrialCall before = call;
    --before.round;
    std::vector<Bf16> sum = SumOf(PartsOf(call));
    CopyVector(SumOf(PartsOf(before)), v, sum, v);
    return sum;
  });
}

TEST(TrialPatternTest, ASmallerCallsRowsAreFound) {
  ExpectFoundEverywhere([](const TrialCall& call, int64_t v) {
    TrialCall smaller = call;
    smaller.tokens /= 2;
    std::vector<Bf16> sum = SumOf(PartsOf(call));
    CopyVector(SumOf(PartsOf(smaller)), v % (smaller.tokens * smaller.dim / kVector), sum, v);
    return sum;
  });
}

TEST(TrialPatternTest, WhatWasNotWrittenIsFoundAndNamed) {
  std::vector<Bf16> sum = SumOf(PartsOf(kTwo));
  sum[static_cast<size_t>(3 * kTwo.dim + 5)] = Bf16{0xFFFF};
  EXPECT_THAT(std::string(CheckTrialSum(kTwo, sum).message()),
              testing::HasSubstr("a wrong sum of 16 tokens: at 3,5 nan instead of "));
}

}  // namespace
}  // namespace tandem
