// SPDX-License-Identifier: Apache-2.0
// swiglu: the clamped gate of an expert, times its routing weight.
//
// Math      out[t,i] = bf( weight[t] · ( silu(min(a[t,i], limit)) · clamp(b[t,i], −limit, limit) )
//           ),  silu(x) = x / (1 + e^−x)
// Shapes    a[T,I]  b[T,I]  weight[T] (optional: 1)  →  out[T,I]
// Layout    row-major; a (gate, w1), b (up, w3), out bf16; weight fp32. out may be a.
// Numerics  silu in fp64 rounded to fp32, products in fp32, one rounding to bf16. The weight is
//           applied here, before w2.
// Cost      6I + 4 bytes a token: memory-bound
// Roofline  I=2048: 49,152 pairs → 604 MB → 126 µs at 4.8 TB/s; fuse into the w1/w3 product
// Source    reference/deepseek_v4.md 3.10; pitfalls 10, 11, 12
#pragma once

#include "kernels/common/contract.h"
#include "kernels/common/dtype.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

struct SwigluArgs {
  TensorView<const Bf16, 2> a;        // [T, I]
  TensorView<const Bf16, 2> b;        // [T, I]
  TensorView<const float, 1> weight;  // [T]; data null: 1
  float limit = 0;                    // swiglu_limit
  TensorView<Bf16, 2> out;            // [T, I]
};

inline void CheckSwiglu(const SwigluArgs& args) {
  for (int i = 0; i < 2; ++i) {
    KERNEL_CHECK_EQ(args.b.shape[i], args.a.shape[i]);
    KERNEL_CHECK_EQ(args.out.shape[i], args.a.shape[i]);
  }
  if (args.weight.data != nullptr) KERNEL_CHECK_EQ(args.weight.shape[0], args.a.shape[0]);
}

namespace cpu {
void Swiglu(const SwigluArgs& args, Stream& stream);
}
namespace cuda {
void Swiglu(const SwigluArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
