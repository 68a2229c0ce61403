// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/engine/sim/sim_engine.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/log.h"

namespace tandem {
namespace {

void SleepUntil(absl::Time end) {
  absl::SleepFor(end - Clock::Real().Now());
}

}  // namespace

absl::StatusOr<std::unique_ptr<SimEngine>> SimEngine::Create(const ModelConfig& config,
                                                             const Options& options) {
  if (SimRows::Layers(config).empty()) {
    return absl::InvalidArgumentError(
        "config.json: compress_ratios must have a 4 or a 128 for engine: ENGINE_SIM, got none");
  }
  return std::unique_ptr<SimEngine>(new SimEngine(config, options));
}

SimEngine::SimEngine(const ModelConfig& config, const Options& options)
    : config_(config),
      options_(options),
      layers_(SimRows::Layers(config)),
      silent_({config.bos_token_id, config.eos_token_id}),
      thread_("sim-engine", [this] { Wait(); }) {
  while (std::find(silent_.begin(), silent_.end(), none_) != silent_.end()) ++none_;
}

SimEngine::~SimEngine() {
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
}

void SimEngine::Wait() {
  absl::MutexLock lock(&mutex_);
  while (true) {
    mutex_.Await(absl::Condition(this, &SimEngine::Told));
    if (!running_.has_value()) return;
    const Running step = *running_;
    mutex_.Unlock();
    options_.sleep_until ? options_.sleep_until(step.end) : SleepUntil(step.end);
    step.done();
    mutex_.Lock();
    running_.reset();
  }
}

std::vector<ChunkResult> SimEngine::Collect() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &SimEngine::Over));
  return std::exchange(results_, {});
}

void SimEngine::Launch(absl::Span<const EngineChunk> chunks, const KvView& kv,
                       StepListener listener) {
  const absl::Time now = options_.clock->Now();
  int64_t tokens = 0;
  results_.reserve(chunks.size());
  for (const EngineChunk& chunk : chunks) {
    tokens += static_cast<int64_t>(chunk.tokens.size());
    results_.push_back(Answer(chunk, kv));
  }
  const absl::Time end = pacer_.End(chunks, now, options_.step + tokens * options_.token);
  absl::MutexLock lock(&mutex_);
  CHECK(!running_.has_value());
  running_ = Running{.end = end, .done = std::move(listener.done)};
}

ChunkResult SimEngine::Answer(const EngineChunk& chunk, const KvView& kv) {
  SimRows rows({.kv = kv, .place = {.slot = chunk.slot, .pages = chunk.pages}, .layers = layers_});
  int64_t position = chunk.start;
  if (options_.reads_prompts) {
    rows.Append(chunk.start, chunk.tokens);
    position += static_cast<int64_t>(chunk.tokens.size());
  }
  ChunkResult result{.choice = {},
                     .target_logprobs = std::vector<float>(chunk.targets.size(), kLogprob)};
  if (chunk.sampler == nullptr) return result;
  result.choice = ChoiceOf(NextId(chunk, position, rows), chunk.sampler->spec());
  return result;
}

int32_t SimEngine::NextId(const EngineChunk& chunk, int64_t position, SimRows& rows) {
  if (rows.Holds(position)) {
    lost_.erase(chunk.slot);
    return rows.Next(silent_, none_);
  }
  if (lost_.insert(chunk.slot).second)
    LogError("sim-prompt-lost", {{"slot", chunk.slot}, {"position", position}});
  return config_.bos_token_id;
}

TokenChoice SimEngine::ChoiceOf(int32_t id, const SamplerSpec& spec) const {
  TokenChoice choice{.id = id};
  if (!spec.logprobs.has_value()) return choice;
  choice.logprob = kLogprob;
  for (int i = 0; i < *spec.logprobs; ++i) {
    choice.top.push_back(
        {.id = (id + i) % config_.vocab_size, .logprob = kLogprob - static_cast<float>(i)});
  }
  return choice;
}

}  // namespace tandem
