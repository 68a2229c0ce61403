// SPDX-License-Identifier: Apache-2.0
#include "kernels/hc/hc_head.h"
#include "kernels/hc/hc_job.h"

namespace tandem::kernels::cuda {

void HcHead(const HcHeadArgs& args, Stream& stream) {
  CheckHcHead(args);
  RunHcJob(MixOf("hc_head", args), stream);
}

}  // namespace tandem::kernels::cuda
