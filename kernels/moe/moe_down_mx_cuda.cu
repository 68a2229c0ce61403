// SPDX-License-Identifier: Apache-2.0
#include "kernels/moe/down_tile.cuh"

namespace tandem::kernels::cuda {

template void LaunchDown<TileMath::kMx>(int, const GroupedProduct&, Stream&);

}  // namespace tandem::kernels::cuda
