// SPDX-License-Identifier: Apache-2.0
// index_query: the indexer's queries, from their projection to FP4: rope, hadamard and fp4_quant in
// one.
//
// Math      q[t,h] = fp4_quant( hadamard( rope( x[t,h] ) ) ), each as its own contract says
// Shapes    x[T,H,128]  cos[T,32]  sin[T,32]  →  q[T,H,64] (two codes a byte)  scale[T,H,4]
// Layout    row-major; x bf16, only read; tables fp32 (rope_table); low nibble = even index; scale
//           UE8M0 bytes.
// Numerics  exact: the same roundings to bf16 after rope and after hadamard as the three.
// Cost      324 bytes, 1,300 flop a head: memory-bound
// Roofline  H=64: T=8192 → 172 MB → 36 µs at 4.8 TB/s; T=1 → launch-bound
// Source    reference/deepseek_v4.md 3.4, 3.7, 4.4
#pragma once

#include <cstdint>

#include "kernels/common/contract.h"
#include "kernels/common/dtype.h"
#include "kernels/common/paged_rows.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

struct IndexQueryArgs {
  TensorView<const Bf16, 3> x;     // [T, H, 128]
  TensorView<const float, 2> cos;  // [T, 32]
  TensorView<const float, 2> sin;  // [T, 32]
  TensorView<uint8_t, 3> q;        // [T, H, 64]
  TensorView<Ue8m0, 3> scale;      // [T, H, 4]
};

inline void CheckIndexQuery(const IndexQueryArgs& args) {
  KERNEL_CHECK_EQ(args.x.shape[2], kIndexDim);
  KERNEL_CHECK_EQ(args.cos.shape[0], args.x.shape[0]);
  KERNEL_CHECK_EQ(args.sin.shape[0], args.x.shape[0]);
  KERNEL_CHECK_EQ(args.cos.shape[1], kRopeDim / 2);
  KERNEL_CHECK_EQ(args.sin.shape[1], kRopeDim / 2);
  KERNEL_CHECK_EQ(args.q.shape[0], args.x.shape[0]);
  KERNEL_CHECK_EQ(args.q.shape[1], args.x.shape[1]);
  KERNEL_CHECK_EQ(args.q.shape[2], kIndexRowBytes);
  KERNEL_CHECK_EQ(args.scale.shape[0], args.x.shape[0]);
  KERNEL_CHECK_EQ(args.scale.shape[1], args.x.shape[1]);
  KERNEL_CHECK_EQ(args.scale.shape[2], kIndexRowScales);
}

namespace cpu {
void IndexQuery(const IndexQueryArgs& args, Stream& stream);
}
namespace cuda {
void IndexQuery(const IndexQueryArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
