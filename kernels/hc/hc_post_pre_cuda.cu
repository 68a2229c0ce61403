// SPDX-License-Identifier: Apache-2.0
#include "kernels/hc/hc_job.h"
#include "kernels/hc/hc_post_pre.h"

namespace tandem::kernels::cuda {

void HcPostPre(const HcPostPreArgs& args, Stream& stream) {
  CheckHcPostPre(args);
  HcJob job = JobOf(args.next);
  job.name = "hc_post_pre";
  job.y = args.post.y.data;
  job.post_in = args.post.post.data;
  job.comb_in = args.post.comb.data;
  job.peers = args.peers;
  RunHcJob(job, stream);
}

}  // namespace tandem::kernels::cuda
