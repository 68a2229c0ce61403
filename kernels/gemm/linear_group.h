// SPDX-License-Identifier: Apache-2.0
// linear_group: all linear layers of one input, at once.
//
// Math      (q, s) as given, or act_quant(x), or act_quant(rms_norm(x)) where `norm` is given
//           y_i[t,n] = quant_linear(q, s, W_i) where W_i is kFp8; bf16_linear(x, W_i) where kBf16
// Shapes    x[T,K]  norm[K]  q[T,K]  s[T,K/128]  W_i[N_i,K]  →  y_i[T,N_i]
// Layout    row-major; x bf16, q E4M3, s UE8M0; y bf16 or, of a kBf16 weight, fp32.
// Numerics  the same bits as the operations it stands for, in every table.
// Cost      the weights' bytes, 2·T·ΣN_i·K flop: memory-bound below T ≈ 300 on H200
// Roofline  a CSA layer's first (wq_a, wkv, wkv, wgate, the indexer's, weights_proj): 27.8 MB → 5.8
//           µs at 4.8 TB/s; its second (wq_b, the indexer's, K=1024) of a shard of two: 25.2 MB →
//           5.2 µs. One by one every launch pays 1 to 2 µs until its weights flow.
// Source    reference/deepseek_v4.md 3.3, 3.6, 3.7
#pragma once

#include <cstdint>
#include <span>

#include "kernels/common/contract.h"
#include "kernels/common/dtype.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"
#include "kernels/gemm/linear_weight.h"
#include "kernels/quant/act_quant.h"

namespace tandem::kernels {

inline constexpr int kMostLinears = 8;  // of a group

struct GroupLinear {
  LinearWeight weight;           // [N, K], kFp8 or kBf16
  TensorView<Bf16, 2> y;         // [T, N], of a kFp8 weight
  TensorView<float, 2> y_float;  // [T, N], of a kBf16 weight
};

struct LinearGroupArgs {
  TensorView<const Bf16, 2> x;           // [T, K]; null: q is given and every weight is kFp8
  TensorView<const Bf16, 1> norm;        // [K]; null: x as it is. Given: every weight is kFp8
  float eps = 0;                         // of the norm
  TensorView<const E4M3, 2> q;           // [T, K]; null: x is quantised here
  TensorView<const Ue8m0, 2> scale;      // [T, K/128]
  std::span<const GroupLinear> linears;  // 1 .. kMostLinears, on the host

  int64_t tokens() const { return x.data != nullptr ? x.shape[0] : q.shape[0]; }
};

inline void CheckLinearGroup(const LinearGroupArgs& args) {
  const int64_t tokens = args.tokens();
  const auto count = static_cast<int64_t>(args.linears.size());
  KERNEL_CHECK_GE(count, 1);
  KERNEL_CHECK_LE(count, kMostLinears);
  KERNEL_CHECK(args.x.data != nullptr || args.q.data != nullptr);
  KERNEL_CHECK(args.norm.data == nullptr || (args.x.data != nullptr && args.q.data == nullptr));
  const int64_t k = args.linears[0].weight.k;
  if (args.x.data != nullptr) KERNEL_CHECK_EQ(args.x.shape[1], k);
  if (args.norm.data != nullptr) KERNEL_CHECK_EQ(args.norm.shape[0], k);
  if (args.q.data != nullptr) {
    KERNEL_CHECK_EQ(args.q.shape[0], tokens);
    KERNEL_CHECK_EQ(args.q.shape[1], k);
    KERNEL_CHECK_EQ(args.scale.shape[0], tokens);
    KERNEL_CHECK_EQ(args.scale.shape[1] * kActGroup, k);
  }
  for (const GroupLinear& linear : args.linears) {
    CheckLinearWeight(linear.weight);
    KERNEL_CHECK_EQ(linear.weight.k, k);
    if (linear.weight.format == WeightFormat::kFp8) {
      KERNEL_CHECK_EQ(linear.y.shape[0], tokens);
      KERNEL_CHECK_EQ(linear.y.shape[1], linear.weight.n);
    } else {
      KERNEL_CHECK(linear.weight.format == WeightFormat::kBf16);
      KERNEL_CHECK(args.x.data != nullptr && args.norm.data == nullptr);
      KERNEL_CHECK_EQ(linear.y_float.shape[0], tokens);
      KERNEL_CHECK_EQ(linear.y_float.shape[1], linear.weight.n);
    }
  }
}

namespace cpu {
void LinearGroup(const LinearGroupArgs& args, Stream& stream);
}
namespace fast {
void LinearGroup(const LinearGroupArgs& args, Stream& stream);
}
namespace cuda {
void LinearGroup(const LinearGroupArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
