// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/compressor_step.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/quant/hadamard.h"
#include "kernels/rope/rope.h"
#include "kernels/rope/rope_table.h"

namespace tandem::kernels {
namespace {

constexpr int64_t kOverlap = 4;  // rows of the previous window in a ratio-4 state

// One slot's state: u [R, c·d] and g [R, c·d].
struct State {
  float* u;
  float* g;
  int64_t rows;
  int64_t width;
};

void Reset(const State& state) {
  std::fill_n(state.u, state.rows * state.width, 0.0f);
  std::fill_n(state.g, state.rows * state.width, -std::numeric_limits<float>::infinity());
}

void Append(const CompressorArgs& args, const State& state, int64_t t) {
  const int64_t phase = args.batch.positions[t] % args.ratio();
  const int64_t row = phase + (state.rows - args.ratio());  // ratio 4 keeps four rows before
  const float* ape = args.ape.row(phase);
  for (int64_t j = 0; j < state.width; ++j) {
    state.u[row * state.width + j] = args.u.row(t)[j];
    state.g[row * state.width + j] = args.g.row(t)[j] + ape[j];
  }
}

// Norm, rope at the window's first position, and the row's own format.
void Emit(const CompressorArgs& args, const float* v, int64_t t, Bf16* row) {
  const int64_t dim = args.dim();
  double squares = 0;
  for (int64_t j = 0; j < dim; ++j) squares += static_cast<double>(v[j]) * v[j];
  const float r =
      static_cast<float>(1.0 / std::sqrt(squares / static_cast<double>(dim) + args.norm_eps));
  for (int64_t j = 0; j < dim; ++j) row[j] = ToBf16(ToFloat(args.norm[j]) * (v[j] * r));

  const int64_t p = args.batch.positions[t], w = p / args.ratio();
  float cos[kRopeDim / 2], sin[kRopeDim / 2];
  RopeAngles(w * args.ratio(), args.frequencies.data, cos, sin);
  Rotate64(row + dim - kRopeDim, cos, sin, /*inverse=*/false);

  KERNEL_CHECK_LE(p + 1, args.batch.pages.shape[1] * kPageTokens);
  const int32_t index =
      CompressedRow(args.batch.pages.row(args.batch.sequence[t]), w, args.ratio());
  KERNEL_CHECK_GE(index, 0);
  if (args.kv_rows.base != nullptr) {
    KERNEL_CHECK_LE(index, args.kv_rows.rows() - 1);
    WriteKvRow(row, args.kv_rows, index);
  } else {
    KERNEL_CHECK_LE(index, args.indexer_rows.rows() - 1);
    Hadamard128(row);
    WriteIndexerRow(row, args.indexer_rows, index);
  }
}

}  // namespace

void CompressorWith(PoolFunction pool, const CompressorArgs& args, Stream& stream) {
  CheckCompressor(args);
  const Batch& batch = args.batch;
  const int64_t rows = args.state.shape[2], width = args.state.shape[3];
  Scratch scratch(stream);
  float* v = scratch.Take<float>(args.dim());
  Bf16* row = scratch.Take<Bf16>(args.dim());
  for (int64_t t = 0; t < batch.tokens(); ++t) {
    const int32_t slot = batch.slot[batch.sequence[t]];
    KERNEL_CHECK_GE(slot, 0);
    KERNEL_CHECK_LE(slot, args.state.shape[0] - 1);
    float* u = args.state.row(slot);
    const State state{.u = u, .g = u + rows * width, .rows = rows, .width = width};
    if (batch.positions[t] == 0) Reset(state);
    Append(args, state, t);
    if ((batch.positions[t] + 1) % args.ratio() != 0) continue;
    pool({.u = state.u, .g = state.g, .slots = rows, .dim = args.dim(), .stride = width}, v);
    Emit(args, v, t, row);
    if (rows > args.ratio()) {
      std::copy_n(state.u + kOverlap * width, kOverlap * width, state.u);
      std::copy_n(state.g + kOverlap * width, kOverlap * width, state.g);
    }
  }
}

}  // namespace tandem::kernels
