// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/engine/warm_up.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <vector>

#include "absl/time/clock.h"
#include "services/runtime/base/log.h"
#include "services/runtime/sampling/draws.h"

namespace tandem {
namespace {

// Steps on pages that all sequences share, and on a slot each.
class Steps {
 public:
  Steps(Engine& engine, const KvView& kv)
      : engine_(engine), kv_(kv), pages_(kv.layout->pages()), begin_(absl::Now()) {
    std::iota(pages_.begin(), pages_.end(), 0);
  }
  ~Steps() {
    LogInfo("warmed-up",
            {{"steps", count_}, {"ms", absl::ToInt64Milliseconds(absl::Now() - begin_)}});
  }

  // The tokens from `start` on, of so many sequences.
  void Run(int sequences, int64_t start, int64_t count, const SamplerSpec& spec) {
    const Sampler sampler(spec, {});
    const std::vector<int32_t> tokens(count, 0);
    std::vector<EngineChunk> chunks;
    for (int slot = 0; slot < sequences; ++slot) {
      chunks.push_back(
          {.tokens = tokens, .start = start, .slot = slot, .pages = pages_, .sampler = &sampler});
    }
    (void)engine_.Step(chunks, kv_);
    ++count_;
  }

 private:
  Engine& engine_;
  const KvView& kv_;
  std::vector<int32_t> pages_;
  const absl::Time begin_;
  int count_ = 0;
};

int64_t Longest(const KvView& kv, int64_t context_tokens_max) {
  return std::min(context_tokens_max, int64_t{kv.layout->pages()} * kPageTokens);
}

}  // namespace

void WarmUpDecode(Engine& engine, const KvView& kv, const DecodeWarmUp& limits) {
  if (engine.runs() != StepRuns::kOnDevice) return;
  const int most = std::min(limits.batch_max, kv.layout->slots());
  const int64_t longest = Longest(kv, limits.context_tokens_max);
  Steps steps(engine, kv);
  // What is taken for the largest step does for all others.
  steps.Run(most, longest - 1, 1, {.temperature = 1, .logprobs = Draws::kUsualBest});
  for (unsigned batch = std::bit_floor(static_cast<unsigned>(most)); batch >= 1; batch /= 2) {
    for (int64_t positions = kPageTokens;; positions *= 2) {
      const int64_t last = std::min(positions, longest) - 1;
      for (int twice = 0; twice < 2; ++twice) {
        steps.Run(static_cast<int>(batch), last, 1, {.temperature = 0});
      }
      if (positions >= longest) break;
    }
  }
}

void WarmUpPrefill(Engine& engine, const KvView& kv, const PrefillWarmUp& limits) {
  if (engine.runs() != StepRuns::kOnDevice) return;
  const int64_t half = Longest(kv, limits.context_tokens_max) / 2;
  Steps steps(engine, kv);
  for (const int64_t count : {std::min<int64_t>(limits.chunk_tokens, half), int64_t{1}}) {
    for (const int64_t start : {int64_t{0}, count}) {
      steps.Run(1, start, count, {.temperature = 1, .logprobs = Draws::kUsualBest});
    }
  }
}

}  // namespace tandem
