// SPDX-License-Identifier: Apache-2.0
// Goal: ranks on GPUs together are the model: the goldens within the design's tolerances, equal
// copies of the pool, and the same bits whether steps are replayed or not. Method: as
// tensor_parallel_engine_test.cc; two ranks on one GPU, and on as many GPUs as there are. Runs
// where there is a GPU; needs the source folder.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/select.h"
#include "services/runtime/engine/tensor_parallel_engine.h"
#include "tests/services/runtime/engine/telling.h"

namespace tandem {
namespace {

v1::WorkerConfig OnGpus(const std::vector<int>& gpus) {
  v1::WorkerConfig config;
  config.set_device(v1::DEVICE_CUDA);
  config.set_tensor_parallel(static_cast<uint32_t>(gpus.size()));
  for (const int gpu : gpus) config.add_gpus(static_cast<uint32_t>(gpu));
  return config;
}

// Two ranks on one GPU; one each on two, on four, on eight.
std::vector<std::vector<int>> Placements(int most_ranks) {
  (void)kernels::SelectGpu(0);  // decides how kernels are loaded, so it is CUDA's first call
  int devices = 0;
  EXPECT_EQ(cudaGetDeviceCount(&devices), cudaSuccess);
  std::vector<std::vector<int>> out = {{0, 0}};
  for (int ranks = 2; ranks <= std::min(devices, most_ranks); ranks *= 2) {
    std::vector<int>& gpus = out.emplace_back();
    for (int r = 0; r < ranks; ++r) gpus.push_back(r);
  }
  return out;
}

TEST(CudaTensorParallelTest, TheTrainedModelSpeaksAsReleased) {
  for (const std::vector<int>& gpus : Placements(4)) {
    ExpectGoldens(MakeWorker("tiny", OnGpus(gpus)), LoadGolden("golden_tiny.json"), kTrained);
  }
}

TEST(CudaTensorParallelTest, ARandomModelStaysNearTheReleasedCode) {
  for (const std::vector<int>& gpus : Placements(2)) {
    ExpectGoldens(MakeWorker("random-a", OnGpus(gpus)), LoadGolden("golden_random_a.json", 200),
                  kRandom);
  }
}

TEST(CudaTensorParallelTest, RanksStayNearOne) {
  GoldenCase c;
  for (int i = 0; i < 300; ++i) c.prompt.push_back(i * 37 % 640);
  for (int i = 0; i < 24; ++i) c.decode.push_back({.token = i * 53 % 640});
  const SamplerSpec spec = {.temperature = 0.8F, .seed = 5, .logprobs = 1};
  const WorkerEngine whole = MakeWorker("random-e", OnGpus({0}));
  const Told alone = Tell(whole, *MakePool(whole), c, spec);
  for (const std::vector<int>& gpus : Placements(8)) {
    const Off off = [&] {
      const WorkerEngine worker = MakeWorker("random-e", OnGpus(gpus));
      const auto pool = MakePool(worker);
      const Told told = Tell(worker, *pool, c, spec);
      ExpectEqualCopies(*pool);
      return Compare(told.prompt_logprobs, alone.prompt_logprobs);
    }();
    std::cout << gpus.size() << " ranks: off by " << off.mean << " on average\n";
    EXPECT_LE(off.mean, kRandom.mean);
  }
}

TEST(CudaTensorParallelTest, ReplayedStepsAreTheStepsThemselves) {
  const GoldenCase c = LoadGolden("golden_tiny.json", 60)[0];
  const SamplerSpec spec = {.temperature = 0.9F, .top_p = 0.95F, .seed = 31, .logprobs = 3};
  for (const std::vector<int>& gpus : Placements(4)) {
    const WorkerEngine replays = MakeWorker("tiny", OnGpus(gpus));
    const WorkerEngine queues = MakeWorker("tiny", OnGpus(gpus), /*record=*/false);
    const auto of_replays = MakePool(replays), of_queues = MakePool(queues);
    const Told plain = Tell(queues, *of_queues, c, spec);
    EXPECT_EQ(queues.engine->launches(), 0);
    for (int i = 0; i < 3; ++i) {
      const Told told = Tell(replays, *of_replays, c, spec);
      EXPECT_EQ(told.prompt_logprobs, plain.prompt_logprobs);
      for (size_t t = 0; t < plain.choices.size(); ++t) {
        EXPECT_EQ(told.choices[t].id, plain.choices[t].id) << i << " " << t;
        EXPECT_EQ(told.choices[t].logprob, plain.choices[t].logprob) << i << " " << t;
      }
    }
    EXPECT_GT(replays.engine->launches(), 0);
  }
}

TEST(CudaTensorParallelTest, StepTimes) {
  for (const std::vector<int>& gpus : Placements(8)) {
    if (gpus.size() > 4) continue;  // tiny-v4 has four groups
    const WorkerEngine worker = MakeWorker("tiny", OnGpus(gpus));
    const auto pool = MakePool(worker);
    const GoldenCase c = LoadGolden("golden_tiny.json", 60)[0];
    Tell(worker, *pool, c, {.temperature = 0});
    GoldenCase longer = {.prompt = c.prompt};
    for (int i = 0; i < 200; ++i) longer.decode.push_back({.token = 5 + i});
    const auto begin = std::chrono::steady_clock::now();
    Tell(worker, *pool, longer, {.temperature = 0});
    const std::chrono::duration<double, std::micro> spent =
        std::chrono::steady_clock::now() - begin;
    std::cout << "tiny-v4, ranks on GPUs 0 to " << gpus.back() << ", " << gpus.size()
              << " ranks: " << spent.count() / 200 << " us a decode step\n";
  }
}

}  // namespace
}  // namespace tandem
