// SPDX-License-Identifier: Apache-2.0
// GatedEngine: an engine whose step stands still while its gate is shut: it computes, and writes
// rows, when it is collected after that. HalfwayEngine: one whose step stands behind half of its
// layers.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "services/runtime/engine/engine.h"

namespace tandem {

// Open at first. Outlives the engine. Thread-safe.
class StepGate {
 public:
  void Shut() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    shut_ = true;
  }
  // The step that stands is over.
  void Open() ABSL_LOCKS_EXCLUDED(mutex_) {
    std::function<void()> done;
    {
      absl::MutexLock lock(&mutex_);
      shut_ = false;
      done = std::exchange(done_, nullptr);
    }
    if (done) done();
  }
  // So is that one, but the next stands again.
  void LetOne() ABSL_LOCKS_EXCLUDED(mutex_) {
    std::function<void()> done;
    {
      absl::MutexLock lock(&mutex_);
      done = std::exchange(done_, nullptr);
    }
    done();
  }
  // Whether a step stands at the gate, before long.
  bool AwaitStep() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    const auto stands = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return done_ != nullptr; };
    return mutex_.AwaitWithTimeout(absl::Condition(&stands), absl::Seconds(60));
  }

  // The engine's: `done` is called when the gate is open.
  void Enter(std::function<void()> done) ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      absl::MutexLock lock(&mutex_);
      if (shut_) {
        done_ = std::move(done);
        return;
      }
    }
    done();
  }
  void AwaitOpen() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    const auto open = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !shut_; };
    mutex_.Await(absl::Condition(&open));
  }

 private:
  absl::Mutex mutex_;
  bool shut_ ABSL_GUARDED_BY(mutex_) = false;
  std::function<void()> done_ ABSL_GUARDED_BY(mutex_);
};

class GatedEngine final : public Engine {
 public:
  GatedEngine(std::unique_ptr<Engine> engine, StepGate& gate)
      : engine_(std::move(engine)), gate_(gate) {}

  const ModelConfig& config() const override { return engine_->config(); }
  void Launch(absl::Span<const EngineChunk> chunks, const KvView& kv,
              StepListener listener) override {
    chunks_.assign(chunks.begin(), chunks.end());
    kv_ = kv;
    gate_.Enter(std::move(listener.done));
  }
  std::vector<ChunkResult> Collect() override {
    gate_.AwaitOpen();
    return engine_->Step(chunks_, kv_);
  }

 private:
  const std::unique_ptr<Engine> engine_;
  StepGate& gate_;
  std::vector<EngineChunk> chunks_;
  KvView kv_;
};

class HalfwayEngine final : public Engine {
 public:
  HalfwayEngine(std::unique_ptr<Engine> engine, StepGate& gate)
      : engine_(std::move(engine)), gate_(gate) {}

  const ModelConfig& config() const override { return engine_->config(); }
  // Of the layers behind the half nothing is said before the gate opens, though they are there.
  void Launch(absl::Span<const EngineChunk> chunks, const KvView& kv,
              StepListener listener) override {
    std::vector<int> layers;
    StepListener inner{.done = [] {}};
    if (listener.layers) inner.layers = [&layers](int count) { layers.push_back(count); };
    engine_->Launch(chunks, kv, std::move(inner));
    results_ = engine_->Collect();
    const auto half = layers.begin() + static_cast<int64_t>(layers.size() / 2);
    for (auto it = layers.begin(); it != half; ++it) listener.layers(*it);
    over_.emplace();
    gate_.Enter(
        [this, listener = std::move(listener), rest = std::vector<int>(half, layers.end())] {
          for (const int count : rest) listener.layers(count);
          listener.done();
          over_->Notify();
        });
  }
  std::vector<ChunkResult> Collect() override {
    over_->WaitForNotification();
    return std::move(results_);
  }

 private:
  const std::unique_ptr<Engine> engine_;
  StepGate& gate_;
  std::vector<ChunkResult> results_;
  std::optional<absl::Notification> over_;
};

}  // namespace tandem
