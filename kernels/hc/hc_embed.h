// SPDX-License-Identifier: Apache-2.0
// hc_embed: a token's embedding, copied to every stream.
//
// Math      X[t,i,:] = E[token[t],:]
// Shapes    token[T]  E[V,D]  →  X[T,M,D]      M = hc_mult
// Layout    row-major; E and X bf16, token int32 in 0..V−1 (fatal on the CPU otherwise).
// Numerics  a copy.
// Cost      2D(1+M) bytes a token: memory-bound
// Roofline  D=4096, M=4: T=8192 → 336 MB → 70 µs at 4.8 TB/s
// Source    reference/deepseek_v4.md 3.1
#pragma once

#include <cstdint>

#include "kernels/common/contract.h"
#include "kernels/common/dtype.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

struct HcEmbedArgs {
  TensorView<const int32_t, 1> tokens;  // [T]
  TensorView<const Bf16, 2> embed;      // [V, D]
  TensorView<Bf16, 3> streams;          // [T, M, D]
};

inline void CheckHcEmbed(const HcEmbedArgs& args) {
  KERNEL_CHECK_EQ(args.streams.shape[0], args.tokens.shape[0]);
  KERNEL_CHECK_EQ(args.streams.shape[2], args.embed.shape[1]);
}

namespace cpu {
void HcEmbed(const HcEmbedArgs& args, Stream& stream);
}
namespace cuda {
void HcEmbed(const HcEmbedArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
