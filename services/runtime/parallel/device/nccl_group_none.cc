// SPDX-License-Identifier: Apache-2.0
// NcclGroup where there was no NCCL to build with.
#include "services/runtime/base/check.h"
#include "services/runtime/parallel/device/nccl_group.h"

namespace tandem {

struct NcclGroup::State {};

absl::StatusOr<std::unique_ptr<NcclGroup>> NcclGroup::Create(const kernels::KernelTable&,
                                                             const std::vector<int>&) {
  return absl::UnimplementedError("built without NCCL");
}

NcclGroup::NcclGroup(std::unique_ptr<State> state) : state_(std::move(state)) {}

NcclGroup::~NcclGroup() = default;

Communicator& NcclGroup::rank(int) {
  CheckFailed(__FILE__, __LINE__, "no group was ever made");
}

}  // namespace tandem
