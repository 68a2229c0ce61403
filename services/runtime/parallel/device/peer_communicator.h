// SPDX-License-Identifier: Apache-2.0
// PeerCommunicator: over peer memory; the kernels do all, hc_post and the next norm included.
#pragma once

#include "kernels/comm/peer_group.h"
#include "kernels/kernel_table.h"
#include "services/runtime/parallel/communicator.h"

namespace tandem {

class PeerCommunicator final : public Communicator {
 public:
  // Table and group outlive it. The group's own limit bounds every kernel's wait.
  PeerCommunicator(const kernels::KernelTable& table, const kernels::PeerGroup& group, int rank)
      : table_(table), group_(group), rank_(rank) {}

  void AllReduce(const kernels::AllReduceArgs& args, kernels::Stream& stream) override;
  void Gather(const kernels::GatherArgs& args, kernels::Stream& stream) override;
  absl::Status Wait(kernels::Stream& stream, absl::Duration limit) override;
  void Abort() override {}  // no call of theirs waits, and every kernel has its limit

 private:
  const kernels::KernelTable& table_;
  const kernels::PeerGroup& group_;
  const int rank_;
};

}  // namespace tandem
