// SPDX-License-Identifier: Apache-2.0
#include "kernels/moe/gate_tile.cuh"

namespace tandem::kernels::cuda {

template void LaunchGates<TileMath::kBf16>(int, const GroupedProduct&, Stream&);

}  // namespace tandem::kernels::cuda
