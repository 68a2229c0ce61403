// SPDX-License-Identifier: Apache-2.0
// bf16_linear: BF16 in, FP32 out; the compressors' wkv and wgate, the router, weights_proj and the
// LM head.
//
// Math      y[t,n] = Σ_k x[t,k]·W[n,k]
// Shapes    x[T,K]  W[N,K]  →  y[T,N]      any sizes
// Layout    row-major; x bf16, W.format kBf16, y fp32.
// Numerics  products exact in fp32. Reference: fp64 sum, rounded to fp32. Others: fp32 sums of 128
//           products from zero, those added in fp32 in ascending k; |error| ≤ (127 +
//           ⌈K/128⌉)·2^-24·Σ|x·W|. Not rounded to bf16. A row's bits do not depend on T.
//           CUDA: sums of 64, in up to 16 parts of K as in quant_linear. The weight must be
//           prepared.
// Cost      2NK bytes of weights, 2·T·N·K flop: memory-bound below T ≈ 300 on H200
// Roofline  LM head N=129280, K=4096: T=1 → 1.06 GB → 221 µs at 4.8 TB/s
// Source    reference/deepseek_v4.md 3.6, 3.10, 3.11
#pragma once

#include "kernels/common/contract.h"
#include "kernels/common/dtype.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"
#include "kernels/gemm/linear_weight.h"

namespace tandem::kernels {

struct Bf16LinearArgs {
  TensorView<const Bf16, 2> x;  // [T, K]
  LinearWeight weight;          // [N, K]
  TensorView<float, 2> y;       // [T, N]
};

inline void CheckBf16Linear(const Bf16LinearArgs& args) {
  CheckLinearWeight(args.weight);
  KERNEL_CHECK(args.weight.format == WeightFormat::kBf16);
  KERNEL_CHECK_EQ(args.x.shape[1], args.weight.k);
  KERNEL_CHECK_EQ(args.y.shape[0], args.x.shape[0]);
  KERNEL_CHECK_EQ(args.y.shape[1], args.weight.n);
}

namespace cpu {
void Bf16Linear(const Bf16LinearArgs& args, Stream& stream);
}
namespace fast {
void Bf16Linear(const Bf16LinearArgs& args, Stream& stream);
}
namespace cuda {
void Bf16Linear(const Bf16LinearArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
