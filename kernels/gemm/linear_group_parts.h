// SPDX-License-Identifier: Apache-2.0
// linear_group as its operations one after the other: every table's but CUDA's for few tokens.
//
// Internal to kernels/gemm.
#pragma once

#include "kernels/gemm/bf16_linear.h"
#include "kernels/gemm/linear_group.h"
#include "kernels/gemm/quant_linear.h"
#include "kernels/norm/rms_norm.h"

namespace tandem::kernels {

struct LinearGroupOperations {
  void (*rms_norm)(const RmsNormArgs& args, Stream& stream);
  void (*act_quant)(const ActQuantArgs& args, Stream& stream);
  void (*quant_linear)(const QuantLinearArgs& args, Stream& stream);
  void (*bf16_linear)(const Bf16LinearArgs& args, Stream& stream);
};

inline bool WantsQuantised(const LinearGroupArgs& args) {
  for (const GroupLinear& linear : args.linears) {
    if (linear.weight.format == WeightFormat::kFp8) return args.q.data == nullptr;
  }
  return false;
}

// The same group with q given, in `scratch`; x as `args` has it.
inline LinearGroupArgs Quantised(const LinearGroupOperations& run, LinearGroupArgs args,
                                 Scratch& scratch, Stream& stream) {
  const int64_t tokens = args.tokens(), k = args.x.shape[1];
  TensorView<const Bf16, 2> x = args.x;
  if (args.norm.data != nullptr) {
    const TensorView<Bf16, 2> normed = {scratch.Take<Bf16>(tokens * k), {tokens, k}};
    run.rms_norm({.x = x, .weight = args.norm, .eps = args.eps, .y = normed}, stream);
    x = normed;
  }
  const TensorView<E4M3, 2> q = {scratch.Take<E4M3>(tokens * k), {tokens, k}};
  const TensorView<Ue8m0, 2> scale = {scratch.Take<Ue8m0>(tokens * k / kActGroup),
                                      {tokens, k / kActGroup}};
  run.act_quant({.x = x, .q = q, .scale = scale}, stream);
  args.norm = {};
  args.q = q;
  args.scale = scale;
  return args;
}

inline void LinearGroupWith(const LinearGroupOperations& run, const LinearGroupArgs& args,
                            Stream& stream) {
  Scratch scratch(stream);
  const LinearGroupArgs given = WantsQuantised(args) ? Quantised(run, args, scratch, stream) : args;
  for (const GroupLinear& linear : given.linears) {
    if (linear.weight.format == WeightFormat::kFp8) {
      run.quant_linear({.q = given.q, .scale = given.scale, .weight = linear.weight, .y = linear.y},
                       stream);
    } else {
      run.bf16_linear({.x = given.x, .weight = linear.weight, .y = linear.y_float}, stream);
    }
  }
}

}  // namespace tandem::kernels
