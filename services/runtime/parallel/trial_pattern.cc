// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/parallel/trial_pattern.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kernels/comm/peer_group.h"
#include "kernels/sampling/uniform.h"
#include "services/runtime/base/check.h"

namespace tandem {
namespace {

using kernels::Bf16;
using kernels::SplitMix64;

// Every rank has as many bits of an element's hash, read as an integer around zero: the sum of all
// stays within ±256, up to which bf16 has every integer.
constexpr int kBits = 6;
static_assert(kernels::kMaxPeers * kBits <= 64);
static_assert(kernels::kMaxPeers << (kBits - 1) <= 256);

int ElementOf(uint64_t hash, int rank) {
  return static_cast<int>(hash >> (kBits * rank) & ((1U << kBits) - 1)) - (1 << (kBits - 1));
}

Bf16 ToBf16(int integer) {
  return kernels::ToBf16(static_cast<float>(integer));
}

// A part or a sum is its beginning again and again, for it is made and compared while a worker
// starts. As long as a prime: no row, slice or box ends where a beginning does.
constexpr size_t kPeriod = 65521;

// `value` makes an integer of the hash of all ranks' elements at a place.
template <typename Value>
std::vector<Bf16> BeginningOf(const TrialCall& call, const Value& value) {
  CHECK_LE(call.ranks, kernels::kMaxPeers);
  const auto size = static_cast<uint64_t>(call.tokens * call.dim);
  const uint64_t seed = SplitMix64(size, static_cast<uint64_t>(call.round));
  std::vector<Bf16> beginning(std::min<size_t>(size, kPeriod));
  for (size_t i = 0; i < beginning.size(); ++i) {
    beginning[i] = ToBf16(value(SplitMix64(seed, i)));
  }
  return beginning;
}

}  // namespace

std::vector<Bf16> TrialPart(const TrialCall& call, int rank) {
  CHECK_LT(rank, call.ranks);
  const std::vector<Bf16> beginning =
      BeginningOf(call, [rank](uint64_t hash) { return ElementOf(hash, rank); });
  const auto size = static_cast<size_t>(call.tokens * call.dim);
  std::vector<Bf16> part;
  part.reserve(size);
  while (part.size() < size) {
    const size_t count = std::min(kPeriod, size - part.size());
    part.insert(part.end(), beginning.data(), beginning.data() + count);
  }
  return part;
}

absl::Status CheckTrialSum(const TrialCall& call, absl::Span<const Bf16> sum) {
  CHECK_EQ(static_cast<int64_t>(sum.size()), call.tokens * call.dim);
  const std::vector<Bf16> beginning = BeginningOf(call, [&call](uint64_t hash) {
    int all = 0;
    for (int r = 0; r < call.ranks; ++r) all += ElementOf(hash, r);
    return all;
  });
  for (size_t i = 0; i < sum.size(); i += kPeriod) {
    const absl::Span<const Bf16> piece = sum.subspan(i, kPeriod);
    const auto [wrong, right] = std::mismatch(piece.begin(), piece.end(), beginning.begin());
    if (wrong == piece.end()) continue;
    const int64_t place = wrong - sum.begin();
    return absl::DataLossError(absl::StrCat(
        "a wrong sum of ", call.tokens, " tokens: at ", place / call.dim, ",", place % call.dim,
        " ", kernels::ToFloat(*wrong), " instead of ", kernels::ToFloat(*right)));
  }
  return absl::OkStatus();
}

}  // namespace tandem
