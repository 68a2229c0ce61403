// SPDX-License-Identifier: Apache-2.0
// Input of a warp's products (tile_product.cuh) that it quantises itself, a window of columns at a
// time, into shared memory of its own, while the weights arrive.
// Internal to kernels/moe.
#pragma once

#include <cstdint>

#include "kernels/common/tensor.h"
#include "kernels/gemm/fragment_order.h"
#include "kernels/moe/plan.cuh"
#include "kernels/moe/quantised_rows.cuh"

namespace tandem::kernels::cuda {

class StagedInput {
 public:
  // The first `columns` columns of the rows of x [., stride].
  struct Source {
    const Bf16* x;
    int stride, columns;
  };

  static constexpr __host__ __device__ int Bytes(int tokens) {
    const int few = tokens < kFewRows ? tokens : kFewRows;
    const int bytes = few * RowBytes(kFewColumns), all = tokens * RowBytes(kColumnsOfMany);
    return (tokens > kFewRows && all > bytes ? all : bytes) + kScaleBytes;
  }

  __device__ __forceinline__ StagedInput(const Source& source, const Columns& columns,
                                         uint8_t* shared)
      : source_(source),
        columns_(columns),
        shared_(shared),
        window_(columns.count > kFewRows ? kColumnsOfMany : kFewColumns),
        piece_bits_(columns.count > kFewRows ? kManyPieceBits : kFewPieceBits) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int row = min(lane / 4, columns.count - 1);
    mine_ = kScaleBytes + row * RowBytes(window_) + kLoadBytes * (lane % 4);
  }

  template <int kSlotColumns>
  __device__ __forceinline__ void Prepare(int slot) const {
    const int column = kSlotColumns * slot;
    if (column % window_ == 0) Stage(column);
  }
  template <int kSlotColumns>
  __device__ __forceinline__ const uint4* Codes(int slot) const {
    return reinterpret_cast<const uint4*>(shared_ + mine_ +
                                          2 * (kSlotColumns * slot & (window_ - 1)));
  }
  __device__ __forceinline__ float2 Scales(int group) const {
    const int in_window = group & (window_ / kGroupColumns - 1);
    const int column = 2 * (static_cast<int>(threadIdx.x) % 4);
    return reinterpret_cast<const float2*>(shared_)[(in_window * 8 + column) / 2];
  }

 private:
  static constexpr int kFewRows = 4, kFewColumns = 512, kColumnsOfMany = 256;
  static constexpr int kFewPieceBits = 5, kManyPieceBits = 4;  // pieces of a window's row, log 2
  static_assert(kFewColumns == kPieceColumns << kFewPieceBits);
  static_assert(kColumnsOfMany == kPieceColumns << kManyPieceBits);
  static constexpr int kScaleBytes = kFewColumns / kGroupColumns * 8 * sizeof(float);
  // 64 bytes more than a multiple of 128: two rows are eight bank groups.
  static constexpr __host__ __device__ int RowBytes(int columns) { return 2 * columns + 64; }

  __device__ __forceinline__ void Stage(int column) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    __syncwarp();  // the window before has been read
#pragma unroll 1
    for (int first = 0; first < columns_.count << piece_bits_; first += 32) {
      const int j = (first + lane) >> piece_bits_,
                piece = (first + lane) & ((1 << piece_bits_) - 1);
      const int row = columns_.of(j);
      const bool on = j < columns_.count && column + piece * kPieceColumns < source_.columns;
      uint32_t v[8];
      LoadPiece(source_.x + int64_t{row} * source_.stride + column + piece * kPieceColumns, on, v);
      const float scale = QuantisePiece(v);
      if (!on) continue;
      StorePiece(v, shared_ + kScaleBytes + j * RowBytes(window_) + 2 * kPieceColumns * piece);
      if (piece % kPiecesPerGroup == 0) {
        reinterpret_cast<float*>(shared_)[piece / kPiecesPerGroup * 8 + j] = scale;
      }
    }
    __syncwarp();
  }

  Source source_;
  Columns columns_;
  uint8_t* shared_;
  int window_;      // columns
  int piece_bits_;  // log 2 of its pieces a row
  int mine_;        // where this lane's part of its row is
};

}  // namespace tandem::kernels::cuda
