// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/linear_group.h"
#include "kernels/gemm/linear_group_parts.h"

namespace tandem::kernels {
namespace fast {

void LinearGroup(const LinearGroupArgs& args, Stream& stream) {
  CheckLinearGroup(args);
  LinearGroupWith({.rms_norm = cpu::RmsNorm,
                   .act_quant = cpu::ActQuant,
                   .quant_linear = QuantLinear,
                   .bf16_linear = Bf16Linear},
                  args, stream);
}

}  // namespace fast

}  // namespace tandem::kernels
