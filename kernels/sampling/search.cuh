// SPDX-License-Identifier: Apache-2.0
// Search: the shortest run of a row's best tokens whose weights reach a goal; the weight of a token
// is 1 (top_k, top_logprobs) or its probability (top_p).
//
// Masses are integers, 2^-44 of the best token's, so that sums do not depend on their order. The
// first level is a histogram that several blocks made, over bins of the distance from the best
// logit: six bits of mantissa, 2^-16 to 2^16. One block then lists the threshold's bin and sorts
// it; while a bin is too full, it is split by digits of the place first. Internal to
// kernels/sampling.
#pragma once

#include <cstdint>

#include "kernels/sampling/row.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kSearchThreads = 512;
inline constexpr int64_t kSearchChunk = 16 * kSearchThreads;  // logits a block
inline constexpr int kDigitBits = 11;
inline constexpr int kSearchBins = 1 << kDigitBits;
inline constexpr int kOwnBins = kSearchBins / kSearchThreads;
inline constexpr int kListed = 4096;
inline constexpr double kMassUnit = 0x1p44;

// First level, in device memory: counts and masses of a row's bins.
struct RowBins {
  uint32_t* count;
  unsigned long long* mass;
};
inline constexpr int64_t kRowBinWords = kSearchBins * 3;
__device__ __forceinline__ RowBins BinsOfRow(uint32_t* words) {
  return {words, reinterpret_cast<unsigned long long*>(words + kSearchBins)};
}

__device__ __forceinline__ int BinOf(float l, float most) {
  constexpr int kFirst = (127 - 16) << 6;
  if (l == most) return 0;
  const int bin = static_cast<int>(__float_as_uint(most - l) >> 17) - kFirst;
  return min(max(bin, 0), kSearchBins - 1);
}

struct SearchShared {
  union {
    struct {
      uint32_t count[kSearchBins];
      unsigned long long mass[kSearchBins];
    } bins;
    uint64_t list[kListed];
  };
  int listed;
  int bin;  // that reaches the goal
  uint32_t in_bin;
  unsigned long long weight_before, mass_before;
  uint64_t place;
};

// A search's state: all candidates lie in first-level bin `bin`, their places start with `prefix`.
struct SearchState {
  int bin;
  int shift;  // bits of the place that are not in the prefix
  uint64_t prefix;
  unsigned long long weight_before, mass_before;
  uint32_t count;
};
// The last place of the run, and the mass of the run.
struct SearchResult {
  uint64_t place;
  unsigned long long mass;
};

// A thread's bins, kOwnBins neighbours; `Load` reads a bin's word.
struct OwnBins {
  uint32_t count[kOwnBins];
  unsigned long long mass[kOwnBins];

  template <typename Load>
  __device__ __forceinline__ OwnBins(const uint32_t* counts, const unsigned long long* masses,
                                     Load load) {
    const int first = kOwnBins * static_cast<int>(threadIdx.x);
#pragma unroll
    for (int k = 0; k < kOwnBins; ++k) {
      count[k] = load(counts + first + k);
      mass[k] = load(masses + first + k);
    }
  }
};

// Leaves in `shared` the bin whose weight reaches the goal, if one does.
template <bool kByCount>
__device__ __forceinline__ bool ReachBin(const OwnBins& own, double goal,
                                         unsigned long long weight_before,
                                         unsigned long long mass_before, SearchShared* shared) {
  unsigned long long weights = 0, masses = 0, all = 0, all_mass = 0;
#pragma unroll
  for (int k = 0; k < kOwnBins; ++k) {
    weights += kByCount ? own.count[k] : own.mass[k];
    masses += own.mass[k];
  }
  unsigned long long weight = weight_before + BlockPrefix(weights, &all);
  unsigned long long mass = mass_before + BlockPrefix(masses, &all_mass);
  if (static_cast<double>(weight_before + all) < goal) return false;
#pragma unroll
  for (int k = 0; k < kOwnBins; ++k) {
    const unsigned long long more = kByCount ? own.count[k] : own.mass[k];
    if (static_cast<double>(weight) < goal && static_cast<double>(weight + more) >= goal) {
      shared->bin = kOwnBins * static_cast<int>(threadIdx.x) + k;
      shared->in_bin = own.count[k];
      shared->weight_before = weight;
      shared->mass_before = mass;
    }
    weight += more;
    mass += own.mass[k];
  }
  __syncthreads();
  return true;
}

// Calls visit(logit, id) for this thread's tokens begin, begin + kSearchThreads, .. below end; many
// loads at once, or their latencies would add up.
template <typename Row, typename Visit>
__device__ __forceinline__ void ForTokens(const Row& row, int64_t begin, int64_t end, Visit visit) {
  constexpr int kAtOnce = 16;
  for (int64_t first = begin + threadIdx.x; first < end; first += kAtOnce * kSearchThreads) {
    float logits[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int64_t id = first + i * kSearchThreads;
      logits[i] = id < end ? row.Logit(id) : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int64_t id = first + i * kSearchThreads;
      if (id < end) visit(logits[i], id);
    }
  }
}

// Calls visit(place, mass) for every candidate of the state.
template <typename Row, typename Visit>
__device__ __forceinline__ void ForState(const Row& row, const SearchState& state, Visit visit) {
  ForTokens(row, 0, row.size, [&](float l, int64_t id) {
    if (BinOf(l, row.most) != state.bin) return;
    const uint64_t place = PlaceOf(l, id);
    if (state.shift < 64 && place >> state.shift != state.prefix) return;
    unsigned long long mass = 0;
    if (row.Mass(l, place, &mass)) visit(place, mass);
  });
}

// One more digit.
template <bool kByCount, typename Row>
__device__ __forceinline__ void SplitState(const Row& row, double goal, SearchShared* shared,
                                           SearchState* state) {
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kSearchBins; i += kSearchThreads) {
    shared->bins.count[i] = 0;
    shared->bins.mass[i] = 0;
  }
  __syncthreads();
  const int shift = max(state->shift - kDigitBits, 0), bits = state->shift - shift;
  const auto most = (1u << bits) - 1;
  ForState(row, *state, [&](uint64_t place, unsigned long long mass) {
    const uint32_t digit = most - (static_cast<uint32_t>(place >> shift) & most);
    atomicAdd(&shared->bins.count[digit], 1u);
    atomicAdd(&shared->bins.mass[digit], mass);
  });
  __syncthreads();
  const OwnBins own(shared->bins.count, shared->bins.mass, [](const auto* word) { return *word; });
  ReachBin<kByCount>(own, goal, state->weight_before, state->mass_before, shared);
  const uint64_t digit = most - static_cast<uint32_t>(shared->bin);
  state->prefix = (state->shift < 64 ? state->prefix << bits : 0) | digit;
  state->shift = shift;
  state->count = shared->in_bin;
  state->weight_before = shared->weight_before;
  state->mass_before = shared->mass_before;
  __syncthreads();
}

// Sorts the list, best first; the rest of it is filled with zeros.
__device__ __forceinline__ void SortList(SearchShared* shared) {
  __syncthreads();
  int size = 1;
  while (size < shared->listed) size *= 2;
  for (int i = shared->listed + static_cast<int>(threadIdx.x); i < size; i += kSearchThreads) {
    shared->list[i] = 0;
  }
  __syncthreads();
  for (int length = 2; length <= size; length *= 2) {
    for (int stride = length / 2; stride > 0; stride /= 2) {
      for (int k = static_cast<int>(threadIdx.x); k < size / 2; k += kSearchThreads) {
        const int i = 2 * k - (k & (stride - 1)), j = i + stride;
        const uint64_t a = shared->list[i], b = shared->list[j];
        if ((a < b) == ((i & length) == 0)) {
          shared->list[i] = b;
          shared->list[j] = a;
        }
      }
      __syncthreads();
    }
  }
}

// The goal is above 0. A run that never reaches it ends with place 0: everything.
template <bool kByCount, typename Row>
__device__ __forceinline__ SearchResult Search(const Row& row, const RowBins& bins, double goal,
                                               SearchShared* shared) {
  const OwnBins own_bins(bins.count, bins.mass, [](const auto* word) { return __ldcg(word); });
  if (!ReachBin<kByCount>(own_bins, goal, 0, 0, shared)) return {0, 0};
  SearchState state{shared->bin, 64, 0, shared->weight_before, shared->mass_before, shared->in_bin};
  while (state.count > kListed) SplitState<kByCount>(row, goal, shared, &state);
  __syncthreads();
  if (threadIdx.x == 0) shared->listed = 0;
  __syncthreads();
  ForState(row, state, [&](uint64_t place, unsigned long long) {
    shared->list[atomicAdd(&shared->listed, 1)] = place;
  });
  SortList(shared);
  constexpr int kOwn = kListed / kSearchThreads;
  const int first = kOwn * static_cast<int>(threadIdx.x), listed = shared->listed;
  if (threadIdx.x == 0) shared->place = 0;
  unsigned long long masses[kOwn] = {}, own = 0, all = 0;
  for (int i = 0; i < kOwn && first + i < listed; ++i) {
    const uint64_t place = shared->list[first + i];
    row.Mass(LogitAt(place), place, &masses[i]);
    own += masses[i];
  }
  unsigned long long sum = state.mass_before + BlockPrefix(own, &all);
  unsigned long long count = state.weight_before + static_cast<unsigned long long>(first);
  for (int i = 0; i < kOwn && first + i < listed; ++i) {
    const unsigned long long weight = kByCount ? count : sum;
    const unsigned long long more = kByCount ? 1 : masses[i];
    if (static_cast<double>(weight) < goal && static_cast<double>(weight + more) >= goal) {
      shared->place = shared->list[first + i];
      shared->mass_before = sum + masses[i];
    }
    sum += masses[i];
    ++count;
  }
  __syncthreads();
  const SearchResult result{shared->place, shared->mass_before};
  __syncthreads();
  return result;
}

}  // namespace tandem::kernels::cuda
