// SPDX-License-Identifier: Apache-2.0
// Goal: all_reduce over peer memory. Method: two to eight ranks on as many devices as there are (on
// one device: its streams, with the few blocks of shared devices, and with all of them where they
// fit), random parts, sizes from one vector to a prefill's and at the edges of the ways they are
// exchanged; every rank's sum is the fp32 sum in rank order, exactly, also out of a replayed graph
// and in 1,000 rounds of sizes at random; with
// hc_post and the next norm the bits of the operations; a rank that stays away is an error, not a
// hang.
#include "kernels/comm/all_reduce.h"
#include "tests/kernels/comm/peer_ranks.h"
#include "tests/kernels/hc/hc_case.h"

namespace tandem::kernels {
namespace {

// Whether all blocks of all ranks run at once, be they as many as devices of their own allow: what
// is pulled by more than two ranks of a device would fill it.
bool FitsWide(int ranks, int64_t values) {
  const bool pulled = values / 8 > int64_t{kPushBoxes / ranks} * kPushVectors;
  return !pulled || ranks <= 2 || DeviceOf(ranks - 1) == ranks - 1;
}

Tensor<Bf16, 2> Sum(const std::vector<Tensor<Bf16, 2>>& parts) {
  Tensor<Bf16, 2> sum(parts[0].view.shape[0], parts[0].view.shape[1]);
  for (size_t i = 0; i < sum.values.size(); ++i) {
    float s = 0;
    for (const auto& part : parts) s += ToFloat(part.values[i]);
    sum.values[i] = ToBf16(s);
  }
  return sum;
}

void ExpectSums(Group& group, int64_t tokens, int64_t dim, bool wide, Random& random) {
  const int ranks = static_cast<int>(group.all.size());
  std::vector<Tensor<Bf16, 2>> parts;
  std::vector<std::unique_ptr<DeviceTensor<Bf16, 2>>> x, y;
  for (const auto& rank : group.all) {
    parts.emplace_back(tokens, dim);
    random.Fill(parts.back(), 3);
    rank->Use();
    x.push_back(std::make_unique<DeviceTensor<Bf16, 2>>(parts.back()));
    y.push_back(std::make_unique<DeviceTensor<Bf16, 2>>(Tensor<Bf16, 2>(tokens, dim).Poison()));
  }
  for (int r = 0; r < ranks; ++r) {
    group.all[r]->Use();
    const PeerView view = wide ? group.WideView(r) : group.peers->view(r);
    kCudaKernels.all_reduce({.x = *x[r], .y = *y[r], .peers = view}, group.all[r]->stream);
  }
  group.Wait();
  const auto expected = Sum(parts);
  for (int r = 0; r < ranks; ++r) {
    group.all[r]->Use();
    ASSERT_TRUE(y[r]->Fetch().values == expected.values) << r;
    ASSERT_EQ(group.peers->Error(r), 0u) << r;
  }
}

TEST(AllReduceCudaTest, EveryRankHasTheSum) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  for (const int ranks : {1, 2, 4, 8}) {
    Group group(ranks, kLimit);
    for (const int64_t tokens : {1, 2, 17, 1, 32, 33, 64, 65, 128, 129, 300, 3, 1}) {
      for (const int64_t dim : {8, 1032, 4096}) {
        for (const bool wide : {false, true}) {
          if (wide && !FitsWide(ranks, tokens * dim)) continue;
          SCOPED_TRACE(testing::Message() << ranks << " ranks, " << tokens << " x " << dim
                                          << (wide ? ", all blocks" : ""));
          ASSERT_NO_FATAL_FAILURE(ExpectSums(group, tokens, dim, wide, random));
        }
      }
    }
  }
}

TEST(AllReduceCudaTest, ReplayedGraphsGoOnCounting) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  constexpr int kRanks = 2, kInGraph = 3, kReplays = 5;
  Group group(kRanks, kLimit);
  std::vector<Tensor<Bf16, 2>> parts;
  std::vector<std::unique_ptr<DeviceTensor<Bf16, 2>>> x;
  std::vector<cudaGraphExec_t> graphs(kRanks);
  for (int r = 0; r < kRanks; ++r) {
    Rank& rank = *group.all[r];
    parts.emplace_back(5, 4096);
    random.Fill(parts.back());
    rank.Use();
    x.push_back(std::make_unique<DeviceTensor<Bf16, 2>>(parts.back()));
    cudaGraph_t graph = nullptr;
    ASSERT_EQ(cudaStreamBeginCapture(rank.queue, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    for (int i = 0; i < kInGraph; ++i) {
      kCudaKernels.all_reduce({.x = *x[r], .y = *x[r], .peers = group.peers->view(r)}, rank.stream);
    }
    ASSERT_EQ(cudaStreamEndCapture(rank.queue, &graph), cudaSuccess);
    ASSERT_EQ(cudaGraphInstantiate(&graphs[r], graph, 0), cudaSuccess);
    (void)cudaGraphDestroy(graph);
  }
  for (int i = 0; i < kReplays; ++i) {
    for (int r = 0; r < kRanks; ++r) {
      group.all[r]->Use();
      ASSERT_EQ(cudaGraphLaunch(graphs[r], group.all[r]->queue), cudaSuccess);
    }
  }
  group.Wait();
  Tensor<Bf16, 2> expected = Sum(parts);
  for (int i = 1; i < kInGraph * kReplays; ++i) {
    for (Bf16& v : expected.values) v = ToBf16(ToFloat(v) + ToFloat(v));
  }
  for (int r = 0; r < kRanks; ++r) {
    EXPECT_TRUE(x[r]->Fetch().values == expected.values);
    EXPECT_EQ(group.peers->Error(r), 0u);
    (void)cudaGraphExecDestroy(graphs[r]);
  }
}

// A case on every rank of two, its y in two parts: the case's own and another; and the case of the
// sum.
struct Parts {
  std::vector<std::unique_ptr<HcDeviceCase>> fused;
  std::vector<std::unique_ptr<DeviceTensor<Bf16, 2>>> x;
  HcCase summed;
};
Parts PartsOf(Group& group, const HcCase& c, Random& random) {
  Tensor<Bf16, 2> other(c.y.view.shape[0], c.y.view.shape[1]);
  random.Fill(other, 2);
  Parts parts{.fused = {}, .x = {}, .summed = c};
  for (const Tensor<Bf16, 2>* y : {&c.y, static_cast<const Tensor<Bf16, 2>*>(&other)}) {
    group.all[parts.x.size()]->Use();
    parts.fused.push_back(std::make_unique<HcDeviceCase>(c));
    parts.x.push_back(std::make_unique<DeviceTensor<Bf16, 2>>(*y));
  }
  parts.summed.y.values = Sum({c.y, other}).values;
  return parts;
}

TEST(AllReduceCudaTest, WithHcPostTheBitsOfBoth) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  constexpr int kRanks = 2;
  Group group(kRanks, kLimit);
  for (const int64_t tokens : {1, 7, 70}) {
    const HcCase c(tokens, 4096, 24, random);
    const auto [fused, x, summed] = PartsOf(group, c, random);
    for (int r = 0; r < kRanks; ++r) {
      group.all[r]->Use();
      HcPostArgs post = fused[r]->Post();
      post.y = {};
      kCudaKernels.all_reduce({.x = *x[r], .post = post, .peers = group.peers->view(r)},
                              group.all[r]->stream);
    }
    group.Wait();
    group.all[0]->Use();
    const HcDeviceCase plain(summed);
    kCudaKernels.hc_post(plain.Post(), group.all[0]->stream);
    group.Wait();
    for (int r = 0; r < kRanks; ++r) {
      ExpectSameBits(fused[r]->streams.Fetch().values, plain.streams.Fetch().values);
    }
  }
}

void ExpectSameResults(const HcDeviceCase& a, const HcDeviceCase& b) {
  ExpectSameBits(a.streams.Fetch().values, b.streams.Fetch().values);
  ExpectSameBits(a.x.Fetch().values, b.x.Fetch().values);
  ExpectSameBits(a.q.Fetch().values, b.q.Fetch().values);
  ExpectSameBits(a.q_scale.Fetch().values, b.q_scale.Fetch().values);
  ExpectSameBits(a.next_post.Fetch().values, b.next_post.Fetch().values);
  ExpectSameBits(a.next_comb.Fetch().values, b.next_comb.Fetch().values);
}

const std::vector<std::pair<int64_t, int64_t>> kNextSizes = {{1, 1024},  {1, 4096},  {1, 7168},
                                                             {2, 128},   {15, 1024}, {16, 1024},
                                                             {16, 4096}, {17, 1024}, {70, 256}};

TEST(AllReduceCudaTest, WithTheNextNormTheBitsOfAll) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  constexpr int kRanks = 2;
  Group group(kRanks, kLimit);
  for (const auto& [tokens, dim] : kNextSizes) {
    SCOPED_TRACE(testing::Message() << tokens << " tokens of " << dim);
    // On one device two ranks' blocks leave room for what follows them only if they are few.
    if (dim > 1024 && DeviceOf(1) == DeviceOf(0)) continue;
    const HcCase c(tokens, dim, 24, random);
    const auto [fused, x, summed] = PartsOf(group, c, random);
    // A kernel's first launch and scratch memory may wait for the device, where the other rank
    // waits for this one: a rank alone comes first.
    for (int r = 0; r < kRanks; ++r) {
      group.all[r]->Use();
      const auto alone = PeerGroup::Create({group.all[r]->device}, kLimit);
      const HcDeviceCase trial(c);
      kCudaKernels.all_reduce(
          {.x = *x[r], .post = trial.Post(), .next = trial.PreNormQuant(), .peers = alone->view(0)},
          group.all[r]->stream);
      group.Wait();
    }
    for (int r = 0; r < kRanks; ++r) {
      group.all[r]->Use();
      HcPostArgs post = fused[r]->Post();
      post.y = {};
      kCudaKernels.all_reduce({.x = *x[r],
                               .post = post,
                               .next = fused[r]->PreNormQuant(),
                               .peers = group.peers->view(r)},
                              group.all[r]->stream);
    }
    group.Wait();
    group.all[0]->Use();
    const HcDeviceCase plain(summed);
    kCudaKernels.hc_post(plain.Post(), group.all[0]->stream);
    kCudaKernels.hc_pre_norm_quant(plain.PreNormQuant(), group.all[0]->stream);
    group.Wait();
    for (int r = 0; r < kRanks; ++r) {
      ASSERT_EQ(group.peers->Error(r), 0u);
      ExpectSameResults(*fused[r], plain);
    }
  }
}

// One size's parts, sums and places for them, on two ranks.
struct Round {
  Round(Group& group, int64_t tokens, int64_t dim, Random& random) {
    std::vector<Tensor<Bf16, 2>> parts;
    for (const auto& rank : group.all) {
      parts.emplace_back(tokens, dim);
      random.Fill(parts.back(), 3);
      rank->Use();
      x.push_back(std::make_unique<DeviceTensor<Bf16, 2>>(parts.back()));
      y.push_back(std::make_unique<DeviceTensor<Bf16, 2>>(Tensor<Bf16, 2>(tokens, dim)));
    }
    sum = Sum(parts).values;
  }
  std::vector<std::unique_ptr<DeviceTensor<Bf16, 2>>> x, y;
  std::vector<Bf16> sum;
};

TEST(AllReduceCudaTest, AThousandRoundsOfAllSizes) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  constexpr int kRanks = 2, kBatches = 10, kCalls = 100;
  Group group(kRanks, kLimit);
  std::vector<std::unique_ptr<Round>> rounds;
  for (const int64_t tokens : {1, 2, 8, 31, 32, 33, 63, 64, 65, 127, 128, 129, 256, 257, 4096}) {
    // Nor do two ranks' calls and the next ones, which begin early, fit on one device then.
    if (tokens > 64 && DeviceOf(1) == DeviceOf(0)) continue;
    rounds.push_back(std::make_unique<Round>(group, tokens, 4096, random));
  }
  std::mt19937 engine(7);
  for (int batch = 0; batch < kBatches; ++batch) {
    for (int r = 0; r < kRanks; ++r) {
      group.all[r]->Use();
      for (const auto& round : rounds) {
        ASSERT_EQ(cudaMemset(round->y[r]->view().data, 0xFF, 2 * round->sum.size()), cudaSuccess);
      }
      ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    }
    for (int i = 0; i < kCalls; ++i) {
      const Round& round = *rounds[i < static_cast<int>(rounds.size()) ? static_cast<size_t>(i)
                                                                       : engine() % rounds.size()];
      for (int r = 0; r < kRanks; ++r) {
        group.all[r]->Use();
        kCudaKernels.all_reduce({.x = *round.x[r], .y = *round.y[r], .peers = group.peers->view(r)},
                                group.all[r]->stream);
      }
    }
    group.Wait();
    for (const auto& round : rounds) {
      for (int r = 0; r < kRanks; ++r) {
        ASSERT_EQ(group.peers->Error(r), 0u);
        ASSERT_TRUE(round->y[r]->Fetch().values == round->sum) << round->sum.size();
      }
    }
  }
}

TEST(AllReduceCudaTest, AMissingPeerIsAnError) {
  for (const int64_t tokens : {1, 130, 4096}) {
    Group group(2, /*limit=*/2'000'000);
    Rank& rank = *group.all[0];
    rank.Use();
    const DeviceTensor x(Tensor<Bf16, 2>(tokens, 4096));
    for (int i = 0; i < 100; ++i) {
      kCudaKernels.all_reduce({.x = x, .y = x, .peers = group.peers->view(0)}, rank.stream);
    }
    group.Wait();
    EXPECT_EQ(group.peers->Error(0), 2u);
    EXPECT_EQ(group.peers->Error(1), 0u);
  }
}

TEST(AllReduceCudaTest, AMissingPeerIsAnErrorOfTheNextNorm) {
  Random random(1);
  Group group(2, /*limit=*/2'000'000);
  Rank& rank = *group.all[0];
  rank.Use();
  const HcDeviceCase c(HcCase(3, 4096, 24, random));
  for (int i = 0; i < 100; ++i) {
    kCudaKernels.hc_post_pre(
        {.post = c.Post(), .next = c.PreNormQuant(), .peers = group.peers->view(0)}, rank.stream);
  }
  group.Wait();
  EXPECT_EQ(group.peers->Error(0), 2u);
}

}  // namespace
}  // namespace tandem::kernels
