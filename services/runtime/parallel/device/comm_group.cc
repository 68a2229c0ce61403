// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/parallel/device/comm_group.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdlib>
#include <set>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/log.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/parallel/device/peer_communicator.h"

namespace tandem {
namespace {

// Either kind, for sums by the size of the call.
class SizedCommunicator final : public Communicator {
 public:
  SizedCommunicator(const CommTable& table, Communicator& peer, Communicator& nccl)
      : table_(table), peer_(peer), nccl_(nccl) {}

  void AllReduce(const kernels::AllReduceArgs& args, kernels::Stream& stream) override {
    const int64_t bytes = args.x.size() * static_cast<int64_t>(sizeof(kernels::Bf16));
    Communicator& chosen = table_.KindFor(bytes) == CommKind::kPeer ? peer_ : nccl_;
    chosen.AllReduce(args, stream);
  }
  // What comes over peer memory is written to its place at once.
  void Gather(const kernels::GatherArgs& args, kernels::Stream& stream) override {
    peer_.Gather(args, stream);
  }
  absl::Status Wait(kernels::Stream& stream, absl::Duration limit) override {
    RETURN_IF_ERROR(nccl_.Wait(stream, limit));
    return peer_.Wait(stream, limit);
  }
  void Abort() override {
    nccl_.Abort();
    peer_.Abort();
  }

 private:
  const CommTable& table_;
  Communicator& peer_;
  Communicator& nccl_;
};

std::vector<int64_t> SizesUpTo(int64_t most) {
  std::vector<int64_t> sizes;
  for (int64_t tokens = 1; tokens < most; tokens *= 2) sizes.push_back(tokens);
  sizes.push_back(most);
  return sizes;
}

// The limit in a device's clock cycles, at its highest clock.
int64_t Cycles(int device, absl::Duration limit) {
  int kilohertz = 0;
  if (cudaDeviceGetAttribute(&kilohertz, cudaDevAttrClockRate, device) != cudaSuccess) return 0;
  return absl::ToInt64Milliseconds(limit) * kilohertz;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CommGroup>> CommGroup::Create(const kernels::KernelTable& table,
                                                             const CommGroupOptions& options) {
  std::unique_ptr<CommGroup> group(new CommGroup);
  const int ranks = static_cast<int>(options.devices.size());
  group->peers_ =
      kernels::PeerGroup::Create(options.devices, Cycles(options.devices[0], options.limit));
  for (int r = 0; group->peers_ != nullptr && r < ranks; ++r) {
    group->over_peers_.push_back(std::make_unique<PeerCommunicator>(table, *group->peers_, r));
  }
  const std::set<int> distinct(options.devices.begin(), options.devices.end());
  if (distinct.size() < options.devices.size()) {
    if (group->peers_ == nullptr) return absl::UnavailableError("no peer memory");
    group->ranks_ = std::move(group->over_peers_);
    return group;
  }
  RETURN_IF_ERROR(group->Choose(table, options));
  LogInfo("all_reduce", {{"ranks", ranks}, {"verdict", group->table_.Verdict()}});
  return group;
}

absl::StatusOr<std::vector<double>> CommGroup::TryPeers(CommTrial trial) const {
  if (peers_ == nullptr) return absl::UnavailableError("no peer memory");
  for (const auto& communicator : over_peers_) trial.communicators.push_back(communicator.get());
  return TryAllReduce(trial);
}

absl::StatusOr<std::vector<double>> CommGroup::TryNccl(const kernels::KernelTable& table,
                                                       CommTrial trial) {
  if (trial.devices.size() < 2) return absl::UnavailableError("no NCCL for one rank");
  ASSIGN_OR_RETURN(nccl_, NcclGroup::Create(table, trial.devices));
  for (size_t r = 0; r < trial.devices.size(); ++r) {
    trial.communicators.push_back(&nccl_->rank(static_cast<int>(r)));
  }
  return TryAllReduce(trial);
}

absl::Status CommGroup::Choose(const kernels::KernelTable& table, const CommGroupOptions& options) {
  const CommTrial trial = {.devices = options.devices,
                           .tokens = SizesUpTo(options.most_tokens),
                           .dim = options.dim,
                           .limit = options.limit};
  const int ranks = static_cast<int>(options.devices.size());
  const auto told = [](const char* kind, absl::StatusOr<std::vector<double>> seconds) {
    if (!seconds.ok()) {
      LogWarning("all_reduce_kind", {{"kind", kind}, {"error", seconds.status().message()}});
    }
    return seconds;
  };
  const auto peer = told("peer", TryPeers(trial));
  // What loses data, or hangs, between peers does so under NCCL: it shall go through the host. It
  // has no other place to be told so, and looks when it is first used, which is below.
  if (peers_ != nullptr && !peer.ok()) setenv("NCCL_P2P_DISABLE", "1", /*overwrite=*/0);
  const auto nccl = told("nccl", TryNccl(table, trial));
  if (!peer.ok() && !nccl.ok()) {
    return absl::UnavailableError(
        absl::StrCat("no all-reduce: ", peer.status().message(), "; ", nccl.status().message()));
  }
  if (peer.ok() && nccl.ok()) {
    for (size_t i = 0; i < trial.tokens.size(); ++i) {
      const int64_t bytes = trial.tokens[i] * trial.dim * int64_t{sizeof(kernels::Bf16)};
      timings_.push_back({bytes, (*peer)[i], (*nccl)[i]});
    }
    table_ = CommTable(timings_);
  } else {
    table_ = CommTable(peer.ok() ? CommKind::kPeer : CommKind::kNccl);
  }
  for (int r = 0; r < ranks; ++r) {
    if (peer.ok() && nccl.ok()) {
      ranks_.push_back(
          std::make_unique<SizedCommunicator>(table_, *over_peers_[r], nccl_->rank(r)));
    } else if (peer.ok()) {
      ranks_.push_back(std::move(over_peers_[r]));
    } else {  // NCCL alone stays the group's, whose ranks are not
      ranks_.push_back(std::make_unique<SizedCommunicator>(table_, nccl_->rank(r), nccl_->rank(r)));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<RankGroup>> MakeDeviceGroup(const kernels::KernelTable& table,
                                                           const CommGroupOptions& options) {
  return CommGroup::Create(table, options);
}

}  // namespace tandem
