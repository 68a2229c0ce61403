// SPDX-License-Identifier: Apache-2.0
#include "kernels/hc/hc_head.h"
#include "kernels/hc/hc_mix.h"

namespace tandem::kernels {
namespace cpu {

void HcHead(const HcHeadArgs& args, Stream& /*stream*/) {
  HcHeadWith(HcMixes, args);
}

}  // namespace cpu

}  // namespace tandem::kernels
