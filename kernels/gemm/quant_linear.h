// SPDX-License-Identifier: Apache-2.0
// quant_linear: FP8 activations through FP8 or FP4 weights, the linear layer of the model.
//
// Math      y[t,n] = bf( Σ_k ( q[t,k]·s[t,k/128] ) · W[n,k] )
// Shapes    q[T,K]  s[T,K/128]  W[N,K]  →  y[T,N]      K a multiple of 128
// Layout    row-major; q E4M3, s UE8M0 (act_quant), y bf16; W.format kFp8 or kFp4.
// Numerics  every product is exact in fp32. Reference: fp64 sum, one rounding. Others: fp32 sums of
//           128 products from zero, those added in fp32 in ascending k; |error| before the rounding
//           ≤ (127 + K/128)·2^-24·Σ|q·s·W|. A row's bits do not depend on T.
//           CUDA: so in each of up to 16 parts of K (by N and K alone), parts added in pairs, pairs
//           in ascending order; FP4 scales stand behind every 32 products. T > 64: tile_linear.h.
//           The weight must be prepared.
// Cost      NK bytes of weights (half for FP4), 2·T·N·K flop: memory-bound below T ≈ 300 on H200
// Roofline  N=32768, K=1024 (wq_b): T=1 → 33.6 MB → 7 µs at 4.8 TB/s; T=8192 → 0.55 TFLOP → 280 µs
//           at 1,979 TFLOP/s
// Source    reference/deepseek_v4.md 2.4, 4.2
#pragma once

#include "kernels/common/contract.h"
#include "kernels/common/dtype.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"
#include "kernels/gemm/linear_weight.h"
#include "kernels/quant/act_quant.h"

namespace tandem::kernels {

struct QuantLinearArgs {
  TensorView<const E4M3, 2> q;       // [T, K]
  TensorView<const Ue8m0, 2> scale;  // [T, K/128]
  LinearWeight weight;               // [N, K]
  TensorView<Bf16, 2> y;             // [T, N]
};

inline void CheckQuantLinear(const QuantLinearArgs& args) {
  CheckLinearWeight(args.weight);
  KERNEL_CHECK(args.weight.format != WeightFormat::kBf16);
  KERNEL_CHECK_EQ(args.q.shape[1], args.weight.k);
  KERNEL_CHECK_EQ(args.scale.shape[0], args.q.shape[0]);
  KERNEL_CHECK_EQ(args.scale.shape[1] * kActGroup, args.weight.k);
  KERNEL_CHECK_EQ(args.y.shape[0], args.q.shape[0]);
  KERNEL_CHECK_EQ(args.y.shape[1], args.weight.n);
}

namespace cpu {
void QuantLinear(const QuantLinearArgs& args, Stream& stream);
}
namespace fast {
void QuantLinear(const QuantLinearArgs& args, Stream& stream);
}
namespace cuda {
void QuantLinear(const QuantLinearArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
