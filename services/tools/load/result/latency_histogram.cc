// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/result/latency_histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/check.h"

namespace tandem {
namespace {

int64_t WholeMicroseconds(absl::Duration duration) {
  const absl::Duration held =
      std::clamp(duration, absl::ZeroDuration(), LatencyHistogram::kLongest);
  return absl::ToInt64Microseconds(held + absl::Nanoseconds(500));
}

}  // namespace

LatencyHistogram::LatencyHistogram(Precision precision) : precision_(precision) {}

// Index and value agree up to 2^bits; from there each octave starts 2^(bits-1) indexes later.
int64_t LatencyHistogram::IndexOf(int64_t us) const {
  const int bits = static_cast<int>(precision_);
  const int width = std::bit_width(static_cast<uint64_t>(us));
  if (width <= bits) return us;
  const int shift = width - bits;
  return (static_cast<int64_t>(shift) << (bits - 1)) + (us >> shift);
}

int64_t LatencyHistogram::LowestOf(int64_t index) const {
  const int bits = static_cast<int>(precision_);
  if (index < int64_t{1} << bits) return index;
  const int64_t shift = (index >> (bits - 1)) - 1;
  return (index - (shift << (bits - 1))) << shift;
}

uint64_t& LatencyHistogram::CountAt(int64_t index) {
  if (counts_.empty()) first_index_ = index;
  if (index < first_index_) {
    counts_.insert(counts_.begin(), static_cast<size_t>(first_index_ - index), 0);
    first_index_ = index;
  }
  const auto place = static_cast<size_t>(index - first_index_);
  if (place >= counts_.size()) counts_.resize(place + 1);
  return counts_[place];
}

void LatencyHistogram::Record(absl::Duration duration, uint64_t times) {
  if (times == 0) return;
  const int64_t us = WholeMicroseconds(duration);
  CountAt(IndexOf(us)) += times;
  min_us_ = count_ == 0 ? us : std::min(min_us_, us);
  max_us_ = std::max(max_us_, us);
  count_ += times;
  sum_us_ += us * static_cast<int64_t>(times);
  squares_us2_ += static_cast<double>(us) * static_cast<double>(us) * static_cast<double>(times);
}

void LatencyHistogram::Merge(const LatencyHistogram& other) {
  CHECK(precision_ == other.precision_);
  if (other.count_ == 0) return;
  CountAt(other.first_index_);
  CountAt(other.first_index_ + static_cast<int64_t>(other.counts_.size()) - 1);
  const auto shift = static_cast<size_t>(other.first_index_ - first_index_);
  for (size_t i = 0; i < other.counts_.size(); ++i) counts_[shift + i] += other.counts_[i];
  min_us_ = count_ == 0 ? other.min_us_ : std::min(min_us_, other.min_us_);
  max_us_ = std::max(max_us_, other.max_us_);
  count_ += other.count_;
  sum_us_ += other.sum_us_;
  squares_us2_ += other.squares_us2_;
}

absl::Duration LatencyHistogram::Mean() const {
  if (count_ == 0) return absl::ZeroDuration();
  return absl::Microseconds(static_cast<double>(sum_us_) / static_cast<double>(count_));
}

absl::Duration LatencyHistogram::StdDev() const {
  if (count_ == 0) return absl::ZeroDuration();
  const double n = static_cast<double>(count_);
  const double mean = static_cast<double>(sum_us_) / n;
  return absl::Microseconds(std::sqrt(std::max(0.0, squares_us2_ / n - mean * mean)));
}

absl::Duration LatencyHistogram::Quantile(double q) const {
  CHECK(q >= 0 && q <= 1);
  if (q == 0 || count_ == 0) return Min();
  // 0.07 * 100 is a hair above 7, and means rank 7.
  const double rank = std::ceil(q * static_cast<double>(count_) * (1 - 1e-12));
  uint64_t seen = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    seen += counts_[i];
    if (static_cast<double>(seen) < rank) continue;
    const int64_t index = first_index_ + static_cast<int64_t>(i);
    // The last bucket holds the largest value, which is known.
    if (seen == count_ && rank == static_cast<double>(count_)) return Max();
    const double middle = static_cast<double>(LowestOf(index) + LowestOf(index + 1) - 1) / 2;
    return std::clamp(absl::Microseconds(middle), Min(), Max());
  }
  return Max();
}

uint64_t LatencyHistogram::CountUpTo(absl::Duration duration) const {
  if (duration < absl::ZeroDuration()) return 0;
  const int64_t last = IndexOf(WholeMicroseconds(duration));
  uint64_t seen = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    if (first_index_ + static_cast<int64_t>(i) <= last) seen += counts_[i];
  }
  return seen;
}

LatencyHistogram::Contents LatencyHistogram::ToContents() const {
  Contents contents = {.precision = precision_,
                       .sum_us = sum_us_,
                       .squares_us2 = squares_us2_,
                       .min_us = min_us_,
                       .max_us = max_us_,
                       .buckets = {}};
  for (size_t i = 0; i < counts_.size(); ++i) {
    if (counts_[i] == 0) continue;
    const int64_t index = first_index_ + static_cast<int64_t>(i);
    contents.buckets.push_back({.lowest_us = LowestOf(index), .count = counts_[i]});
  }
  return contents;
}

absl::StatusOr<LatencyHistogram> LatencyHistogram::FromContents(const Contents& contents) {
  LatencyHistogram out(contents.precision);
  const int64_t longest = absl::ToInt64Microseconds(kLongest);
  for (const Bucket& bucket : contents.buckets) {
    const int64_t low = bucket.lowest_us;
    if (low < 0 || low > longest || out.LowestOf(out.IndexOf(low)) != low || bucket.count == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("buckets: ", low, " us with count ", bucket.count,
                       " is no lower edge of a bucket from 0 to ", longest, " us with a count"));
    }
    out.CountAt(out.IndexOf(low)) += bucket.count;
    out.count_ += bucket.count;
  }
  if (contents.buckets.empty()) return out;
  const Bucket& first = contents.buckets.front();
  const Bucket& last = contents.buckets.back();
  if (out.IndexOf(std::clamp<int64_t>(contents.min_us, 0, longest)) != out.first_index_ ||
      first.lowest_us != out.LowestOf(out.first_index_)) {
    return absl::InvalidArgumentError(absl::StrCat("min_us: ", contents.min_us,
                                                   " is not in the first bucket, ",
                                                   out.LowestOf(out.first_index_)));
  }
  if (contents.max_us > longest ||
      out.LowestOf(out.IndexOf(std::max<int64_t>(contents.max_us, 0))) != last.lowest_us) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_us: ", contents.max_us, " is not in the last bucket, ", last.lowest_us));
  }
  const auto n = static_cast<double>(out.count_);
  const auto sum = static_cast<double>(contents.sum_us);
  if (sum < n * static_cast<double>(contents.min_us) ||
      sum > n * static_cast<double>(contents.max_us)) {
    return absl::InvalidArgumentError(
        absl::StrCat("sum_us: ", contents.sum_us, " is not from count * min_us to count * max_us, ",
                     n, " values"));
  }
  out.sum_us_ = contents.sum_us;
  out.squares_us2_ = contents.squares_us2;
  out.min_us_ = contents.min_us;
  out.max_us_ = contents.max_us;
  return out;
}

}  // namespace tandem
