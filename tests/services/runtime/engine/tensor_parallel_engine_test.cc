// SPDX-License-Identifier: Apache-2.0
// Goal: ranks together are the model: the goldens within the design's tolerances for every number
// of ranks, equal copies of the pool on all of them, and a rank that fails ends the process with a
// line. Method: MakeWorkerEngine on the CPU; tiny-v4 and random-a against goldens, random-e against
// one rank; then a communicator that fails.
#include "services/runtime/engine/tensor_parallel_engine.h"

#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "services/runtime/parallel/host_group.h"
#include "tests/services/runtime/engine/telling.h"

namespace tandem {
namespace {

v1::WorkerConfig OnRanks(int ranks) {
  v1::WorkerConfig config;
  config.set_tensor_parallel(static_cast<uint32_t>(ranks));
  return config;
}

TEST(TensorParallelEngineTest, TheTrainedModelSpeaksAsReleasedOnEveryNumberOfRanks) {
  for (const int ranks : {2, 4}) {
    ExpectGoldens(MakeWorker("tiny", OnRanks(ranks)), LoadGolden("golden_tiny.json", 60), kTrained);
  }
}

TEST(TensorParallelEngineTest, ARandomModelStaysNearTheReleasedCode) {
  ExpectGoldens(MakeWorker("random-a", OnRanks(2)), LoadGolden("golden_random_a.json", 140),
                kRandom);
}

TEST(TensorParallelEngineTest, EightRanksStayNearOne) {
  GoldenCase c;
  for (int i = 0; i < 150; ++i) c.prompt.push_back(i * 37 % 640);
  for (int i = 0; i < 8; ++i) c.decode.push_back({.token = i * 53 % 640});
  const SamplerSpec spec = {.temperature = 0.8F, .seed = 5, .logprobs = 1};
  const WorkerEngine whole = MakeWorker("random-e", OnRanks(1));
  const Told alone = Tell(whole, *MakePool(whole), c, spec);
  for (const int ranks : {2, 4, 8}) {
    const WorkerEngine worker = MakeWorker("random-e", OnRanks(ranks));
    const auto pool = MakePool(worker);
    const Told told = Tell(worker, *pool, c, spec);
    const Off off = Compare(told.prompt_logprobs, alone.prompt_logprobs);
    std::cout << "random-e, " << ranks << " ranks: off by " << off.mean << " on average\n";
    EXPECT_LE(off.mean, kRandom.mean);
    ASSERT_EQ(told.choices.size(), alone.choices.size());
    ExpectEqualCopies(*pool);
    // A step's result depends neither on time nor on who came first.
    const Told again = Tell(worker, *pool, c, spec);
    EXPECT_EQ(again.prompt_logprobs, told.prompt_logprobs);
    for (size_t i = 0; i < told.choices.size(); ++i) {
      EXPECT_EQ(again.choices[i].logprob, told.choices[i].logprob);
    }
  }
}

TEST(TensorParallelEngineTest, AnEmptyStepEndsAndTellsSo) {
  const WorkerEngine worker = MakeWorker("tiny", OnRanks(2));
  const auto pool = MakePool(worker);
  bool done = false;
  worker.engine->Launch({}, pool->view(), {.done = [&done] { done = true; }});
  EXPECT_TRUE(worker.engine->Collect().empty());
  EXPECT_TRUE(done);
}

// The group's, until a call from which on it fails.
class FailingCommunicator final : public Communicator {
 public:
  FailingCommunicator(Communicator& inner, int calls) : inner_(inner), calls_(calls) {}
  void AllReduce(const kernels::AllReduceArgs& args, kernels::Stream& stream) override {
    if (calls_-- > 0) return inner_.AllReduce(args, stream);
    inner_.Abort();
  }
  void Gather(const kernels::GatherArgs& args, kernels::Stream& stream) override {
    inner_.Gather(args, stream);
  }
  absl::Status Wait(kernels::Stream& stream, absl::Duration limit) override {
    return inner_.Wait(stream, limit);
  }
  void Abort() override { inner_.Abort(); }

 private:
  Communicator& inner_;
  int calls_;
};

// One rank goes its own way in the middle of a step.
void RunWithAFailingRank() {
  HostGroup group(kernels::kCpuKernels, {.ranks = 2});
  FailingCommunicator failing(group.rank(1), 3);
  std::vector<std::unique_ptr<LoadedModel>> loaded;
  std::vector<TensorParallelEngine::Rank> ranks;
  for (int r = 0; r < 2; ++r) {
    Communicator* const communicator = r == 0 ? &group.rank(0) : &failing;
    loaded.push_back(ShardNamed("random-a", kernels::kCpuKernels, {.rank = r, .ranks = 2}));
    ranks.push_back({.engine = *ModelEngine::Create({.config = loaded[r]->shard_config(),
                                                     .weights = loaded[r]->weights(),
                                                     .kernels = kernels::kCpuKernels,
                                                     .communicator = communicator,
                                                     .draws = r == 0},
                                                    {.max_tokens_per_step = 16}),
                     .communicator = communicator});
  }
  TensorParallelEngine engine(std::move(ranks), {.config = loaded[0]->config()});
  kernels::Backend* const host = &kernels::HostBackend();
  const auto pool = KvStorage::CreatePrivate(
      *KvLayout::Create(engine.config(), {.pages = 1, .slots = 1}), {host, host});
  const std::vector<int32_t> tokens = {5, 6, 7}, pages = {0};
  engine.Step({{.tokens = tokens, .pages = pages}}, (*pool)->view());
}

TEST(TensorParallelEngineDeathTest, ARankThatFailsEndsTheProcessWithALine) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunWithAFailingRank(), "tensor parallelism, rank [01]: ABORTED: rank 1 has failed");
}

}  // namespace
}  // namespace tandem
