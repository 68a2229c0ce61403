// SPDX-License-Identifier: Apache-2.0
// Goal: a step is replayed only where it would queue the same operations on the same addresses; one
// that cannot be recorded runs plainly, on all ranks, and is tried twice; and Collect comes back
// only behind `done`. Method: tiny-v4 on the host as on a device that counts recordings and
// replays, can refuse the former, and can tell late that a step is over; against an engine that
// records nothing.
#include <atomic>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/engine/model_engine.h"
#include "services/runtime/engine/tensor_parallel_engine.h"
#include "services/runtime/parallel/host_group.h"
#include "tests/kernels/common/backend/fake_device.h"
#include "tests/services/runtime/model/golden.h"

namespace tandem {
namespace {

class ReplayingDevice final : public kernels::FakeDevice {
 public:
  kernels::Recorded Record(const std::function<void()>& queue,
                           kernels::Stream& /*stream*/) override {
    ++records;
    if (refused > 0) {
      --refused;
      return {.recording = nullptr, .error = "out of memory"};
    }
    return {.recording = std::make_unique<Made>(queue, held), .error = {}};
  }
  void Replay(const kernels::Recording& recording, kernels::Stream& /*stream*/) override {
    ++replays;
    static_cast<const Made&>(recording).queue();
  }
  void Notify(std::function<void()> done, kernels::Stream& stream) override {
    if (!late) return FakeDevice::Notify(std::move(done), stream);
    late_ = std::make_unique<Thread>("late", [done = std::move(done)] {
      absl::SleepFor(absl::Milliseconds(50));
      done();
    });
  }

  int records = 0, replays = 0;
  int refused = 0;  // so many of the next recordings
  int held = 0;     // recordings that there are
  bool late = false;

 private:
  struct Made final : kernels::Recording {
    Made(std::function<void()> q, int& h) : queue(std::move(q)), held(h) { ++held; }
    ~Made() override { --held; }
    int64_t launches() const override { return 1; }
    const std::function<void()> queue;
    int& held;
  };
  std::unique_ptr<Thread> late_;
};

std::unique_ptr<ModelEngine> MakeEngine(kernels::Backend& backend) {
  const LoadedModel& loaded = ModelNamed("tiny", kernels::kCpuKernels);
  return *ModelEngine::Create({.config = loaded.config(),
                               .weights = loaded.weights(),
                               .kernels = {kernels::kCpuKernels, backend}},
                              {.max_tokens_per_step = 64, .max_positions = 512});
}

const std::vector<int32_t>& Prompt() {
  static const auto& prompt = *new std::vector<int32_t>{5, 17, 29, 41, 53};
  return prompt;
}

// Sequences of one prompt, which are written a token a step.
class Sequences {
 public:
  // From slot 0 and page 0 on.
  Sequences(Engine& engine, const KvView& kv, int count)
      : engine_(engine), kv_(kv), pages_(count), answers_(count) {
    for (int i = 0; i < count; ++i) pages_[i] = {i};
    Step([](int) { return absl::MakeConstSpan(Prompt()); }, 0);
  }

  void Write(int steps) {
    for (int i = 0; i < steps; ++i) {
      const auto start = static_cast<int64_t>(Prompt().size() + answers_[0].size()) - 1;
      Step([this](int i) { return absl::MakeConstSpan(&answers_[i].back(), 1); }, start);
    }
  }

  const std::vector<std::vector<int32_t>>& answers() const { return answers_; }

 private:
  void Step(const std::function<absl::Span<const int32_t>(int)>& tokens, int64_t start) {
    std::vector<EngineChunk> chunks;
    for (int i = 0; i < static_cast<int>(answers_.size()); ++i) {
      chunks.push_back({.tokens = tokens(i),
                        .start = start,
                        .slot = i,
                        .pages = pages_[i],
                        .sampler = &sampler_});
    }
    const std::vector<ChunkResult> results = engine_.Step(chunks, kv_);
    for (size_t i = 0; i < results.size(); ++i) answers_[i].push_back(results[i].choice.id);
  }

  Engine& engine_;
  const KvView kv_;
  const Sampler sampler_{SamplerSpec{.temperature = 0}, {}};
  std::vector<std::vector<int32_t>> pages_;
  std::vector<std::vector<int32_t>> answers_;
};

std::vector<std::vector<int32_t>> PlainAnswers(int count, int steps) {
  const auto engine = MakeEngine(kernels::HostBackend());
  Pool pool(engine->config(), {.pages = 4, .slots = 4});
  Sequences sequences(*engine, pool.view(), count);
  sequences.Write(steps);
  return sequences.answers();
}

TEST(ReplayTest, AnotherPoolAtTheSameAddressIsAnotherStep) {
  ReplayingDevice device;
  const auto engine = MakeEngine(device);
  Pool memory(engine->config(), {.pages = 8, .slots = 8}, device);
  const auto write = [&](KvLayout::Size size) {
    const KvLayout layout = *KvLayout::Create(engine->config(), size);
    Sequences(*engine, {.base = memory.base(), .layout = &layout}, 1).Write(2);
    return std::pair(device.records, device.replays);
  };
  // The first step runs plainly, the second is recorded.
  EXPECT_EQ(write({.pages = 4, .slots = 4}), std::pair(1, 1));
  EXPECT_EQ(write({.pages = 5, .slots = 4}), std::pair(2, 2));
  EXPECT_EQ(write({.pages = 4, .slots = 5}), std::pair(3, 3));
  EXPECT_EQ(write({.pages = 4, .slots = 4}), std::pair(3, 5));
}

TEST(ReplayTest, AStepThatCannotBeRecordedRunsPlainly) {
  ReplayingDevice device;
  const auto engine = MakeEngine(device);
  Pool pool(engine->config(), {.pages = 4, .slots = 4}, device);
  Sequences one(*engine, pool.view(), 1);
  one.Write(3);
  EXPECT_EQ(device.held, 1);
  device.refused = 100;
  Sequences two(*engine, pool.view(), 2);
  two.Write(2);
  // Whatever else was recorded has gone: memory may be what was lacking.
  EXPECT_EQ(device.held, 0);
  two.Write(6);
  EXPECT_EQ(device.records, 1 + 2);
  EXPECT_EQ(engine->launches(), 0);
  EXPECT_EQ(two.answers(), PlainAnswers(2, 8));
  // What had been recorded is again.
  device.refused = 0;
  Sequences again(*engine, pool.view(), 1);
  again.Write(4);
  EXPECT_EQ(device.held, 1);
  EXPECT_EQ(again.answers(), PlainAnswers(1, 4));
}

TEST(ReplayTest, AStepIsRecordedAtTheSecondAttempt) {
  ReplayingDevice device;
  const auto engine = MakeEngine(device);
  Pool pool(engine->config(), {.pages = 4, .slots = 4}, device);
  device.refused = 1;
  Sequences sequences(*engine, pool.view(), 1);
  sequences.Write(6);
  EXPECT_EQ(device.records, 2);
  EXPECT_EQ(device.replays, 4);
  EXPECT_EQ(sequences.answers(), PlainAnswers(1, 6));
}

TEST(ReplayTest, RanksReplayTogetherOrNotAtAll) {
  std::vector<ReplayingDevice> devices(2);
  HostGroup group(kernels::kCpuKernels, {.ranks = 2});
  std::vector<std::unique_ptr<LoadedModel>> loaded;
  std::vector<TensorParallelEngine::Rank> ranks;
  for (int r = 0; r < 2; ++r) {
    loaded.push_back(ShardNamed("tiny", kernels::kCpuKernels, {.rank = r, .ranks = 2}));
    ranks.push_back({.engine = *ModelEngine::Create(
                         {.config = loaded[r]->shard_config(),
                          .weights = loaded[r]->weights(),
                          .kernels = {kernels::kCpuKernels, devices[r]},
                          .communicator = &group.rank(r),
                          .sums_mlps = CutsMlps(loaded[r]->config(), {.rank = r, .ranks = 2}),
                          .draws = r == 0},
                         {.max_tokens_per_step = 64, .max_positions = 512}),
                     .communicator = &group.rank(r)});
  }
  TensorParallelEngine engine(std::move(ranks), {.config = loaded[0]->config()});
  const auto pool = KvStorage::CreatePrivate(
      *KvLayout::Create(engine.config(), {.pages = 4, .slots = 4}), {&devices[0], &devices[1]});
  const auto counts = [&devices](int r) {
    return std::pair(devices[r].records, devices[r].replays);
  };
  devices[1].refused = 1;
  Sequences sequences(engine, (*pool)->view(), 1);
  sequences.Write(2);
  // The other rank's recording went as well.
  EXPECT_EQ(counts(0), std::pair(1, 0));
  EXPECT_EQ(counts(1), std::pair(1, 0));
  EXPECT_EQ(devices[0].held, 0);
  sequences.Write(3);
  EXPECT_EQ(counts(0), std::pair(2, 3));
  EXPECT_EQ(counts(1), std::pair(2, 3));
  EXPECT_EQ(sequences.answers(), PlainAnswers(1, 5));
}

TEST(ReplayTest, CollectComesBackBehindDone) {
  ReplayingDevice device;
  device.late = true;
  const auto engine = MakeEngine(device);
  Pool pool(engine->config(), {.pages = 1, .slots = 1}, device);
  const std::vector<int32_t> pages = {0};
  for (int step = 0; step < 3; ++step) {
    std::atomic<bool> told = false;
    const EngineChunk chunk = {.tokens = Prompt(), .pages = pages};
    engine->Launch({&chunk, 1}, pool.view(), [&told] { told = true; });
    EXPECT_EQ(engine->Collect().size(), 1U);
    EXPECT_TRUE(told);
  }
}

}  // namespace
}  // namespace tandem
