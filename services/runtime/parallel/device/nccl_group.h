// SPDX-License-Identifier: Apache-2.0
// NcclGroup: the communicators of all ranks over NCCL, made and torn down together.
//
// hc_post and the next norm are launches of their own behind NCCL's. Once a rank's Wait has failed,
// all ranks' communicators are aborted, which ends kernels that still wait on any device; what is
// queued after that is an error of its stream. Rank i's communicator belongs to its thread. Built
// without NCCL, Create is UNIMPLEMENTED (nccl_group_none.cc).
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/kernel_table.h"
#include "services/runtime/parallel/communicator.h"

namespace tandem {

class NcclGroup {
 public:
  // Rank i on device devices[i], all different. The table outlives the group. UNAVAILABLE, and
  // DEADLINE_EXCEEDED naming the limit where NCCL hangs: a thread of it then stays.
  static absl::StatusOr<std::unique_ptr<NcclGroup>> Create(const kernels::KernelTable& table,
                                                           const std::vector<int>& devices);
  ~NcclGroup();
  NcclGroup(const NcclGroup&) = delete;
  NcclGroup& operator=(const NcclGroup&) = delete;

  Communicator& rank(int rank);

 private:
  struct State;
  explicit NcclGroup(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace tandem
