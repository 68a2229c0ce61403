// SPDX-License-Identifier: Apache-2.0
#include "kernels/moe/moe_layer.h"
#include "kernels/moe/moe_layer_parts.h"

namespace tandem::kernels {
namespace fast {

void MoeLayer(const MoeLayerArgs& args, Stream& stream) {
  MoeLayerWith(
      {.linear = Bf16Linear, .score = cpu::GateScore, .hash = cpu::GateHash, .experts = MoeExperts},
      args, stream);
}

}  // namespace fast

}  // namespace tandem::kernels
