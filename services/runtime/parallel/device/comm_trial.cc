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

namespace tandem {
namespace {

using kernels::Bf16;

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
      RETURN_IF_ERROR(Verify(tokens));
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
    const std::vector<Bf16> part(static_cast<size_t>(MostValues()),
                                 kernels::ToBf16(static_cast<float>(rank_ + 1)));
    // On its own queue: ranks that share a device may be capturing.
    RETURN_IF_ERROR(
        Check(cudaMemcpyAsync(x_, part.data(), bytes, cudaMemcpyHostToDevice, queue_), "copy"));
    RETURN_IF_ERROR(Check(cudaMemsetAsync(y_, 0xFF, bytes, queue_), "fill"));
    return Check(cudaStreamSynchronize(queue_), "copy");
  }

  absl::Status Verify(int64_t tokens) const {
    std::vector<Bf16> sums(static_cast<size_t>(tokens * trial_.dim));
    RETURN_IF_ERROR(Check(cudaMemcpyAsync(sums.data(), y_, sums.size() * sizeof(Bf16),
                                          cudaMemcpyDeviceToHost, queue_),
                          "copy"));
    RETURN_IF_ERROR(Check(cudaStreamSynchronize(queue_), "copy"));
    const size_t ranks = trial_.devices.size();
    const Bf16 expected = kernels::ToBf16(static_cast<float>(ranks * (ranks + 1) / 2));
    for (const Bf16 sum : sums) {
      if (sum == expected) continue;
      return absl::DataLossError(
          absl::StrCat("rank ", rank_, " has a wrong sum of ", tokens, " tokens"));
    }
    return absl::OkStatus();
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
