// SPDX-License-Identifier: Apache-2.0
// The compressor on a device: three kinds of blocks, none of which waits for another.
//
// A sequence's step has tokens at positions first .. last; W = ⌊first / ratio⌋ is the window that
// its first token is in. Windows that end in the step take their slots from this step's u and g
// but for those before `first`, which are in the state as the step before left it: window W, and
// with ratio 4 window W + 1, whose first half is window W.
//   Sequence blocks, one a sequence: the windows that read the state, then the state rows that
//   those
//     read. A thread reads and writes the same columns (and with ratio 128 the same rows), so its
//     own program order is all the order that is needed.
//   Window blocks, one for `ratio` tokens of the step: the windows behind those, from u and g
//   alone.
//     They end at least a window apart, so that a block has one at most.
//   Row blocks (ratio 128 only), one for 8 tokens: state rows that no window of this step reads,
//     those of phase >= first mod 128, whose slot in window W is a token of this step.
// So every state row is written by one kind of block, and read, if at all, only by that same thread
// before. What is written does not depend on how the sequence was cut: a row is a function of its
// slots, summed in an order of their own, and a state row is the last token of its phase.
// Internal to kernels/attention.
#pragma once

#include <cstdint>

#include "kernels/attention/compressor.h"
#include "kernels/attention/compressor_row.cuh"

namespace tandem::kernels::cuda {

inline constexpr int kBatch = 8;      // slots whose values are in registers at once
inline constexpr int kRowTokens = 8;  // of a row block

template <int kRatioOf, int kDimOf>
struct CompressorShape {
  static constexpr int kRatio = kRatioOf, kDim = kDimOf;
  static constexpr bool kOverlap = kRatio == 4;
  static constexpr int kHalves = kOverlap ? 2 : 1;
  static constexpr int kWidth = kHalves * kDim;
  static constexpr int kQuads = kDim / 4;
  static constexpr int kSlots = kOverlap ? 8 : kRatio;  // of a window, and rows of a state
  static constexpr int kParts = kOverlap ? 1 : 4;       // of the slots, each with its own threads
  static constexpr int kThreads = kQuads * kParts;
};

// One sequence's part of the step.
struct Piece {
  int sequence, begin, tokens, first, slot;
  __device__ int last() const { return first + tokens - 1; }
};

__device__ __forceinline__ Piece PieceOf(const Batch& batch, int sequence) {
  Piece p = {.sequence = sequence, .begin = batch.begin[sequence]};
  p.tokens = batch.begin[sequence + 1] - p.begin;
  p.slot = batch.slot[sequence];
  p.first = p.tokens > 0 ? batch.positions[p.begin] : 0;
  return p;
}

struct Value {
  float4 u = {0, 0, 0, 0};
  float4 g = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
};

__device__ __forceinline__ float4 Load4(const float* p) {
  return *reinterpret_cast<const float4*>(p);
}

// Four columns of a token of this step.
template <typename S>
__device__ __forceinline__ Value TokenValue(const CompressorArgs& args, int token, int phase,
                                            int column) {
  const int64_t at = int64_t{token} * S::kWidth + column;
  const float4 g = Load4(args.g.data + at), ape = Load4(args.ape.data + phase * S::kWidth + column);
  return {Load4(args.u.data + at), {g.x + ape.x, g.y + ape.y, g.z + ape.z, g.w + ape.w}};
}

template <typename S>
__device__ __forceinline__ float* StateAt(const CompressorArgs& args, int slot, int row,
                                          int column) {
  return args.state.data + (int64_t{slot} * 2 * S::kSlots + row) * S::kWidth + column;
}

template <typename S>
__device__ __forceinline__ Value StateValue(const CompressorArgs& args, int slot, int row,
                                            int column) {
  const float* u = StateAt<S>(args, slot, row, column);
  return {Load4(u), Load4(u + S::kSlots * S::kWidth)};
}

template <typename S>
__device__ __forceinline__ void WriteState(const CompressorArgs& args, int slot, int row,
                                           int column, const Value& value) {
  float* u = StateAt<S>(args, slot, row, column);
  *reinterpret_cast<float4*>(u) = value.u;
  *reinterpret_cast<float4*>(u + S::kSlots * S::kWidth) = value.g;
}

// Slot i of a window: of the step, of the state, or before the sequence.
template <typename S>
__device__ __forceinline__ Value SlotValue(const CompressorArgs& args, const Piece& piece,
                                           int window, int i, int quad) {
  const bool before = S::kOverlap && i < S::kRatio;
  const int phase = i % S::kRatio;
  const int position = (before ? window - 1 : window) * S::kRatio + phase;
  const int column = 4 * quad + (S::kOverlap && !before ? S::kDim : 0);
  if (position >= piece.first && position >= 0) {
    return TokenValue<S>(args, piece.begin + position - piece.first, phase, column);
  }
  if (piece.first == 0) return {};
  const bool shifted = before && window > piece.first / S::kRatio;  // not yet moved to 0..3
  return StateValue<S>(args, piece.slot, shifted ? i + S::kRatio : i, column);
}

// A softmax-weighted sum under way, for four dims.
struct Pool {
  float most[4], den[4], sum[4];
};

__device__ __forceinline__ void AddBatch(const Value (&values)[kBatch], bool first, Pool* pool) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    float u[kBatch], g[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      u[i] = j == 0   ? values[i].u.x
             : j == 1 ? values[i].u.y
             : j == 2 ? values[i].u.z
                      : values[i].u.w;
      g[i] = j == 0   ? values[i].g.x
             : j == 1 ? values[i].g.y
             : j == 2 ? values[i].g.z
                      : values[i].g.w;
    }
    float most = first ? g[0] : fmaxf(pool->most[j], g[0]);
#pragma unroll
    for (int i = 1; i < kBatch; ++i) most = fmaxf(most, g[i]);
    const float rescale = first ? 0.0f : expf(pool->most[j] - most);
    float den = first ? 0.0f : __fmul_rn(pool->den[j], rescale);
    float sum = first ? 0.0f : __fmul_rn(pool->sum[j], rescale);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const float a = expf(g[i] - most);
      den = __fadd_rn(den, a);
      sum = __fmaf_rn(a, u[i], sum);
    }
    pool->most[j] = most;
    pool->den[j] = den;
    pool->sum[j] = sum;
  }
}

// The parts of the slots, in order, into the first.
template <typename S>
__device__ __forceinline__ void CombineParts(Pool (&shared)[S::kParts][S::kQuads], int part,
                                             int quad, Pool* pool) {
  shared[part][quad] = *pool;
  __syncthreads();
  if (part != 0) return;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    float most = shared[0][quad].most[j];
#pragma unroll
    for (int i = 1; i < S::kParts; ++i) most = fmaxf(most, shared[i][quad].most[j]);
    float den = 0, sum = 0;
#pragma unroll
    for (int i = 0; i < S::kParts; ++i) {
      const float rescale = expf(shared[i][quad].most[j] - most);
      den = __fmaf_rn(shared[i][quad].den[j], rescale, den);
      sum = __fmaf_rn(shared[i][quad].sum[j], rescale, sum);
    }
    pool->den[j] = den;
    pool->sum[j] = sum;
  }
}

// Window `window` of a sequence to its row. The whole block.
template <typename S>
__device__ __forceinline__ void EmitRow(const CompressorArgs& args, const Piece& piece,
                                        int window) {
  __shared__ PairSum squares[32];
  const int quad = static_cast<int>(threadIdx.x) % S::kQuads;
  const int part = static_cast<int>(threadIdx.x) / S::kQuads;
  constexpr int kPart = S::kSlots / S::kParts;
  // Asked for before the slots, so that nothing waits for them behind the norm.
  constexpr int kPageRows = kPageTokens / S::kRatio;
  const bool paged = window / kPageRows < args.batch.pages.shape[1];
  const int32_t index =
      paged ? CompressedRow(args.batch.pages.row(piece.sequence), window, S::kRatio) : -1;
  QuadWeights weights = {};
  if (part == 0) weights = LoadQuadWeights<S::kDim>(args, quad, window * S::kRatio);
  Pool pool;
#pragma unroll 1
  for (int i = 0; i < kPart; i += kBatch) {
    Value values[kBatch];
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      values[k] = SlotValue<S>(args, piece, window, part * kPart + i + k, quad);
    }
    AddBatch(values, i == 0, &pool);
  }
  if constexpr (S::kParts > 1) {
    __shared__ Pool parts[S::kParts][S::kQuads];
    CombineParts<S>(parts, part, quad, &pool);
  }
  if (part == 0) {
    float v[4];
    PairSum sum;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      v[j] = __fdiv_rn(pool.sum[j], pool.den[j]);
      AddSquare(v[j], &sum);
    }
    const float r = InverseRms(BlockSum(sum, S::kQuads, squares), S::kDim, args.norm_eps);
    Quad row = NormAndRotate<S::kDim>(v, r, weights, quad);
    if (index >= 0) {
      if constexpr (S::kDim == kHeadDim) {
        WriteKvQuad(row, args.kv_rows, index, quad);
      } else {
        row = HadamardQuad(row, quad);
        WriteIndexerQuad(row, args.indexer_rows, index, quad);
      }
    }
  }
  __syncthreads();  // shared memory serves the next row
}

// The last position of a phase up to `last`; it may be before the step, or before 0.
__device__ __forceinline__ int LastOfPhase(int last, int phase, int ratio) {
  return last - ((last - phase) & (ratio - 1));
}

// Ratio 4: rows 0..3 are the last window that has ended, rows 4..7 the last token of each phase.
template <typename S>
__device__ __forceinline__ void UpdateOverlap(const CompressorArgs& args, const Piece& piece) {
  const int ended = (piece.last() + 1) / S::kRatio;
  const bool shift = ended > piece.first / S::kRatio, fresh = piece.first == 0;
#pragma unroll
  for (int half = 0; half < S::kHalves; ++half) {
    const int column = 4 * static_cast<int>(threadIdx.x) + half * S::kDim;
#pragma unroll
    for (int i = 0; i < S::kRatio; ++i) {
      if (shift) {
        const int position = (ended - 1) * S::kRatio + i;
        const Value value =
            position >= piece.first
                ? TokenValue<S>(args, piece.begin + position - piece.first, i, column)
                : StateValue<S>(args, piece.slot, S::kRatio + i, column);
        WriteState<S>(args, piece.slot, i, column, value);
      } else if (fresh) {
        WriteState<S>(args, piece.slot, i, column, {});
      }
      const int position = LastOfPhase(piece.last(), i, S::kRatio);
      if (position >= piece.first) {
        WriteState<S>(args, piece.slot, S::kRatio + i, column,
                      TokenValue<S>(args, piece.begin + position - piece.first, i, column));
      } else if (fresh) {
        WriteState<S>(args, piece.slot, S::kRatio + i, column, {});
      }
    }
  }
}

// Ratio 128: the rows that window W may have read, and those that a new sequence has no token for.
template <typename S>
__device__ __forceinline__ void UpdateRead(const CompressorArgs& args, const Piece& piece) {
  const int quad = static_cast<int>(threadIdx.x) % S::kQuads;
  const int part = static_cast<int>(threadIdx.x) / S::kQuads;
  constexpr int kPart = S::kSlots / S::kParts;
  for (int row = part * kPart; row < (part + 1) * kPart; ++row) {
    const int position = LastOfPhase(piece.last(), row, S::kRatio);
    if (row < piece.first % S::kRatio && position >= piece.first) {
      WriteState<S>(args, piece.slot, row, 4 * quad,
                    TokenValue<S>(args, piece.begin + position - piece.first, row, 4 * quad));
    } else if (piece.first == 0 && position < 0) {
      WriteState<S>(args, piece.slot, row, 4 * quad, {});
    }
  }
}

template <typename S>
__device__ __forceinline__ void SequenceBlock(const CompressorArgs& args, int sequence) {
  const Piece piece = PieceOf(args.batch, sequence);
  if (piece.tokens <= 0 || piece.slot < 0) return;
  const int window = piece.first / S::kRatio;
#pragma unroll 1
  for (int w = window; w < window + S::kHalves; ++w) {
    if ((w + 1) * S::kRatio - 1 <= piece.last()) EmitRow<S>(args, piece, w);
  }
  if constexpr (S::kOverlap) {
    UpdateOverlap<S>(args, piece);
  } else {
    UpdateRead<S>(args, piece);
  }
}

template <typename S>
__device__ __forceinline__ void WindowBlock(const CompressorArgs& args, int block) {
  __shared__ int found;
  if (threadIdx.x == 0) found = -1;
  __syncthreads();
  const int token = block * S::kRatio + static_cast<int>(threadIdx.x);
  if (static_cast<int>(threadIdx.x) < S::kRatio && token < args.batch.tokens()) {
    const int position = args.batch.positions[token];
    if ((position + 1) % S::kRatio == 0) {
      const int first = args.batch.positions[args.batch.begin[args.batch.sequence[token]]];
      if (position / S::kRatio >= first / S::kRatio + S::kHalves) found = token;
    }
  }
  __syncthreads();
  if (found < 0) return;
  const Piece piece = PieceOf(args.batch, args.batch.sequence[found]);
  if (piece.slot < 0) return;
  EmitRow<S>(args, piece, args.batch.positions[found] / S::kRatio);
}

template <typename S>
__device__ __forceinline__ void RowBlock(const CompressorArgs& args, int block) {
  const int quad = static_cast<int>(threadIdx.x) % S::kQuads;
  const int part = static_cast<int>(threadIdx.x) / S::kQuads;
#pragma unroll
  for (int i = 0; i < kRowTokens; i += S::kParts) {
    const int token = block * kRowTokens + i + part;
    if (token >= args.batch.tokens()) return;
    const Piece piece = PieceOf(args.batch, args.batch.sequence[token]);
    const int position = piece.first + token - piece.begin, row = position % S::kRatio;
    if (piece.slot < 0 || position + S::kRatio <= piece.last() || row < piece.first % S::kRatio) {
      continue;
    }
    WriteState<S>(args, piece.slot, row, 4 * quad, TokenValue<S>(args, token, row, 4 * quad));
  }
}

// Block `block` of CompressorBlocks. Threads from S::kThreads on have nothing to do.
template <typename S>
__device__ __forceinline__ void CompressorBlock(const CompressorArgs& args, int block) {
  if (static_cast<int>(threadIdx.x) >= S::kThreads) return;
  const int sequences = static_cast<int>(args.batch.sequences());
  const int windows = (static_cast<int>(args.batch.tokens()) + S::kRatio - 1) / S::kRatio;
  if (block < sequences) {
    SequenceBlock<S>(args, block);
  } else if (block < sequences + windows) {
    WindowBlock<S>(args, block - sequences);
  } else if constexpr (!S::kOverlap) {
    RowBlock<S>(args, block - sequences - windows);
  }
}

template <typename S>
unsigned CompressorBlocks(const CompressorArgs& args) {
  const int64_t tokens = args.batch.tokens();
  const int64_t rows = S::kOverlap ? 0 : (tokens + kRowTokens - 1) / kRowTokens;
  return static_cast<unsigned>(args.batch.sequences() + (tokens + S::kRatio - 1) / S::kRatio +
                               rows);
}

using CsaShape = CompressorShape<4, kHeadDim>;
using HcaShape = CompressorShape<128, kHeadDim>;
using IndexerShape = CompressorShape<4, kIndexDim>;

}  // namespace tandem::kernels::cuda
