// SPDX-License-Identifier: Apache-2.0
// top_logprobs: log-probability of a chosen token, and the best tokens with theirs, of the raw
// logits.
//
// Math      logprob[v] = l_v − (max + ln Σ e^{l − max});  chosen = logprob[token]
//           ids[t] = the K largest, ties to the lowest id, best first;  values = their
//           log-probabilities
// Shapes    logits[T,V]  token[T]  →  chosen[T]  ids[T,K]  values[T,K]      0 ≤ K ≤ V
// Layout    row-major fp32, int32. Raw: before penalties, temperature and filters. token −1: chosen
//           is −∞.
// Numerics  fp64 sum in ascending id (on a device, over fixed blocks of ids; K ≤ 4096), results
//           rounded to fp32. NaN logits are −∞.
// Cost      4V bytes a row: memory-bound
// Roofline  V=129280, T=64 → 33 MB → 7 µs at 4.8 TB/s
// Source    design.md 2 (logprobs)
#pragma once

#include <cstdint>

#include "kernels/common/contract.h"
#include "kernels/common/stream.h"
#include "kernels/common/tensor.h"

namespace tandem::kernels {

struct TopLogprobsArgs {
  TensorView<const float, 2> logits;   // [T, V]
  TensorView<const int32_t, 1> token;  // [T]
  TensorView<float, 1> chosen;         // [T]
  TensorView<int32_t, 2> ids;          // [T, K]
  TensorView<float, 2> values;         // [T, K]
};

inline void CheckTopLogprobs(const TopLogprobsArgs& args) {
  KERNEL_CHECK_GE(args.logits.shape[1], 1);
  KERNEL_CHECK_EQ(args.token.shape[0], args.logits.shape[0]);
  KERNEL_CHECK_EQ(args.chosen.shape[0], args.logits.shape[0]);
  KERNEL_CHECK_EQ(args.ids.shape[0], args.logits.shape[0]);
  KERNEL_CHECK_EQ(args.values.shape[0], args.logits.shape[0]);
  KERNEL_CHECK_EQ(args.values.shape[1], args.ids.shape[1]);
  KERNEL_CHECK_LE(args.ids.shape[1], args.logits.shape[1]);
}

namespace cpu {
void TopLogprobs(const TopLogprobsArgs& args, Stream& stream);
}
namespace cuda {
void TopLogprobs(const TopLogprobsArgs& args, Stream& stream);
}

}  // namespace tandem::kernels
