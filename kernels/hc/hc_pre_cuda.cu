// SPDX-License-Identifier: Apache-2.0
#include "kernels/hc/hc_job.h"
#include "kernels/hc/hc_pre.h"

namespace tandem::kernels::cuda {

void HcPre(const HcPreArgs& args, Stream& stream) {
  CheckHcPre(args);
  RunHcJob({.name = "hc_pre",
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
            .iterations = args.iterations,
            .x = args.x.data,
            .post = args.post.data,
            .comb = args.comb.data},
           stream);
}

}  // namespace tandem::kernels::cuda
