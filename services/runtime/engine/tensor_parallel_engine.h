// SPDX-License-Identifier: Apache-2.0
// TensorParallelEngine: the Engine of several ranks, a thread and a backend each: every rank runs
// the same step on its part of the model and its copy of the pool, and rank 0 has the logits and
// draws.
//
// On devices its threads look for the next step for a while before they sleep, and Collect looks
// for the end of a decode step: to be woken takes longer than what is left to wait for.
//
// A step goes through each rank's thread: Prepare; all ranks meet, so that nobody takes memory or
// loads a recording while a peer's device already waits for it; Queue; then a wait that ends within
// `limit` even where a rank does not come. All ranks replay a step or none does, and all record it
// or none does, for what NCCL has recorded on one rank counts on the same of the others: where one
// could not record, all run plainly, and meet again behind that. A rank that fails, or is waited
// for in vain, ends the process with one line: its peers' sums are worthless. Layers are
// told of when all ranks have them. Used by one loop thread, like any Engine.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/engine/model_engine.h"
#include "services/runtime/parallel/communicator.h"
#include "services/runtime/parallel/rank_barrier.h"

namespace tandem {

class TensorParallelEngine final : public Engine {
 public:
  struct Rank {
    std::unique_ptr<ModelEngine> engine;  // rank 0's draws, no other does
    Communicator* communicator = nullptr;
  };
  struct Options {
    ModelConfig config;  // of the whole model
    absl::Duration limit = kStepLimit;
  };
  // At least one rank. The communicators, and what the engines borrow, outlive it.
  TensorParallelEngine(std::vector<Rank> ranks, const Options& options);
  ~TensorParallelEngine() override;

  const ModelConfig& config() const override { return options_.config; }
  // `kv` has a copy for each rank.
  void Launch(absl::Span<const EngineChunk> chunks, const KvView& kv,
              StepListener listener) override;
  std::vector<ChunkResult> Collect() override;
  StepRuns runs() const override {
    return ranks_[0].engine->runs() == StepRuns::kOnDevice ? StepRuns::kOnDevice
                                                           : StepRuns::kOnThreads;
  }
  int64_t launches() const override { return ranks_[0].engine->launches(); }

 private:
  void RunRank(int rank);
  std::vector<ChunkResult> RunStep(int rank);
  void TellOf(int layers);
  void End(int rank, std::vector<ChunkResult> results);
  void EndOne();

  const Options options_;
  std::vector<Rank> ranks_;
  RankBarrier barrier_;
  absl::Mutex mutex_;
  std::atomic<int64_t> launched_ = 0;    // steps; written under the mutex
  std::atomic<int64_t> ended_ = 0;       // of them; likewise
  std::atomic<int64_t> unrecorded_ = 0;  // the last one that a rank could not record
  // Ranks, and the last word of layers, if they are told of: it may come after the ranks' ends.
  size_t running_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<int, size_t> layers_told_ ABSL_GUARDED_BY(mutex_);  // ranks that have so many layers
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  // Of the running step: written before it is launched, read by its ranks.
  absl::Span<const EngineChunk> chunks_;
  KvView kv_;
  StepListener listener_;
  std::vector<ChunkResult> results_;
  std::vector<std::unique_ptr<Thread>> threads_;  // last: they use all of it
};

}  // namespace tandem
