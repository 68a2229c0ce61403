// SPDX-License-Identifier: Apache-2.0
// Ranks for tests of kernels/comm: on as many devices as there are, with a stream each and their
// peer memory.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/comm/peer_group.h"
#include "kernels/common/contract.h"
#include "kernels/common/cuda/device_stream.h"
#include "kernels/common/stream.h"

namespace tandem::kernels {

inline constexpr int64_t kLimit = int64_t{2'000'000'000};  // a second

inline int DeviceOf(int rank) {
  int devices = 0;
  KERNEL_CHECK_EQ(cudaGetDeviceCount(&devices), cudaSuccess);
  return rank % devices;
}

// A rank's device, stream and memory.
struct Rank {
  explicit Rank(int rank) : device(DeviceOf(rank)) {
    KERNEL_CHECK_EQ(cudaSetDevice(device), cudaSuccess);
    KERNEL_CHECK_EQ(cudaStreamCreateWithFlags(&queue, cudaStreamNonBlocking), cudaSuccess);
    stream = MakeDeviceStream(queue);
  }
  ~Rank() {
    (void)cudaSetDevice(device);
    (void)cudaStreamDestroy(queue);
  }
  Rank(const Rank&) = delete;
  Rank& operator=(const Rank&) = delete;
  void Use() const { KERNEL_CHECK_EQ(cudaSetDevice(device), cudaSuccess); }

  int device;
  cudaStream_t queue = nullptr;
  Stream stream;
};

class Group {
 public:
  Group(int ranks, int64_t limit) {
    std::vector<int> devices;
    for (int r = 0; r < ranks; ++r) devices.push_back(DeviceOf(r));
    peers = PeerGroup::Create(devices, limit);
    KERNEL_CHECK(peers != nullptr);
    for (int r = 0; r < ranks; ++r) all.push_back(std::make_unique<Rank>(r));
  }
  ~Group() { (void)cudaSetDevice(0); }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  // With all the blocks that devices of their own allow, whoever shares one.
  PeerView WideView(int r) const {
    PeerView view = peers->view(r);
    view.push_blocks = kPushBoxes / view.ranks;
    view.pull_blocks = kPullBlocks;
    return view;
  }
  void Wait() {
    for (const auto& rank : all) {
      rank->Use();
      ASSERT_TRUE(Synchronize(rank->stream)) << rank->stream.error();
    }
  }

  std::unique_ptr<PeerGroup> peers;
  std::vector<std::unique_ptr<Rank>> all;
};

}  // namespace tandem::kernels
