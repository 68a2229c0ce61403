// SPDX-License-Identifier: Apache-2.0
#include "kernels/hc/hc_job.h"
#include "kernels/hc/hc_pre_norm_quant.h"

namespace tandem::kernels::cuda {

HcJob JobOf(const HcPreNormQuantArgs& args) {
  HcJob job = JobOf(args.pre());
  job.name = "hc_pre_norm_quant";
  job.norm = args.norm.data;
  job.q = args.q.data;
  job.q_scale = args.q_scale.data;
  return job;
}

void HcPreNormQuant(const HcPreNormQuantArgs& args, Stream& stream) {
  CheckHcPreNormQuant(args);
  RunHcJob(JobOf(args), stream);
}

}  // namespace tandem::kernels::cuda
