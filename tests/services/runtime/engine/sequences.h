// SPDX-License-Identifier: Apache-2.0
// Sequences of one prompt that are read and then written by an engine's steps, and what they are
// where nothing is recorded.
#pragma once

#include <functional>
#include <vector>

#include "services/runtime/engine/engine.h"
#include "tests/services/runtime/engine/replaying_device.h"

namespace tandem {

inline const std::vector<int32_t>& Prompt() {
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

inline std::vector<std::vector<int32_t>> PlainAnswers(int count, int steps) {
  const auto engine = MakeEngine(kernels::HostBackend());
  Pool pool(engine->config(), {.pages = 4, .slots = 4});
  Sequences sequences(*engine, pool.view(), count);
  sequences.Write(steps);
  return sequences.answers();
}

}  // namespace tandem
