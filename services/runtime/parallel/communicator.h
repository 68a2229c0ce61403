// SPDX-License-Identifier: Apache-2.0
// Communicator: what one rank of a tensor-parallel group sums with the others by, and hands rank 0
// its columns by. A seam: over peer memory, over NCCL, or either by size (device/comm_group.h); in
// host memory (host_group.h).
//
// The ranks are in one process, a thread each, and a device on GPUs. Every rank queues the same
// calls of the same sizes in the same order; they may be captured in a graph once each size has run
// outside of one; what follows a call for the first time may wait for the device (CUDA loads a
// kernel at its first launch), so it is run once before, without its peers. A rank that does not
// come is an error of the others' Wait within its limit, never a hang; one that fails by itself
// calls Abort, so that nobody waits for it in a call either. After an error the group is of no use.
// One communicator belongs to one thread at a time.
//
// Bits. Over peer memory and in host memory: as all_reduce.h, an fp32 sum in rank order rounded
// once, whatever the other tokens. Over NCCL: a bf16 sum rounded at every step, in an order that
// depends on an element's place in the buffer; the same on all ranks and, on one machine with one
// NCCL, in every run. With two ranks there is one addition and one rounding: the same bits as over
// peer memory. With more, a token's bits depend on how many tokens are beside it.
#pragma once

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "kernels/comm/all_reduce.h"
#include "kernels/comm/gather.h"

namespace tandem {

class Communicator {
 public:
  virtual ~Communicator() = default;

  // Queues all_reduce on the rank's stream; `args.peers` is left to the communicator.
  virtual void AllReduce(const kernels::AllReduceArgs& args, kernels::Stream& stream) = 0;

  // Queues gather on the rank's stream, likewise; `args.y` is rank 0's alone. What it moves is the
  // same bits in every kind.
  virtual void Gather(const kernels::GatherArgs& args, kernels::Stream& stream) = 0;

  // Waits until all that was queued has run. DEADLINE_EXCEEDED where a rank did not come within
  // `limit`, INTERNAL where the device or the transport failed.
  virtual absl::Status Wait(kernels::Stream& stream, absl::Duration limit) = 0;

  // Ends what the other ranks wait for, or lets their limit end it.
  virtual void Abort() = 0;
};

}  // namespace tandem
