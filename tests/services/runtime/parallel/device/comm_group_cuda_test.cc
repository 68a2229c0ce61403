// SPDX-License-Identifier: Apache-2.0
// Goal: the communicators of a group. Method: two ranks, a thread each, on two devices where there
// are two, else over peer memory on one (NCCL then has one rank); random parts; the sum of two
// parts exactly, by either kind and by the group's choice, and their columns side by side; a rank
// that stays away, or fails, ends the others' waits within the limit.
#include <cuda_runtime.h>

#include <functional>
#include <memory>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "kernels/common/cuda/device_stream.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/parallel/device/comm_group.h"
#include "services/runtime/parallel/device/peer_communicator.h"

namespace tandem {
namespace {

using kernels::Bf16;
using kernels::kCudaKernels;

constexpr int64_t kDim = 4096, kMostTokens = 4096;
constexpr absl::Duration kLimit = absl::Seconds(20), kShort = absl::Seconds(1);
constexpr int64_t kCycles = int64_t{2'000'000'000};  // about kShort

int Devices() {
  int devices = 0;
  EXPECT_EQ(cudaGetDeviceCount(&devices), cudaSuccess);
  return devices;
}

// Ranks of NCCL: each needs a device of its own.
std::vector<int> OwnDevices() {
  return Devices() > 1 ? std::vector<int>{0, 1} : std::vector<int>{0};
}
std::vector<int> TwoRanks() {
  return {0, Devices() > 1 ? 1 : 0};
}

// A rank's queue, and a part and a sum of up to kMostTokens; used by one thread.
struct Rank {
  explicit Rank(int device) : device(device) {
    EXPECT_EQ(cudaSetDevice(device), cudaSuccess);
    EXPECT_EQ(cudaStreamCreateWithFlags(&queue, cudaStreamNonBlocking), cudaSuccess);
    EXPECT_EQ(cudaMalloc(&x, kMostTokens * kDim * 2), cudaSuccess);
    EXPECT_EQ(cudaMalloc(&y, kMostTokens * kDim * 2), cudaSuccess);
    stream = kernels::MakeDeviceStream(queue);
  }
  ~Rank() {
    (void)cudaSetDevice(device);
    (void)cudaFree(x);
    (void)cudaFree(y);
    (void)cudaStreamDestroy(queue);
  }
  void Set(const std::vector<Bf16>& part) {
    EXPECT_EQ(cudaSetDevice(device), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(x, part.data(), 2 * part.size(), cudaMemcpyHostToDevice), cudaSuccess);
    EXPECT_EQ(cudaMemset(y, 0xFF, 2 * part.size()), cudaSuccess);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }
  void Queue(Communicator& communicator, int64_t tokens) {
    communicator.AllReduce({.x = {x, {tokens, kDim}}, .y = {y, {tokens, kDim}}}, stream);
  }
  std::vector<Bf16> Sum(int64_t tokens) const {
    std::vector<Bf16> sum(static_cast<size_t>(tokens * kDim));
    EXPECT_EQ(cudaMemcpy(sum.data(), y, 2 * sum.size(), cudaMemcpyDeviceToHost), cudaSuccess);
    return sum;
  }

  int device;
  cudaStream_t queue = nullptr;
  Bf16 *x = nullptr, *y = nullptr;
  kernels::Stream stream;
};

class CommunicatorTest : public testing::Test {
 protected:
  void Make(const std::vector<int>& devices) {
    for (const int device : devices) ranks_.push_back(std::make_unique<Rank>(device));
  }

  // `body` for every rank at once.
  void OnEveryRank(const std::function<void(int, Rank&)>& body) {
    std::vector<std::unique_ptr<Thread>> threads;
    for (size_t r = 0; r < ranks_.size(); ++r) {
      threads.push_back(std::make_unique<Thread>(absl::StrCat("rank-", r), [&, r] {
        ASSERT_EQ(cudaSetDevice(ranks_[r]->device), cudaSuccess);
        body(static_cast<int>(r), *ranks_[r]);
      }));
    }
  }

  // Random parts, summed once by every rank: all have the sum, rounded once.
  void ExpectSum(const std::function<Communicator&(int)>& of_rank, int64_t tokens) {
    std::normal_distribution<float> normal(0, 3);
    const size_t size = static_cast<size_t>(tokens * kDim);
    std::vector<float> sums(size);
    for (const auto& rank : ranks_) {
      std::vector<Bf16> part(size);
      for (size_t i = 0; i < size; ++i) {
        part[i] = kernels::ToBf16(normal(engine_));
        sums[i] += kernels::ToFloat(part[i]);
      }
      rank->Set(part);
    }
    OnEveryRank([&](int r, Rank& rank) {
      rank.Queue(of_rank(r), tokens);
      const absl::Status status = of_rank(r).Wait(rank.stream, kLimit);
      ASSERT_TRUE(status.ok()) << status;
      const std::vector<Bf16> sum = rank.Sum(tokens);
      for (size_t i = 0; i < size; ++i) {
        ASSERT_EQ(sum[i].bits, kernels::ToBf16(sums[i]).bits) << tokens << " tokens, at " << i;
      }
    });
  }

  // Columns that say whose they are, side by side on rank 0.
  void ExpectGather(const std::function<Communicator&(int)>& of_rank, int64_t tokens) {
    constexpr int64_t kColumns = 1832;
    const auto ranks = static_cast<int64_t>(ranks_.size());
    const size_t size = static_cast<size_t>(tokens * kColumns);
    for (int64_t r = 0; r < ranks; ++r) {
      std::vector<float> part(size);
      for (size_t i = 0; i < size; ++i) part[i] = static_cast<float>(ranks * int64_t(i) + r);
      const auto* bytes = reinterpret_cast<const Bf16*>(part.data());
      ranks_[static_cast<size_t>(r)]->Set({bytes, bytes + 2 * size});
    }
    OnEveryRank([&](int r, Rank& rank) {
      kernels::GatherArgs args = {.x = {reinterpret_cast<float*>(rank.x), {tokens, kColumns}}};
      if (r == 0) args.y = {reinterpret_cast<float*>(rank.y), {tokens, ranks * kColumns}};
      of_rank(r).Gather(args, rank.stream);
      const absl::Status status = of_rank(r).Wait(rank.stream, kLimit);
      ASSERT_TRUE(status.ok()) << status;
      if (r != 0) return;
      std::vector<float> all(size * static_cast<size_t>(ranks));
      ASSERT_EQ(cudaMemcpy(all.data(), rank.y, 4 * all.size(), cudaMemcpyDeviceToHost),
                cudaSuccess);
      for (int64_t i = 0; i < static_cast<int64_t>(all.size()); ++i) {
        const int64_t t = i / (ranks * kColumns), from = i / kColumns % ranks;
        const int64_t at = t * kColumns + i % kColumns;
        ASSERT_EQ(all[static_cast<size_t>(i)], static_cast<float>(ranks * at + from)) << i;
      }
    });
  }

  std::vector<std::unique_ptr<Rank>> ranks_;
  std::mt19937 engine_{std::random_device{}()};
};

TEST_F(CommunicatorTest, TheGroupSumsByWhicheverKindItChose) {
  Make(TwoRanks());
  auto group = CommGroup::Create(
      kCudaKernels,
      {.devices = TwoRanks(), .dim = kDim, .most_tokens = kMostTokens, .limit = kLimit});
  ASSERT_TRUE(group.ok()) << group.status();
  EXPECT_EQ((*group)->timings().empty(), Devices() == 1);
  for (const int64_t tokens : {1, 3, 128, 129, 256, 257, 4096}) {
    ExpectSum([&](int r) -> Communicator& { return (*group)->rank(r); }, tokens);
  }
  for (const int64_t tokens : {1, 3, 64}) {
    ExpectGather([&](int r) -> Communicator& { return (*group)->rank(r); }, tokens);
  }
}

TEST_F(CommunicatorTest, NcclSumsTwoRanksToTheSameBits) {
  Make(OwnDevices());
  auto group = NcclGroup::Create(kCudaKernels, OwnDevices());
  ASSERT_TRUE(group.ok()) << group.status();
  for (const int64_t tokens : {1, 3, 33, 500, 4096}) {
    ExpectSum([&](int r) -> Communicator& { return (*group)->rank(r); }, tokens);
  }
  for (const int64_t tokens : {1, 3, 64}) {
    ExpectGather([&](int r) -> Communicator& { return (*group)->rank(r); }, tokens);
  }
}

// One rank queues alone, after a round of all, which connects them.
TEST_F(CommunicatorTest, ARankThatNcclWaitsForInVainIsAnErrorWithinTheLimit) {
  Make(OwnDevices());
  auto group = NcclGroup::Create(kCudaKernels, OwnDevices());
  ASSERT_TRUE(group.ok()) << group.status();
  ExpectSum([&](int r) -> Communicator& { return (*group)->rank(r); }, 8);
  const absl::Time begin = absl::Now();
  Rank& rank = *ranks_[0];
  ASSERT_EQ(cudaSetDevice(rank.device), cudaSuccess);
  rank.Queue((*group)->rank(0), 8);
  const absl::Status status = (*group)->rank(0).Wait(rank.stream, kShort);
  EXPECT_EQ(status.code(),
            ranks_.size() == 1 ? absl::StatusCode::kOk : absl::StatusCode::kDeadlineExceeded)
      << status;
  if (ranks_.size() > 1) {
    // The other comes too late, and hears of it.
    Rank& late = *ranks_[1];
    ASSERT_EQ(cudaSetDevice(late.device), cudaSuccess);
    late.Queue((*group)->rank(1), 8);
    EXPECT_EQ((*group)->rank(1).Wait(late.stream, kShort).code(), absl::StatusCode::kInternal);
  }
  group->reset();
  EXPECT_LT(absl::Now() - begin, 10 * kShort);
}

TEST_F(CommunicatorTest, ARankThatFailsEndsTheOthersWait) {
  Make(OwnDevices());
  auto group = NcclGroup::Create(kCudaKernels, OwnDevices());
  ASSERT_TRUE(group.ok()) << group.status();
  ExpectSum([&](int r) -> Communicator& { return (*group)->rank(r); }, 8);
  const absl::Time begin = absl::Now();
  OnEveryRank([&](int r, Rank& rank) {
    if (r != 0) return (*group)->rank(r).Abort();
    rank.Queue((*group)->rank(r), 8);
    const absl::Status status = (*group)->rank(r).Wait(rank.stream, kLimit);
    EXPECT_EQ(status.ok(), ranks_.size() == 1) << status;
  });
  EXPECT_LT(absl::Now() - begin, 5 * kShort);
}

TEST_F(CommunicatorTest, ARankThatPeersWaitForInVainIsAnErrorWithinTheLimit) {
  Make(TwoRanks());
  const auto peers = kernels::PeerGroup::Create(TwoRanks(), kCycles);
  ASSERT_NE(peers, nullptr);
  PeerCommunicator communicator(kCudaKernels, *peers, 0);
  const absl::Time begin = absl::Now();
  Rank& rank = *ranks_[0];
  ASSERT_EQ(cudaSetDevice(rank.device), cudaSuccess);
  for (int i = 0; i < 100; ++i) rank.Queue(communicator, 8);
  EXPECT_EQ(communicator.Wait(rank.stream, kLimit).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_LT(absl::Now() - begin, 10 * kShort);
}

}  // namespace
}  // namespace tandem
