// SPDX-License-Identifier: Apache-2.0
// fp4_quant: indexer queries to E2M1 under one power-of-two scale per 32 values.
//
// Math      a = max(max|x|, 6·2^-126);  s = 2^⌈log2 fp32(a·fp32(1/6))⌉;  q = e2m1( x / s )
// Shapes    x[R,128]  →  q[R,64] (two codes a byte)  s[R,4]
// Layout    row-major; x bf16; low nibble = even index; s UE8M0 bytes.
// Numerics  exact: RNE, saturating, exponent from the bits.
// Cost      324 bytes a row: memory-bound
// Roofline  R = 64·8192 → 170 MB → 35 µs at 4.8 TB/s
// Source    reference/deepseek_v4.md 4.4; kernels/common/quantise.h
#pragma once

#include <cstdint>

#include "kernels/common/contract.h"
#include "kernels/common/dtype.h"
#include "kernels/common/paged_rows.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

struct Fp4QuantArgs {
  TensorView<const Bf16, 2> x;  // [R, 128]
  TensorView<uint8_t, 2> q;     // [R, 64]
  TensorView<Ue8m0, 2> scale;   // [R, 4]
};

inline void CheckFp4Quant(const Fp4QuantArgs& args) {
  KERNEL_CHECK_EQ(args.x.shape[1], kIndexDim);
  KERNEL_CHECK_EQ(args.q.shape[0], args.x.shape[0]);
  KERNEL_CHECK_EQ(args.q.shape[1], kIndexRowBytes);
  KERNEL_CHECK_EQ(args.scale.shape[0], args.x.shape[0]);
  KERNEL_CHECK_EQ(args.scale.shape[1], kIndexRowScales);
}

namespace cpu {
void Fp4Quant(const Fp4QuantArgs& args, Stream& stream);
}
namespace cuda {
void Fp4Quant(const Fp4QuantArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
