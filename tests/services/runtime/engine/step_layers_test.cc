// SPDX-License-Identifier: Apache-2.0
// Goal: who wants to hear of layers does, of all in order, each time with their rows there on all
// ranks and later layers' not, and nothing more once the step is collected; such a step is never
// replayed, and no other tells of layers. Method: tiny-v4 on the host, its pool looked at in the
// middle of a step; the host as a device that counts, or says nothing until it is let.
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/services/runtime/engine/replaying_device.h"
#include "tests/services/runtime/engine/telling.h"
#include "tests/services/runtime/engine/two_ranks.h"

namespace tandem {
namespace {

constexpr int kDone = -1;

// Of tiny-v4's six layers each is a group.
std::vector<int> AllThenDone() {
  return {1, 2, 3, 4, 5, 6, kDone};
}

// What was heard, in order. Thread-safe.
class Heard {
 public:
  StepListener Listener() {
    return {.done = [this] { Add(kDone); }, .layers = [this](int layers) { Add(layers); }};
  }
  void Add(int what) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    all_.push_back(what);
  }
  std::vector<int> all() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return all_;
  }

 private:
  mutable absl::Mutex mutex_;
  std::vector<int> all_ ABSL_GUARDED_BY(mutex_);
};

class StepLayersTest : public testing::TestWithParam<int> {
 protected:
  static constexpr int kTokens = 300;

  StepLayersTest() {
    v1::WorkerConfig config;
    config.set_tensor_parallel(static_cast<uint32_t>(GetParam()));
    worker_ = MakeWorker("tiny", config);
    pool_ = MakePool(worker_);
    std::iota(tokens_.begin(), tokens_.end(), 7);
  }
  EngineChunk Chunk() const { return {.tokens = tokens_, .slot = 1, .pages = pages_}; }
  // On all ranks.
  std::string RowsOf(KvLayers layers) const {
    std::string rows;
    for (const KvExtent& extent : pool_->layout().Extents({.slot = 1, .pages = pages_},
                                                          {.tokens = kTokens, .layers = layers})) {
      for (std::byte* const copy : pool_->view().copies) {
        rows.append(reinterpret_cast<const char*>(copy + extent.offset), extent.bytes);
      }
    }
    return rows;
  }

  WorkerEngine worker_;
  std::unique_ptr<KvStorage> pool_;  // of bytes 0xFF
  std::vector<int32_t> tokens_ = std::vector<int32_t>(kTokens);
  const std::vector<int32_t> pages_ = {2, 0};
};

TEST_P(StepLayersTest, RowsAreThereWhenTheyAreToldOfAndNotLongBefore) {
  const int all = worker_.config().num_hidden_layers;
  Heard heard;
  std::vector<std::string> seen;
  StepListener listener = heard.Listener();
  listener.layers = [&](int layers) {
    heard.Add(layers);
    seen.push_back(RowsOf({.end = layers}));
    if (layers + 1 >= all) return;  // another rank may be a layer ahead
    const std::string last = RowsOf({.begin = all - 1});
    EXPECT_TRUE(last == std::string(last.size(), '\xFF')) << layers;
  };
  const EngineChunk chunk = Chunk();
  worker_.engine->Launch({&chunk, 1}, pool_->view(), std::move(listener));
  EXPECT_EQ(worker_.engine->Collect().size(), 1U);
  EXPECT_EQ(heard.all(), AllThenDone());
  ASSERT_EQ(seen.size(), static_cast<size_t>(all));
  for (int layers = 1; layers <= all; ++layers) {
    EXPECT_TRUE(seen[layers - 1] == RowsOf({.end = layers})) << layers;
  }
}

TEST_P(StepLayersTest, AnEmptyStepHasNoLayers) {
  Heard heard;
  worker_.engine->Launch({}, pool_->view(), heard.Listener());
  EXPECT_TRUE(worker_.engine->Collect().empty());
  EXPECT_EQ(heard.all(), std::vector<int>{kDone});
}

INSTANTIATE_TEST_SUITE_P(Ranks, StepLayersTest, testing::Values(1, 2));

TEST(StepLayersOnDeviceTest, AStepThatTellsIsNeitherRecordedNorReplayed) {
  ReplayingDevice device;
  const auto engine = MakeEngine(device);
  Pool pool(engine->config(), {.pages = 1, .slots = 1}, device);
  const std::vector<int32_t> tokens = {5}, pages = {0};
  const Sampler sampler({.temperature = 0}, {});
  const EngineChunk chunk = {.tokens = tokens, .pages = pages, .sampler = &sampler};
  const auto tell = [&] {
    Heard heard;
    engine->Launch({&chunk, 1}, pool.view(), heard.Listener());
    EXPECT_EQ(engine->Collect().size(), 1U);
    return heard.all();
  };
  EXPECT_EQ(tell(), AllThenDone());
  EXPECT_EQ(tell(), AllThenDone());
  EXPECT_EQ(device.records, 0);
  for (int i = 0; i < 3; ++i) engine->Step({&chunk, 1}, pool.view());
  EXPECT_EQ(device.records, 1);
  EXPECT_EQ(device.replays, 2);
  const int told = device.told;
  engine->Step({&chunk, 1}, pool.view());
  EXPECT_EQ(device.told, told + 1) << "of its end alone";
  EXPECT_EQ(tell(), AllThenDone());
  EXPECT_EQ(device.replays, 3);
}

// The host as a device beside whose queue nobody says anything until it is let.
class SilentDevice final : public kernels::FakeDevice {
 public:
  void Notify(std::function<void()> done, kernels::Stream& stream) override {
    absl::MutexLock lock(&mutex_);
    ++asked_;
    if (!silent_) return FakeDevice::Notify(std::move(done), stream);
    unsaid_.push_back(std::move(done));
  }
  void AwaitAsked(int count) {
    absl::MutexLock lock(&mutex_);
    const auto asked = [&] { return asked_ >= count; };
    mutex_.Await(absl::Condition(&asked));
  }
  void BeSilent() {
    absl::MutexLock lock(&mutex_);
    silent_ = true;
  }
  void Speak() {
    absl::MutexLock lock(&mutex_);
    silent_ = false;
    for (const auto& done : unsaid_) done();
    unsaid_.clear();
  }

 private:
  absl::Mutex mutex_;
  int asked_ = 0;
  bool silent_ = false;
  std::vector<std::function<void()>> unsaid_;
};

// Whatever the others have, and though all queues be empty.
TEST(StepLayersOnDeviceTest, LayersOfRanksAreThereWhenTheLastRankSaysSo) {
  TwoRanks<SilentDevice> two;
  const std::vector<int32_t> tokens = {5, 6, 7}, pages = {0};
  const EngineChunk chunk = {.tokens = tokens, .pages = pages};
  for (int step = 1; step <= 4; ++step) {
    SilentDevice& last = two.devices[step % 2];
    last.BeSilent();
    Heard heard;
    two.engine.Launch({&chunk, 1}, two.pool->view(), heard.Listener());
    for (SilentDevice& device : two.devices) device.AwaitAsked(6 * step);
    absl::SleepFor(absl::Milliseconds(20));  // in which no rank has more to do
    EXPECT_EQ(heard.all(), std::vector<int>());
    last.Speak();
    EXPECT_EQ(two.engine.Collect().size(), 1U);
    EXPECT_EQ(heard.all(), AllThenDone());
  }
}

}  // namespace
}  // namespace tandem
