// SPDX-License-Identifier: Apache-2.0
// LatencyHistogram: how long something took, counted in log-linear buckets (the HDR type), so that
// any number of durations takes bounded memory and histograms of threads and runs add up.
//
// A duration is rounded to a whole microsecond and held to 0 … 1 h. Below 2^precision_bits µs each
// microsecond has its bucket; above, each octave has 2^(precision_bits - 1) of them, so a bucket is
// at most 1/1024 (kFine: three digits) or 1/32 (kCoarse) of its values wide. Count, sum, min and
// max are exact, also after Merge; the standard deviation is exact to rounding; a quantile is
// within half a bucket of the sample of that rank. Memory covers only the range of values seen. One
// owner; not thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tandem {

class LatencyHistogram {
 public:
  enum class Precision : uint8_t { kFine = 11, kCoarse = 6 };
  static constexpr absl::Duration kLongest = absl::Hours(1);

  explicit LatencyHistogram(Precision precision = Precision::kFine);

  // `times` = 0 changes nothing.
  void Record(absl::Duration duration, uint64_t times = 1);
  // CHECKs that both have one precision.
  void Merge(const LatencyHistogram& other);

  uint64_t count() const { return count_; }
  bool empty() const { return count_ == 0; }
  // All of these are zero of an empty histogram.
  absl::Duration Sum() const { return absl::Microseconds(sum_us_); }
  absl::Duration Mean() const;
  absl::Duration StdDev() const;  // of the population
  absl::Duration Min() const { return absl::Microseconds(min_us_); }
  absl::Duration Max() const { return absl::Microseconds(max_us_); }
  // The value of rank ceil(q * count), q in 0 … 1 (CHECKed); 0 gives Min, 1 gives Max.
  absl::Duration Quantile(double q) const;
  // Values up to `duration`, to the bucket's edge.
  uint64_t CountUpTo(absl::Duration duration) const;

  // What a file holds. `buckets` are those with a count, by rising lower edge.
  struct Bucket {
    int64_t lowest_us = 0;
    uint64_t count = 0;
    friend bool operator==(const Bucket&, const Bucket&) = default;
  };
  struct Contents {
    Precision precision = Precision::kFine;
    int64_t sum_us = 0;
    double squares_us2 = 0;  // sum of the squares
    int64_t min_us = 0;
    int64_t max_us = 0;
    std::vector<Bucket> buckets;
    friend bool operator==(const Contents&, const Contents&) = default;
  };
  Contents ToContents() const;
  // INVALID_ARGUMENT naming the field that contradicts the others.
  static absl::StatusOr<LatencyHistogram> FromContents(const Contents& contents);

  friend bool operator==(const LatencyHistogram& a, const LatencyHistogram& b) {
    return a.ToContents() == b.ToContents();
  }

 private:
  int64_t IndexOf(int64_t us) const;
  int64_t LowestOf(int64_t index) const;
  uint64_t& CountAt(int64_t index);

  Precision precision_;
  int64_t first_index_ = 0;       // of counts_[0]
  std::vector<uint64_t> counts_;  // the range seen, without gaps
  uint64_t count_ = 0;
  int64_t sum_us_ = 0;
  double squares_us2_ = 0;
  int64_t min_us_ = 0;
  int64_t max_us_ = 0;
};

}  // namespace tandem
