// SPDX-License-Identifier: Apache-2.0
#include "kernels/hc/hc_head.h"
#include "kernels/hc/hc_job.h"

namespace tandem::kernels::cuda {

void HcHead(const HcHeadArgs& args, Stream& stream) {
  CheckHcHead(args);
  RunHcJob({.name = "hc_head",
            .tokens = args.streams.shape[0],
            .streams_count = args.streams.shape[1],
            .dim = args.streams.shape[2],
            .mixes = args.fn.shape[0],
            .streams = const_cast<Bf16*>(args.streams.data),
            .fn = args.fn.data,
            .base = args.base.data,
            .scale = args.scale.data,
            .norm_eps = args.norm_eps,
            .hc_eps = args.hc_eps,
            .x = args.x.data},
           stream);
}

}  // namespace tandem::kernels::cuda
