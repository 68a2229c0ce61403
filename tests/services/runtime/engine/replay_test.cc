// SPDX-License-Identifier: Apache-2.0
// Goal: a step is replayed only where it would queue the same operations on the same addresses.
// Method: tiny-v4 on the host as on a device that counts recordings and replays.
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "services/runtime/engine/model_engine.h"
#include "tests/kernels/common/backend/fake_device.h"
#include "tests/services/runtime/model/golden.h"

namespace tandem {
namespace {

class ReplayingDevice final : public kernels::FakeDevice {
 public:
  std::unique_ptr<kernels::Recording> Record(const std::function<void()>& queue,
                                             kernels::Stream& /*stream*/) override {
    ++records;
    return std::make_unique<Recorded>(queue);
  }
  void Replay(const kernels::Recording& recording, kernels::Stream& /*stream*/) override {
    ++replays;
    static_cast<const Recorded&>(recording).queue();
  }

  int records = 0, replays = 0;

 private:
  struct Recorded final : kernels::Recording {
    explicit Recorded(std::function<void()> q) : queue(std::move(q)) {}
    int64_t launches() const override { return 1; }
    const std::function<void()> queue;
  };
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

}  // namespace
}  // namespace tandem
