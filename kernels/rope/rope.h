// SPDX-License-Identifier: Apache-2.0
// rope: rotate the last 64 values of every head by the position's angles, interleaved pairs; or
// back.
//
// Math      (a, b) = (x[2k], x[2k+1]) → bf( a·cos − b·sin ), bf( a·sin + b·cos );  inverse: sin ←
//           −sin
// Shapes    x[T,H,d], d ≥ 64, in place; cos[T,32]  sin[T,32]
// Layout    row-major, x bf16, tables fp32 (rope_table). Values before the last 64 are not touched.
// Numerics  fp32 products and sums (not fused), one rounding to bf16.
// Cost      256·H + 256 bytes, 192·H flop a token: memory-bound
// Roofline  H=64: T=8192 → 134 MB → 28 µs at 4.8 TB/s
// Source    reference/deepseek_v4.md 3.4
#pragma once

#include "kernels/common/contract.h"
#include "kernels/common/dtype.h"
#include "kernels/common/paged_rows.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

struct RopeArgs {
  TensorView<Bf16, 3> x;           // [T, H, d]
  TensorView<const float, 2> cos;  // [T, 32]
  TensorView<const float, 2> sin;  // [T, 32]
  bool inverse = false;
};

inline void CheckRope(const RopeArgs& args) {
  KERNEL_CHECK_GE(args.x.shape[2], kRopeDim);
  KERNEL_CHECK_EQ(args.cos.shape[0], args.x.shape[0]);
  KERNEL_CHECK_EQ(args.sin.shape[0], args.x.shape[0]);
  KERNEL_CHECK_EQ(args.cos.shape[1], kRopeDim / 2);
  KERNEL_CHECK_EQ(args.sin.shape[1], kRopeDim / 2);
}

// One vector's rotation, shared with the compressor: x is the 64 values, cos and sin [32].
void Rotate64(Bf16* x, const float* cos, const float* sin, bool inverse);

namespace cpu {
void Rope(const RopeArgs& args, Stream& stream);
}
namespace cuda {
void Rope(const RopeArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
