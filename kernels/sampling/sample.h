// SPDX-License-Identifier: Apache-2.0
// sample: draw one token a row.
//
// Math      temperature 0: the largest logit, ties to the lowest id. Otherwise, with p_v = e^{(l_v
//           − max)/temperature}:
//           keep v with p_v ≥ min_p (max p is 1); of these the top_k largest; of these the
//           shortest run, largest first, whose
//           sum reaches top_p of their sum; ties to the lowest id, at least one is kept.
//           token = the first kept v in ascending id whose running sum exceeds u·(sum of the kept)
// Shapes    logits[T,V]  temperature, top_p, min_p, u[T]  top_k[T]  →  token[T]
// Layout    row-major fp32; top_k, token int32. top_k ≤ 0 or ≥ V, top_p ≥ 1, min_p ≤ 0: off. u in
//           [0, 1).
// Numerics  exponentials and sums in fp64, ascending id. NaN logits are −∞; a row of nothing else
//           gives token 0; where the maximum is +∞ only its equals count. On a device: the sum
//           over fixed blocks of ids; top_k and top_p rank by logits, and top_p compares sums of
//           masses in units of 2^-44.
// Cost      4V bytes a row: memory-bound; a sort of the row only where top_k or top_p is on
// Roofline  V=129280, T=64 → 33 MB → 7 µs at 4.8 TB/s
// Source    reference/deepseek_v4.md 3.11, 6.6; the order of filters is vLLM's
#pragma once

#include <cstdint>

#include "kernels/common/contract.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

struct SampleArgs {
  TensorView<const float, 2> logits;       // [T, V]
  TensorView<const float, 1> temperature;  // [T] ≥ 0
  TensorView<const int32_t, 1> top_k;      // [T]
  TensorView<const float, 1> top_p;        // [T]
  TensorView<const float, 1> min_p;        // [T]
  TensorView<const float, 1> u;            // [T]
  TensorView<int32_t, 1> token;            // [T]
};

inline void CheckSample(const SampleArgs& args) {
  KERNEL_CHECK_GE(args.logits.shape[1], 1);
  KERNEL_CHECK_EQ(args.temperature.shape[0], args.logits.shape[0]);
  KERNEL_CHECK_EQ(args.top_k.shape[0], args.logits.shape[0]);
  KERNEL_CHECK_EQ(args.top_p.shape[0], args.logits.shape[0]);
  KERNEL_CHECK_EQ(args.min_p.shape[0], args.logits.shape[0]);
  KERNEL_CHECK_EQ(args.u.shape[0], args.logits.shape[0]);
  KERNEL_CHECK_EQ(args.token.shape[0], args.logits.shape[0]);
}

namespace cpu {
void Sample(const SampleArgs& args, Stream& stream);
}
namespace cuda {
void Sample(const SampleArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
