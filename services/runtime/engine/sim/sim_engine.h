// SPDX-License-Identifier: Apache-2.0
// SimEngine: an Engine without weights and kernels, for loading everything around one: a step lasts
// as long as it is told to, asleep, and answers follow a rule that every client can check.
//
// The rule: an answer repeats its prompt's ids from the first, over and over, and leaves out the
// model's bos_token_id and eos_token_id (config.json). Prompt 0 7 8 9, max_tokens 5: 7 8 9 7 8.
// Sampling, seed and penalties change nothing. So an answer consists of its own prompt's ids, and
// any other id is another request's, or damage. A prompt of those two alone is answered with the
// lowest id that is neither.
//
// Prompts are kept in the KV rows alone (sim_rows.h): prefill writes them, decode reads them there
// after the hand-off. Rows that do not hold a whole prompt are answered with bos_token_id and one
// line in the log.
//
// Log-probabilities are made up: kLogprob for the token drawn and for every prompt token; the best
// tokens are the one drawn and the ids after it, a nat apart.
//
// Not thread-safe; a thread of its own waits for the end of each step.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/engine/engine.h"
#include "services/runtime/engine/sim/sim_rows.h"
#include "services/runtime/engine/sim/step_pacer.h"

namespace tandem {

class SimEngine final : public Engine {
 public:
  static constexpr float kLogprob = -0.25F;

  struct Options {
    bool reads_prompts = false;  // prefill: chunks are prompts; decode: they are drawn tokens
    // A step lasts step + tokens · token.
    absl::Duration step;
    absl::Duration token;
    // Borrowed, as what `sleep_until` uses.
    const Clock* clock = &Clock::Real();
    std::function<void(absl::Time)> sleep_until;  // default: until the real clock says so
  };
  // INVALID_ARGUMENT if the model has no layer that keeps a whole prompt (ratio 4 or 128).
  static absl::StatusOr<std::unique_ptr<SimEngine>> Create(const ModelConfig& config,
                                                           const Options& options);

  const ModelConfig& config() const override { return config_; }
  void Launch(absl::Span<const EngineChunk> chunks, const KvView& kv,
              StepListener listener) override ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<ChunkResult> Collect() override ABSL_LOCKS_EXCLUDED(mutex_);
  ~SimEngine() override;

 private:
  // What the waiting thread is told.
  struct Running {
    absl::Time end;
    std::function<void()> done;
  };
  void Wait() ABSL_LOCKS_EXCLUDED(mutex_);
  bool Told() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stopping_ || running_.has_value();
  }
  bool Over() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !running_.has_value(); }
  SimEngine(const ModelConfig& config, const Options& options);
  ChunkResult Answer(const EngineChunk& chunk, const KvView& kv);
  int32_t NextId(const EngineChunk& chunk, int64_t position, SimRows& rows);
  TokenChoice ChoiceOf(int32_t id, const SamplerSpec& spec) const;

  const ModelConfig config_;
  const Options options_;
  const std::vector<int> layers_;
  const std::vector<int32_t> silent_;
  int32_t none_ = 0;  // the answer's id where a prompt has none
  StepPacer pacer_;
  absl::flat_hash_set<int> lost_;  // slots without a whole prompt, told of in the log
  std::vector<ChunkResult> results_;
  absl::Mutex mutex_;
  std::optional<Running> running_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  Thread thread_;  // last: it uses what stands before
};

}  // namespace tandem
