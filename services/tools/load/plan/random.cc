// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/plan/random.h"

#include <random>

#include "services/runtime/base/check.h"

namespace tandem {
namespace {

constexpr uint64_t kGolden = 0x9E3779B97F4A7C15;

uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

}  // namespace

Random::Random(uint64_t seed, Draws draws, uint64_t index)
    : state_(Mix(Mix(Mix(seed + kGolden) + static_cast<uint64_t>(draws)) + index)) {}

uint64_t Random::operator()() {
  state_ += kGolden;
  return Mix(state_);
}

double Random::Unit() {
  return static_cast<double>((*this)() >> 11) * 0x1p-53;
}

uint64_t Random::Below(uint64_t limit) {
  CHECK_GT(limit, 0U);
  // The bias of not drawing again is limit / 2^64.
  return static_cast<uint64_t>((static_cast<unsigned __int128>((*this)()) * limit) >> 64);
}

double Random::Gamma(double shape) {
  return std::gamma_distribution<double>(shape)(*this);
}

double Random::Normal() {
  return std::normal_distribution<double>()(*this);
}

}  // namespace tandem
