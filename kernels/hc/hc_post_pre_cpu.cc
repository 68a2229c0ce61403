// SPDX-License-Identifier: Apache-2.0
#include "kernels/hc/hc_post_pre.h"

namespace tandem::kernels {
namespace cpu {

void HcPostPre(const HcPostPreArgs& args, Stream& stream) {
  CheckHcPostPre(args);
  KERNEL_CHECK_EQ(args.peers.ranks, 1);
  HcPost(args.post, stream);
  HcPreNormQuant(args.next, stream);
}

}  // namespace cpu

namespace fast {

void HcPostPre(const HcPostPreArgs& args, Stream& stream) {
  CheckHcPostPre(args);
  KERNEL_CHECK_EQ(args.peers.ranks, 1);
  cpu::HcPost(args.post, stream);
  HcPreNormQuant(args.next, stream);
}

}  // namespace fast

}  // namespace tandem::kernels
