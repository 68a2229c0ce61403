// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/linear_group.h"
#include "kernels/gemm/linear_group_parts.h"

namespace tandem::kernels {
namespace cpu {

void LinearGroup(const LinearGroupArgs& args, Stream& stream) {
  CheckLinearGroup(args);
  LinearGroupWith({.rms_norm = RmsNorm,
                   .act_quant = ActQuant,
                   .quant_linear = QuantLinear,
                   .bf16_linear = Bf16Linear},
                  args, stream);
}

}  // namespace cpu

}  // namespace tandem::kernels
