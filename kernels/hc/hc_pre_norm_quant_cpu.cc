// SPDX-License-Identifier: Apache-2.0
#include "kernels/hc/hc_pre_norm_quant.h"

namespace tandem::kernels {
namespace {

void NormAndQuantise(const HcPreNormQuantArgs& args, Stream& stream) {
  cpu::RmsNorm({.x = args.x, .weight = args.norm, .eps = args.norm_eps, .y = args.x}, stream);
  cpu::ActQuant({.x = args.x, .q = args.q, .scale = args.q_scale}, stream);
}

}  // namespace

namespace cpu {

void HcPreNormQuant(const HcPreNormQuantArgs& args, Stream& stream) {
  CheckHcPreNormQuant(args);
  HcPre(args.pre(), stream);
  NormAndQuantise(args, stream);
}

}  // namespace cpu

namespace fast {

void HcPreNormQuant(const HcPreNormQuantArgs& args, Stream& stream) {
  CheckHcPreNormQuant(args);
  HcPre(args.pre(), stream);
  NormAndQuantise(args, stream);
}

}  // namespace fast

}  // namespace tandem::kernels
