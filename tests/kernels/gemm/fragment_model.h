// SPDX-License-Identifier: Apache-2.0
// The block-scaled warp product as the PTX ISA has it, in plain matrices: the judge of
// kernels/ptx/mma_block_scale.h and of what the tiles feed it.
//
// Independent of them: fragments and scale operands are written from the text of the PTX ISA,
// codes come from common/dtype.h.
#pragma once

#include <cstdint>

#include "kernels/ptx/mma_block_scale.h"
#include "tests/kernels/testing.h"

namespace tandem::kernels {

// What the 32 lanes of a warp hold.
struct WarpRegisters {
  uint32_t word[32][ptx::kMxRegisters];  // a0..a3, b0, b1, scales of A, of B
  float d[32][4];
};

// The matrices in them.
struct WarpMatrices {
  float a[16][32], b[32][8], d[16][8];
  int scale_a[16], scale_b[8];  // exponents; kNoScale: NaN
};
inline constexpr int kNoScale = 1 << 20;

WarpMatrices ReadFragments(ptx::MxType type_a, const ptx::ScaleSelect& select,
                           const WarpRegisters& warp);

// d += (A·2^sa)·(B·2^sb): each sum of 32 exact, one addition in fp64, rounded to fp32.
void MultiplyMatrices(WarpMatrices& m);

// Where d stands; other fragments are unchanged.
void WriteSums(const WarpMatrices& m, WarpRegisters* warp);

// All codes and scales but NaN; scales of exponents around `middle`.
WarpRegisters RandomRegisters(Random& random, int middle, int spread);

// MultiplyMatrices by the emulation, lane by lane.
void EmulateWarp(ptx::MxType type_a, const ptx::ScaleSelect& select, WarpRegisters* warp);

}  // namespace tandem::kernels
