// SPDX-License-Identifier: Apache-2.0
// The block-scaled warp products as the PTX ISA has them, in plain matrices: the judge of
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

// The matrices in them, of 32 columns of A, or of FP4's 64.
struct WarpMatrices {
  int groups;  // of 32 columns
  float a[16][64], b[64][8], d[16][8];
  int scale_a[16][2], scale_b[8][2];  // exponents of groups; kNoScale: NaN
};
inline constexpr int kNoScale = 1 << 20;

WarpMatrices ReadFragments(ptx::MxType type_a, const ptx::ScaleSelect& select,
                           const WarpRegisters& warp);

// The same of the product of FP4.
WarpMatrices ReadFp4Fragments(const ptx::ScaleSelect& select, const WarpRegisters& warp);

// d += (A·2^sa)·(B·2^sb): each sum of 32 exact, added in fp64 one by one, rounded to fp32.
void MultiplyMatrices(WarpMatrices& m);

// Where d stands; other fragments are unchanged.
void WriteSums(const WarpMatrices& m, WarpRegisters* warp);

// All codes and scales but NaN; scales of exponents around `middle`.
WarpRegisters RandomRegisters(Random& random, int middle, int spread);

// MultiplyMatrices by the emulation, lane by lane.
void EmulateWarp(ptx::MxType type_a, const ptx::ScaleSelect& select, WarpRegisters* warp);
void EmulateFp4Warp(const ptx::ScaleSelect& select, WarpRegisters* warp);

// Bit by bit, but for NaN.
void ExpectSameSums(const WarpRegisters& actual, const WarpRegisters& expected);

}  // namespace tandem::kernels
