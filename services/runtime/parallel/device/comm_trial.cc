// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/parallel/device/comm_trial.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "kernels/common/cuda/device_stream.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/parallel/device/rank_queue.h"
#include "services/runtime/parallel/trial_pattern.h"

namespace tandem {
namespace {

using kernels::Bf16;

// Of each size, one after the other with other data: what is left of the last one shows.
constexpr int kVerifiedRounds = 2;

absl::Status Check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(what, ": ", cudaGetErrorString(error)));
}

// One rank's device, queue and memory, used by its thread alone.
class TrialRank {
 public:
  TrialRank(const CommTrial& trial, size_t rank) : trial_(trial), rank_(rank) {}
  ~TrialRank() {
    if (x_ != nullptr) (void)cudaFree(x_);
    if (y_ != nullptr) (void)cudaFree(y_);
    if (queue_ != nullptr) (void)cudaStreamDestroy(queue_);
  }
  TrialRank(const TrialRank&) = delete;
  TrialRank& operator=(const TrialRank&) = delete;

  absl::StatusOr<std::vector<double>> Run() {
    auto seconds = RunSizes();
    if (!seconds.ok()) trial_.communicators[rank_]->Abort();
    return seconds;
  }

 private:
  absl::StatusOr<std::vector<double>> RunSizes() {
    RETURN_IF_ERROR(Prepare());
    kernels::Stream stream = kernels::MakeDeviceStream(queue_);
    Communicator& communicator = *trial_.communicators[rank_];
    const RankTimer timer = {
        .wait = [&](kernels::Stream& s) { return communicator.Wait(s, trial_.limit); }};
    std::vector<double> seconds;
    for (const int64_t tokens : trial_.tokens) {
      const auto reduce = [&](kernels::Stream& s) {
        communicator.AllReduce({.x = {x_, {tokens, trial_.dim}}, .y = {y_, {tokens, trial_.dim}}},
                               s);
      };
      ASSIGN_OR_RETURN(seconds.emplace_back(), SecondsOfRun(timer, reduce, stream));
      for (int round = 0; round < kVerifiedRounds; ++round) {
        const TrialCall call = {.ranks = static_cast<int>(trial_.devices.size()),
                                .tokens = tokens,
                                .dim = trial_.dim,
                                .round = round};
        RETURN_IF_ERROR(Fill(call));
        reduce(stream);
        RETURN_IF_ERROR(timer.wait(stream));
        RETURN_IF_ERROR(Verify(call));
      }
    }
    return seconds;
  }

  int64_t MostValues() const {
    return *std::max_element(trial_.tokens.begin(), trial_.tokens.end()) * trial_.dim;
  }

  absl::Status Prepare() {
    RETURN_IF_ERROR(Check(cudaSetDevice(trial_.devices[rank_]), "device"));
    const size_t bytes = static_cast<size_t>(MostValues()) * sizeof(Bf16);
    RETURN_IF_ERROR(Check(cudaStreamCreateWithFlags(&queue_, cudaStreamNonBlocking), "stream"));
    RETURN_IF_ERROR(Check(cudaMalloc(&x_, bytes), "memory"));
    RETURN_IF_ERROR(Check(cudaMalloc(&y_, bytes), "memory"));
    // What is timed before anything is verified. On its own queue: others may be capturing.
    RETURN_IF_ERROR(Check(cudaMemsetAsync(x_, 0, bytes, queue_), "fill"));
    return Check(cudaStreamSynchronize(queue_), "fill");
  }

  // The part into x, and into y what is no sum: the right one is then this call's.
  absl::Status Fill(const TrialCall& call) const {
    const std::vector<Bf16> part = TrialPart(call, static_cast<int>(rank_));
    const size_t bytes = part.size() * sizeof(Bf16);
    RETURN_IF_ERROR(
        Check(cudaMemcpyAsync(x_, part.data(), bytes, cudaMemcpyHostToDevice, queue_), "copy"));
    RETURN_IF_ERROR(Check(cudaMemsetAsync(y_, 0xFF, bytes, queue_), "fill"));
    return Check(cudaStreamSynchronize(queue_), "copy");
  }

  absl::Status Verify(const TrialCall& call) const {
    std::vector<Bf16> sums(static_cast<size_t>(call.tokens * call.dim));
    RETURN_IF_ERROR(Check(cudaMemcpyAsync(sums.data(), y_, sums.size() * sizeof(Bf16),
                                          cudaMemcpyDeviceToHost, queue_),
                          "copy"));
    RETURN_IF_ERROR(Check(cudaStreamSynchronize(queue_), "copy"));
    const absl::Status right = CheckTrialSum(call, sums);
    if (right.ok()) return right;
    return absl::DataLossError(
        absl::StrCat("rank ", rank_, ", round ", call.round, ": ", right.message()));
  }

  const CommTrial& trial_;
  const size_t rank_;
  cudaStream_t queue_ = nullptr;
  Bf16* x_ = nullptr;
  Bf16* y_ = nullptr;
};

}  // namespace

absl::StatusOr<std::vector<double>> TryAllReduce(const CommTrial& trial) {
  std::vector<absl::StatusOr<std::vector<double>>> results(trial.devices.size());
  {
    std::vector<std::unique_ptr<Thread>> threads;
    for (size_t r = 0; r < trial.devices.size(); ++r) {
      threads.push_back(std::make_unique<Thread>(
          absl::StrCat("trial-", r), [&, r] { results[r] = TrialRank(trial, r).Run(); }));
    }
  }
  std::vector<double> slowest(trial.tokens.size());
  for (const auto& result : results) {
    if (!result.ok()) return result.status();
    for (size_t i = 0; i < slowest.size(); ++i) slowest[i] = std::max(slowest[i], (*result)[i]);
  }
  return slowest;
}

}  // namespace tandem
