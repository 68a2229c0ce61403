// SPDX-License-Identifier: Apache-2.0
// Goal: gather over peer memory. Method: two to eight ranks on as many devices as there are (as
// many as fit on one), columns that say whose they are, sizes of one block to many rounds, between
// sums of other sizes; every value is where it belongs, also out of a replayed graph; a rank that
// stays away is an error, not a hang.
#include "kernels/comm/gather.h"
#include "tests/kernels/comm/peer_ranks.h"
#include "tests/kernels/cuda/device.h"

namespace tandem::kernels {
namespace {

// The columns of every rank, and y.
struct Case {
  Case(Group& group, int64_t tokens, int64_t columns, Random& random) {
    const auto ranks = static_cast<int64_t>(group.all.size());
    expected.resize(static_cast<size_t>(tokens * columns * ranks));
    for (int64_t r = 0; r < ranks; ++r) {
      Tensor<float, 2> part(tokens, columns);
      random.Fill(part);
      for (int64_t i = 0; i < tokens * columns; ++i) {
        expected[static_cast<size_t>((i / columns * ranks + r) * columns + i % columns)] =
            part.values[static_cast<size_t>(i)];
      }
      group.all[static_cast<size_t>(r)]->Use();
      x.push_back(std::make_unique<DeviceTensor<float, 2>>(part));
    }
    group.all[0]->Use();
    y = std::make_unique<DeviceTensor<float, 2>>(
        Tensor<float, 2>(tokens, columns * ranks).Poison());
  }
  void Queue(Group& group, size_t r) const {
    group.all[r]->Use();
    GatherArgs args = {.x = *x[r], .peers = group.peers->view(static_cast<int>(r))};
    if (r == 0) args.y = *y;
    kCudaKernels.gather(args, group.all[r]->stream);
  }

  std::vector<float> expected;
  std::vector<std::unique_ptr<DeviceTensor<float, 2>>> x;
  std::unique_ptr<DeviceTensor<float, 2>> y;
};

TEST(GatherCudaTest, ColumnsStandSideBySide) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  for (const int ranks : {1, 2, 4, 8}) {
    Group group(ranks, kLimit);
    for (const int64_t tokens : {1, 3, 64}) {
      for (const int64_t columns : {4, 916, 16160, 64640}) {
        // What is pulled by more than two ranks of a device would fill it.
        if (ranks > 2 && DeviceOf(ranks - 1) != ranks - 1 && tokens * columns > 16160) continue;
        const Case c(group, tokens, columns, random);
        for (size_t r = 0; r < group.all.size(); ++r) c.Queue(group, r);
        group.Wait();
        group.all[0]->Use();
        ASSERT_TRUE(c.y->Fetch().values == c.expected) << ranks << " " << tokens << " " << columns;
        for (int r = 0; r < ranks; ++r) ASSERT_EQ(group.peers->Error(r), 0u);
      }
    }
  }
}

TEST(GatherCudaTest, ReplayedGraphsGoOnCounting) {
  Random random(std::random_device{}());
  SCOPED_TRACE(random.Trace());
  Group group(2, kLimit);
  const Case c(group, 2, 64640, random);
  std::vector<cudaGraphExec_t> graphs(2);
  for (size_t r = 0; r < 2; ++r) {
    Rank& rank = *group.all[r];
    rank.Use();
    cudaGraph_t graph = nullptr;
    ASSERT_EQ(cudaStreamBeginCapture(rank.queue, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    for (int i = 0; i < 3; ++i) c.Queue(group, r);
    ASSERT_EQ(cudaStreamEndCapture(rank.queue, &graph), cudaSuccess);
    ASSERT_EQ(cudaGraphInstantiate(&graphs[r], graph, 0), cudaSuccess);
    (void)cudaGraphDestroy(graph);
  }
  for (int i = 0; i < 5; ++i) {
    for (size_t r = 0; r < 2; ++r) {
      group.all[r]->Use();
      ASSERT_EQ(cudaGraphLaunch(graphs[r], group.all[r]->queue), cudaSuccess);
    }
  }
  group.Wait();
  group.all[0]->Use();
  EXPECT_TRUE(c.y->Fetch().values == c.expected);
  for (cudaGraphExec_t graph : graphs) (void)cudaGraphExecDestroy(graph);
}

TEST(GatherCudaTest, AMissingPeerIsAnError) {
  Random random(1);
  Group group(2, /*limit=*/2'000'000);
  const Case c(group, 3, 916, random);
  for (int i = 0; i < 100; ++i) c.Queue(group, 0);
  group.Wait();
  EXPECT_EQ(group.peers->Error(0), 2u);
}

}  // namespace
}  // namespace tandem::kernels
