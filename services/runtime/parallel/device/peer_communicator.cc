// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/parallel/device/peer_communicator.h"

#include "absl/strings/str_cat.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/parallel/device/rank_queue.h"

namespace tandem {

void PeerCommunicator::AllReduce(const kernels::AllReduceArgs& args, kernels::Stream& stream) {
  kernels::AllReduceArgs own = args;
  own.peers = group_.view(rank_);
  table_.all_reduce(own, stream);
}

void PeerCommunicator::Gather(const kernels::GatherArgs& args, kernels::Stream& stream) {
  kernels::GatherArgs own = args;
  own.peers = group_.view(rank_);
  table_.gather(own, stream);
}

absl::Status PeerCommunicator::Wait(kernels::Stream& stream, absl::Duration limit) {
  RETURN_IF_ERROR(WaitForQueue(stream, limit, [] { return absl::OkStatus(); }));
  const uint32_t error = group_.Error(rank_);
  if (error == 0) return absl::OkStatus();
  return absl::DeadlineExceededError(
      absl::StrCat("rank ", rank_, " waited in vain for rank ", error - 1));
}

}  // namespace tandem
