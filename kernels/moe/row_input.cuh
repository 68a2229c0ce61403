// SPDX-License-Identifier: Apache-2.0
// Input of a warp's products (tile_product.cuh) that lies quantised in device memory.
// Internal to kernels/moe.
#pragma once

#include <cstdint>

#include "kernels/gemm/fragment_order.h"
#include "kernels/moe/plan.cuh"
#include "kernels/moe/quantised_rows.cuh"

namespace tandem::kernels::cuda {

// Rows of x in device memory as a warp's input, from group `first` on.
class RowInput {
 public:
  RowInput() = default;
  __device__ __forceinline__ RowInput(const HalfRows& x, int dim, const Columns& columns, int topk,
                                      int first) {
    const int lane = static_cast<int>(threadIdx.x) % 32, c = lane % 4;
    all_scales_ = x.scales;
    const int groups = dim / kGroupColumns;
    const int row = columns.of(lane / 4) / topk;
    codes_ = reinterpret_cast<const uint4*>(x.codes + int64_t{row} * dim + first * kGroupColumns +
                                            kUnitCodes * c);
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      scales_[j] = columns.of(2 * c + j) / topk * groups + first;
    }
  }
  template <int kSlotColumns>
  __device__ __forceinline__ void Prepare(int) const {}
  template <int kSlotColumns>
  __device__ __forceinline__ const uint4* Codes(int slot) const {
    return codes_ + kSlotColumns / kUnitCodes * slot;
  }
  __device__ __forceinline__ float2 Scales(int group) const {
    return {all_scales_[scales_[0] + group], all_scales_[scales_[1] + group]};
  }

 private:
  const uint4* codes_;
  const float* all_scales_;  // the same for all: no register
  int scales_[2];
};

}  // namespace tandem::kernels::cuda
