// SPDX-License-Identifier: Apache-2.0
// uniform: one reproducible random number a row, by counter.
//
// Math      z = seed + (counter + 1)·0x9E3779B97F4A7C15 mod 2^64
//           z = (z ⊕ z≫30)·0xBF58476D1CE4E5B9;  z = (z ⊕ z≫27)·0x94D049BB133111EB;  z = z ⊕ z≫31;
//           u = (z≫40)·2^-24
// Shapes    seed[T]  counter[T]  →  u[T] in [0, 1)
// Layout    uint64, uint64, fp32. The counter is the number of tokens drawn before in the request's
//           choice.
// Numerics  exact. z is draw number `counter` of SplitMix64 seeded with `seed`, so any draw is
//           found without the others.
// Cost      20 bytes a row: launch-bound, fuse into sample
// Roofline  T=64: launch-bound
// Source    Steele, Lea, Flood: Fast splittable pseudorandom number generators (OOPSLA 2014)
#pragma once

#include <cstdint>

#include "kernels/common/contract.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

struct UniformArgs {
  TensorView<const uint64_t, 1> seed;     // [T]
  TensorView<const uint64_t, 1> counter;  // [T]
  TensorView<float, 1> u;                 // [T]
};

inline void CheckUniform(const UniformArgs& args) {
  KERNEL_CHECK_EQ(args.counter.shape[0], args.seed.shape[0]);
  KERNEL_CHECK_EQ(args.u.shape[0], args.seed.shape[0]);
}

// z of one draw; also what derives the seeds of a request's n choices.
TANDEM_HOST_DEVICE inline uint64_t SplitMix64(uint64_t seed, uint64_t counter) {
  uint64_t z = seed + (counter + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

namespace cpu {
void Uniform(const UniformArgs& args, Stream& stream);
}
namespace cuda {
void Uniform(const UniformArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
