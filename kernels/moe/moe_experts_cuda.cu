// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/moe/moe_experts.h"
#include "kernels/moe/moe_experts_small.h"

namespace tandem::kernels::cuda {
namespace {

// Many tokens as slices of few, until MoeExpertsGrouped takes them.
void InSlices(const MoeExpertsArgs& args, Stream& stream) {
  const int64_t tokens = args.x.shape[0], topk = args.experts.shape[1];
  const int64_t slice = SmallTokens(topk);
  for (int64_t t = 0; t < tokens; t += slice) {
    const int64_t n = std::min(slice, tokens - t);
    MoeExpertsArgs part = args;
    part.x = {args.x.row(t), {n, args.x.shape[1]}};
    part.experts = {args.experts.row(t), {n, topk}};
    part.weight = {args.weight.row(t), {n, topk}};
    part.y = {args.y.row(t), {n, args.y.shape[1]}};
    const Routes routes{.experts = part.experts.data,
                        .weight = part.weight.data,
                        .tokens = static_cast<int32_t>(n),
                        .topk = static_cast<int32_t>(topk),
                        .first_expert = static_cast<int32_t>(args.first_expert),
                        .expert_count = static_cast<int32_t>(args.routed.shape[0])};
    MoeExpertsSmall(part, routes, stream);
  }
}

}  // namespace

void MoeExperts(const MoeExpertsArgs& args, Stream& stream) {
  CheckMoeExperts(args);
  KERNEL_CHECK_LE(args.experts.shape[1], kSmallPairs);
  InSlices(args, stream);
}

}  // namespace tandem::kernels::cuda
