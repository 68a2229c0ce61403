// SPDX-License-Identifier: Apache-2.0
#include "kernels/moe/moe_layer.h"
#include "kernels/moe/moe_layer_parts.h"

namespace tandem::kernels {
namespace cpu {

void MoeLayer(const MoeLayerArgs& args, Stream& stream) {
  MoeLayerWith({.linear = Bf16Linear, .score = GateScore, .hash = GateHash, .experts = MoeExperts},
               args, stream);
}

}  // namespace cpu

}  // namespace tandem::kernels
