// SPDX-License-Identifier: Apache-2.0
// Goal: GPUs say what they are, and the trials of the ways between memories find right data and a
// rate that can be. Method: this machine's GPUs, each with itself and with every other.
#include "gtest/gtest.h"
#include "kernels/common/probe/gpu_list.h"
#include "kernels/common/probe/peer_trial.h"

namespace tandem::kernels {
namespace {

constexpr double kLimitSeconds = 10;

TEST(PeerTrialTest, EveryGpuIsNamedAndRunsKernels) {
  const GpuList list = ListGpus();
  ASSERT_FALSE(list.gpus.empty()) << list.why;
  EXPECT_FALSE(list.cuda.empty());
  for (const GpuFacts& gpu : list.gpus) {
    EXPECT_EQ(gpu.unusable, "") << gpu.name;
    EXPECT_FALSE(gpu.name.empty());
    EXPECT_EQ(gpu.pci.size(), 12U) << gpu.pci;
    EXPECT_GT(gpu.free_bytes, 0);
    EXPECT_GE(gpu.memory_bytes, gpu.free_bytes);
  }
}

TEST(PeerTrialTest, DataArriveRight) {
  const int gpus = static_cast<int>(ListGpus().gpus.size());
  for (int device = 0; device < gpus; ++device) {
    for (int peer = 0; peer < gpus; ++peer) {
      const PeerRates rates = TryPeer(device, peer, kLimitSeconds);
      EXPECT_EQ(rates.fault, "") << device << " from " << peer;
      EXPECT_GT(rates.copy_gbps, 1);
      if (!rates.reachable) continue;
      EXPECT_GT(rates.read_gbps, 0.1);
      EXPECT_GT(rates.write_gbps, 0.1);
    }
    const HostRates host = TryHost(device, kLimitSeconds);
    EXPECT_EQ(host.fault, "");
    EXPECT_GT(host.to_gpu_gbps, 0.5);
    EXPECT_GT(host.from_gpu_gbps, 0.5);
  }
}

TEST(PeerTrialTest, WhatTakesTooLongIsGivenUp) {
  const HostRates host = TryHost(0, /*limit_seconds=*/0);
  EXPECT_NE(host.fault.find("did not end within"), std::string::npos) << host.fault;
}

}  // namespace
}  // namespace tandem::kernels
