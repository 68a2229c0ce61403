// SPDX-License-Identifier: Apache-2.0
// moe_experts for more than a few tokens: what its launches share.
// Internal to kernels/moe.
//
// A pair is a token's slot: (token, k) with an expert in range. Pairs are put in groups by expert;
// a pair's place in that order is its row in every buffer. A tile is a part of one expert's pairs.
// The order of pairs within an expert may differ from run to run; no result depends on it.
//
// Numerics of moe_experts this way: sums as in kernels/gemm/tile_dequant.cuh or tile_mx.cuh (fp32
// in the tensor core over all of K); silu in fp32; all else as the contract says. A row's bits do
// not depend on T among calls of MoeExpertsGrouped with the same math.
#pragma once

#include <cstdint>

#include "kernels/common/dtype.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"
#include "kernels/gemm/tile_math.h"
#include "kernels/moe/moe_experts.h"

namespace tandem::kernels::cuda {

inline constexpr int kMostSlots = 32;      // of a token
inline constexpr int kMostExperts = 1024;  // one thread each

struct MoeTile {
  int32_t expert;
  int32_t begin;  // its first row
  int32_t rows;
};

// All in device memory.
struct MoeRows {
  int32_t* tile_count;
  MoeTile* tiles;
  int32_t* token;   // [rows] of a row
  float* weight;    // [rows] its routing weight
  int32_t* row_of;  // [T, K] row of a pair; -1: none
  int32_t* taken;   // [2] zeros
};

inline MoeRows TakeMoeRows(int64_t pairs, int64_t tiles, Scratch& scratch) {
  return {.tile_count = scratch.Take<int32_t>(1),
          .tiles = scratch.Take<MoeTile>(tiles),
          .token = scratch.Take<int32_t>(pairs),
          .weight = scratch.Take<float>(pairs),
          .row_of = scratch.Take<int32_t>(pairs),
          .taken = scratch.Take<int32_t>(2)};
}

// The most tiles of at most `tile_rows` rows that `pairs` pairs can take.
constexpr int64_t MostTiles(int64_t pairs, int64_t experts, int64_t tile_rows) {
  return pairs / tile_rows + (pairs < experts ? pairs : experts);
}

// Quantised rows of k columns (act_quant), row-major in device memory, as the products take them:
// codes times their scale, exact in bf16; or, where scale is not null, codes [rows, k] and scales
// [rows, k/128]; or, where factor is not null, as HalfRows has them.
struct QuantisedRows {
  uint8_t* x = nullptr;
  uint8_t* scale = nullptr;
  float* factor = nullptr;
};

// Sorts the pairs, cuts tiles of at most tile_rows (a multiple of 8) rows, and quantises x.
void MoePrepare(const MoeExpertsArgs& args, int tile_rows, const MoeRows& rows,
                const QuantisedRows& quantised, Stream& stream);

// y[t] = bf( Σ routed[row of t's pairs], experts ascending, + shared[t] ).
void MoeCombine(const MoeExpertsArgs& args, const int32_t* row_of, const Bf16* routed,
                const Bf16* shared, Stream& stream);

// moe_experts for T of more than a few to hundreds, whose experts have a few rows each: the
// products of moe_experts_small.h on tiles of eight rows.
inline constexpr int kListedRows = 8;
void MoeExpertsListed(const MoeExpertsArgs& args, Stream& stream);

// moe_experts on prepared weights, routed ones evenly spaced, for T of a few to thousands.
void MoeExpertsGrouped(const MoeExpertsArgs& args, TileMath math, Stream& stream);

}  // namespace tandem::kernels::cuda
