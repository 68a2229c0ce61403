// SPDX-License-Identifier: Apache-2.0
#include "kernels/hc/hc_job.h"
#include "kernels/hc/hc_pre.h"

namespace tandem::kernels::cuda {

HcJob JobOf(const HcPreArgs& args) {
  HcJob job = MixOf("hc_pre", args);
  job.iterations = args.iterations;
  job.post = args.post.data;
  job.comb = args.comb.data;
  return job;
}

void HcPre(const HcPreArgs& args, Stream& stream) {
  CheckHcPre(args);
  RunHcJob(JobOf(args), stream);
}

}  // namespace tandem::kernels::cuda
