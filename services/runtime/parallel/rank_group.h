// SPDX-License-Identifier: Apache-2.0
// RankGroup: the communicators of all ranks of a worker, made together. A seam: in host memory
// (host_group.h), or between GPUs (device/comm_group.h).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/kernel_table.h"
#include "services/runtime/parallel/communicator.h"

namespace tandem {

class RankGroup {
 public:
  virtual ~RankGroup() = default;

  // Of the group; its rank's thread's.
  virtual Communicator& rank(int rank) = 0;
};

struct CommGroupOptions {
  std::vector<int> devices;                  // rank i's
  int64_t dim = 0;                           // of a token, a multiple of 8
  int64_t most_tokens = 0;                   // of a call
  absl::Duration limit = absl::Seconds(10);  // of a wait for a rank
};

// CommGroup::Create; UNIMPLEMENTED in a build without CUDA. The table outlives the group.
absl::StatusOr<std::unique_ptr<RankGroup>> MakeDeviceGroup(const kernels::KernelTable& table,
                                                           const CommGroupOptions& options);

}  // namespace tandem
