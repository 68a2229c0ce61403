// SPDX-License-Identifier: Apache-2.0
#include "kernels/comm/peer_group.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <set>

#include "kernels/common/contract.h"

namespace tandem::kernels {
namespace {

// One allocation a rank, in this order.
constexpr int64_t kExchangeBytes = kPullSlices * kPullBlocks * kPullSliceBytes;
constexpr int64_t kInboxBytes = int64_t{2} * kPushBoxes * 2 * kPushVectors * 16;
constexpr int64_t kFlagBytes = kMaxPeers * kPullBlocks * int64_t{sizeof(uint32_t)};
constexpr int64_t kEpochBytes = kPushBoxes * int64_t{sizeof(uint32_t)};
constexpr int64_t kErrorBytes = sizeof(uint32_t);
constexpr int64_t kBytes = kExchangeBytes + kInboxBytes + kFlagBytes + kEpochBytes + kErrorBytes;

// Makes the device current for a scope.
class OnDevice {
 public:
  explicit OnDevice(int device) {
    KERNEL_CHECK_EQ(cudaGetDevice(&before_), cudaSuccess);
    KERNEL_CHECK_EQ(cudaSetDevice(device), cudaSuccess);
  }
  ~OnDevice() { (void)cudaSetDevice(before_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int before_ = 0;
};

bool EnableAccess(int device, int peer) {
  if (device == peer) return true;
  int reachable = 0;
  if (cudaDeviceCanAccessPeer(&reachable, device, peer) != cudaSuccess || reachable == 0) {
    return false;
  }
  const OnDevice on(device);
  const cudaError_t error = cudaDeviceEnablePeerAccess(peer, 0);
  if (error == cudaErrorPeerAccessAlreadyEnabled) (void)cudaGetLastError();
  return error == cudaSuccess || error == cudaErrorPeerAccessAlreadyEnabled;
}

}  // namespace

std::unique_ptr<PeerGroup> PeerGroup::Create(const std::vector<int>& devices, int64_t limit) {
  const int ranks = static_cast<int>(devices.size());
  KERNEL_CHECK_GE(ranks, 1);
  KERNEL_CHECK_LE(ranks, kMaxPeers);
  for (const int device : devices) {
    for (const int peer : devices) {
      if (!EnableAccess(device, peer)) return nullptr;
    }
  }
  std::unique_ptr<PeerGroup> group(new PeerGroup);
  void* reports = nullptr;
  const size_t report_bytes = static_cast<size_t>(ranks) * sizeof(uint32_t);
  if (cudaHostAlloc(&reports, report_bytes, cudaHostAllocPortable) != cudaSuccess) return nullptr;
  group->reports_ = static_cast<uint32_t*>(reports);
  std::fill_n(group->reports_, ranks, 0);
  for (const int device : devices) {
    const OnDevice on(device);
    void* memory = nullptr;
    if (cudaMalloc(&memory, kBytes) != cudaSuccess) return nullptr;
    group->memory_.push_back(static_cast<uint8_t*>(memory));
    if (cudaMemset(memory, 0, kBytes) != cudaSuccess) return nullptr;
    if (cudaDeviceSynchronize() != cudaSuccess) return nullptr;
  }
  const std::set<int> distinct(devices.begin(), devices.end());
  const bool shared = distinct.size() < devices.size();
  for (int rank = 0; rank < ranks; ++rank) {
    PeerView view = {.rank = rank,
                     .ranks = ranks,
                     .limit = limit,
                     .share_devices = shared,
                     // What is pushed travels twice, to every peer: the more, the fewer vectors.
                     .push_blocks = shared ? kSharedBlocks : kPushBoxes / ranks,
                     .pull_blocks = shared ? kSharedBlocks : kPullBlocks};
    for (int peer = 0; peer < ranks; ++peer) {
      view.exchange[peer] = group->memory_[peer];
      view.inbox[peer] = view.exchange[peer] + kExchangeBytes;
      view.flags[peer] = reinterpret_cast<uint32_t*>(view.inbox[peer] + kInboxBytes);
    }
    uint8_t* own = view.inbox[rank] + kInboxBytes + kFlagBytes;
    view.epochs = reinterpret_cast<uint32_t*>(own);
    view.error = reinterpret_cast<uint32_t*>(own + kEpochBytes);
    view.report = group->reports_ + rank;
    group->views_.push_back(view);
  }
  return group;
}

PeerGroup::~PeerGroup() {
  for (uint8_t* memory : memory_) (void)cudaFree(memory);
  (void)cudaFreeHost(reports_);
}

uint32_t PeerGroup::Error(int rank) const {
  return *static_cast<volatile uint32_t*>(reports_ + rank);
}

}  // namespace tandem::kernels
