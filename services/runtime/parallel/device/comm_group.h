// SPDX-License-Identifier: Apache-2.0
// CommGroup: the communicators of a worker's ranks on GPUs, and which kind serves which size.
//
// Create makes both kinds where it can, tries each of them with data at the sizes that occur
// (powers of two tokens up to the most), drops one that fails, times both, and logs the verdict as
// one line. NCCL goes through the host where peer memory has failed its trial. Ranks that share a
// device, as in tests, have peer memory alone, untried: what one of them does for the first time
// can wait for the device, and so for the other.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/comm/peer_group.h"
#include "kernels/kernel_table.h"
#include "services/runtime/parallel/comm_table.h"
#include "services/runtime/parallel/device/comm_trial.h"
#include "services/runtime/parallel/device/nccl_group.h"
#include "services/runtime/parallel/rank_group.h"

namespace tandem {

class CommGroup final : public RankGroup {
 public:
  // UNAVAILABLE if neither kind works. The table outlives the group.
  static absl::StatusOr<std::unique_ptr<CommGroup>> Create(const kernels::KernelTable& table,
                                                           const CommGroupOptions& options);

  Communicator& rank(int rank) override { return *ranks_[rank]; }
  const CommTable& table() const { return table_; }
  // By size, the slowest rank's; empty where there was nothing to choose.
  const std::vector<CommTiming>& timings() const { return timings_; }

 private:
  CommGroup() : table_(CommKind::kPeer) {}
  absl::Status Choose(const kernels::KernelTable& table, const CommGroupOptions& options);
  absl::StatusOr<std::vector<double>> TryPeers(CommTrial trial) const;
  absl::StatusOr<std::vector<double>> TryNccl(const kernels::KernelTable& table, CommTrial trial);

  std::unique_ptr<kernels::PeerGroup> peers_;
  std::unique_ptr<NcclGroup> nccl_;
  std::vector<std::unique_ptr<Communicator>> over_peers_;
  std::vector<CommTiming> timings_;
  CommTable table_;
  std::vector<std::unique_ptr<Communicator>> ranks_;
};

}  // namespace tandem
