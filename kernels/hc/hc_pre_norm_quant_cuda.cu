// SPDX-License-Identifier: Apache-2.0
#include "kernels/hc/hc_job.h"
#include "kernels/hc/hc_pre_norm_quant.h"

namespace tandem::kernels::cuda {

HcJob JobOf(const HcPreNormQuantArgs& args) {
  return {.name = "hc_pre_norm_quant",
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
          .comb = args.comb.data,
          .norm = args.norm.data,
          .q = args.q.data,
          .q_scale = args.q_scale.data};
}

void HcPreNormQuant(const HcPreNormQuantArgs& args, Stream& stream) {
  CheckHcPreNormQuant(args);
  RunHcJob(JobOf(args), stream);
}

}  // namespace tandem::kernels::cuda
