// SPDX-License-Identifier: Apache-2.0
// hadamard: rotate indexer vectors by the Hadamard matrix, so that four bits lose less.
//
// Math      y[i] = bf( 128^-½ · Σ_j (−1)^popcount(i & j) · x[j] )
// Shapes    x[R,128], in place
// Layout    row-major, bf16.
// Numerics  seven fp32 butterfly stages (strides 1, 2, .. 64), fp32 scale 0.08838834764831845, one
//           rounding to bf16. The order of sums is part of the definition: exact.
// Cost      512 bytes, 1,024 flop a row: memory-bound
// Roofline  R = 64·8192 → 268 MB → 56 µs at 4.8 TB/s; fuse with rope and fp4_quant
// Source    reference/deepseek_v4.md 3.7
#pragma once

#include "kernels/common/contract.h"
#include "kernels/common/dtype.h"
#include "kernels/common/paged_rows.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

struct HadamardArgs {
  TensorView<Bf16, 2> x;  // [R, 128]
};

inline void CheckHadamard(const HadamardArgs& args) {
  KERNEL_CHECK_EQ(args.x.shape[1], kIndexDim);
}

// One vector of 128, shared with the compressor.
void Hadamard128(Bf16* x);

namespace cpu {
void Hadamard(const HadamardArgs& args, Stream& stream);
}
namespace cuda {
void Hadamard(const HadamardArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
