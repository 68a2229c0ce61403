// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/engine/tensor_parallel_engine.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/thread.h"

namespace tandem {
namespace {

// From a decode step's end to the next one's launch, and a decode step.
constexpr absl::Duration kLookForStep = absl::Microseconds(200);
constexpr absl::Duration kLookForEnd = absl::Milliseconds(20);

}  // namespace

TensorParallelEngine::TensorParallelEngine(std::vector<Rank> ranks, const Options& options)
    : options_(options),
      ranks_(std::move(ranks)),
      barrier_(static_cast<int>(ranks_.size()), options.limit) {
  for (int r = 0; r < static_cast<int>(ranks_.size()); ++r) {
    threads_.push_back(
        std::make_unique<Thread>(absl::StrCat("rank-", r), [this, r] { RunRank(r); }));
  }
}

TensorParallelEngine::~TensorParallelEngine() {
  {
    const absl::MutexLock lock(&mutex_);
    closed_ = true;
  }
  threads_.clear();
}

void TensorParallelEngine::Launch(absl::Span<const EngineChunk> chunks, const KvView& kv,
                                  StepListener listener) {
  const absl::MutexLock lock(&mutex_);
  CHECK_EQ(launched_.load(), ended_.load());
  chunks_ = chunks;
  kv_ = kv;
  listener_ = std::move(listener);
  if (chunks.empty()) listener_.layers = nullptr;  // there are none
  running_ = ranks_.size() + (listener_.layers ? 1 : 0);
  layers_told_.clear();
  ++launched_;
}

std::vector<ChunkResult> TensorParallelEngine::Collect() {
  const auto ended = [this] { return ended_ == launched_; };
  if (runs() == StepRuns::kOnDevice) LookFor(kLookForEnd, ended);
  const absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&ended));
  return std::move(results_);
}

void TensorParallelEngine::RunRank(int rank) {
  for (int64_t step = 1;; ++step) {
    if (runs() == StepRuns::kOnDevice) LookFor(kLookForStep, [&] { return launched_ == step; });
    {
      const absl::MutexLock lock(&mutex_);
      const auto called = [this, step]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return launched_ == step || closed_;
      };
      mutex_.Await(absl::Condition(&called));
      if (closed_) return;
    }
    End(rank, RunStep(rank));
  }
}

std::vector<ChunkResult> TensorParallelEngine::RunStep(int rank) {
  auto& [engine, communicator] = ranks_[rank];
  const int64_t step = launched_;
  std::function<void(int)> layers;
  if (listener_.layers) layers = [this](int layers) { TellOf(layers); };
  if (!engine->Prepare(chunks_, kv_.OfRank(rank), std::move(layers))) unrecorded_ = step;
  absl::Status status = barrier_.Meet(rank);
  if (status.ok() && unrecorded_ == step) {
    engine->RunPlainly();
    status = barrier_.Meet(rank);
  }
  if (status.ok()) {
    engine->Queue();
    status = communicator->Wait(engine->stream(), options_.limit);
  }
  if (!status.ok()) {
    CheckFailed(__FILE__, __LINE__,
                absl::StrCat("tensor parallelism, rank ", rank, ": ", status.ToString()));
  }
  return engine->Collect();
}

// A rank has so many layers. The last to have them tells; it says nothing of more until it has, so
// one call comes after another.
void TensorParallelEngine::TellOf(int layers) {
  {
    const absl::MutexLock lock(&mutex_);
    if (++layers_told_[layers] < ranks_.size()) return;
  }
  listener_.layers(layers);
  if (layers == config().num_hidden_layers) EndOne();
}

void TensorParallelEngine::End(int rank, std::vector<ChunkResult> results) {
  if (rank == 0) {
    const absl::MutexLock lock(&mutex_);
    results_ = std::move(results);
  }
  EndOne();
}

void TensorParallelEngine::EndOne() {
  {
    const absl::MutexLock lock(&mutex_);
    if (--running_ > 0) return;
  }
  listener_.done();
  const absl::MutexLock lock(&mutex_);
  ++ended_;
}

}  // namespace tandem
