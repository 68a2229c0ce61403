// SPDX-License-Identifier: Apache-2.0
// MakeDeviceGroup where there is no CUDA.
#include "services/runtime/parallel/rank_group.h"

namespace tandem {

absl::StatusOr<std::unique_ptr<RankGroup>> MakeDeviceGroup(const kernels::KernelTable&,
                                                           const CommGroupOptions&) {
  return absl::UnimplementedError("built without CUDA");
}

}  // namespace tandem
