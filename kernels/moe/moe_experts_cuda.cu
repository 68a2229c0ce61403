// SPDX-License-Identifier: Apache-2.0
#include "kernels/moe/moe_experts.h"
#include "kernels/moe/moe_experts_small.h"
#include "kernels/moe/moe_tiles.h"

namespace tandem::kernels::cuda {

void MoeExperts(const MoeExpertsArgs& args, Stream& stream) {
  CheckMoeExperts(args);
  const int64_t tokens = args.x.shape[0], topk = args.experts.shape[1];
  if (tokens > SmallTokens(topk)) return MoeExpertsGrouped(args, stream);
  if (tokens == 0) return;
  const Routes routes{.experts = args.experts.data,
                      .weight = args.weight.data,
                      .tokens = static_cast<int32_t>(tokens),
                      .topk = static_cast<int32_t>(topk),
                      .first_expert = static_cast<int32_t>(args.first_expert),
                      .expert_count = static_cast<int32_t>(args.routed.shape[0])};
  MoeExpertsSmall(args, routes, stream);
}

}  // namespace tandem::kernels::cuda
