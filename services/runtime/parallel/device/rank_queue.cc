// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/parallel/device/rank_queue.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/runtime/base/status_macros.h"

namespace tandem {
namespace {

// A decode step is looked for again at once: to be woken takes a tenth of one. What takes longer
// leaves the processor to others.
constexpr absl::Duration kLook = absl::Milliseconds(20);
constexpr absl::Duration kPoll = absl::Microseconds(50);

absl::Status Check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(what, ": ", cudaGetErrorString(error)));
}

// The graph, and an event before each replay and behind the last.
struct Replays {
  ~Replays() {
    if (graph != nullptr) (void)cudaGraphDestroy(graph);
    if (executable != nullptr) (void)cudaGraphExecDestroy(executable);
    for (cudaEvent_t event : events) (void)cudaEventDestroy(event);
  }
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  std::vector<cudaEvent_t> events;
};

absl::Status Capture(const RankTimer& timer, const std::function<void(kernels::Stream&)>& queue_run,
                     kernels::Stream& stream, Replays* replays) {
  const auto queue = static_cast<cudaStream_t>(stream.queue());
  RETURN_IF_ERROR(
      Check(cudaStreamBeginCapture(queue, cudaStreamCaptureModeThreadLocal), "capture"));
  for (int i = 0; i < timer.runs; ++i) queue_run(stream);
  RETURN_IF_ERROR(Check(cudaStreamEndCapture(queue, &replays->graph), "end of capture"));
  if (!stream.ok()) return absl::InternalError(stream.error());
  RETURN_IF_ERROR(
      Check(cudaGraphInstantiate(&replays->executable, replays->graph, 0), "instantiate"));
  replays->events.resize(static_cast<size_t>(timer.replays) + 2);
  for (cudaEvent_t& event : replays->events)
    RETURN_IF_ERROR(Check(cudaEventCreate(&event), "event"));
  return absl::OkStatus();
}

}  // namespace

absl::Status WaitForQueue(kernels::Stream& stream, absl::Duration limit,
                          const std::function<absl::Status()>& failed) {
  const auto queue = static_cast<cudaStream_t>(stream.queue());
  const absl::Time begin = absl::Now();
  while (true) {
    if (!stream.ok()) return absl::InternalError(stream.error());
    RETURN_IF_ERROR(failed());
    const cudaError_t state = cudaStreamQuery(queue);
    if (state == cudaSuccess) return absl::OkStatus();
    if (state != cudaErrorNotReady) {
      stream.RecordError(cudaGetErrorString(state));
      return absl::InternalError(stream.error());
    }
    const absl::Duration waited = absl::Now() - begin;
    if (waited > limit) {
      return absl::DeadlineExceededError(
          absl::StrCat("a rank's queue has not run within ", absl::FormatDuration(limit)));
    }
    if (waited > kLook) {
      absl::SleepFor(kPoll);
    } else {
      std::this_thread::yield();
    }
  }
}

absl::StatusOr<double> SecondsOfRun(const RankTimer& timer,
                                    const std::function<void(kernels::Stream&)>& queue_run,
                                    kernels::Stream& stream) {
  const auto queue = static_cast<cudaStream_t>(stream.queue());
  queue_run(stream);  // takes scratch, connects
  RETURN_IF_ERROR(timer.wait(stream));
  Replays replays;
  RETURN_IF_ERROR(Capture(timer, queue_run, stream, &replays));
  for (size_t i = 0; i < replays.events.size(); ++i) {
    RETURN_IF_ERROR(Check(cudaEventRecord(replays.events[i], queue), "record"));
    if (i + 1 == replays.events.size()) break;
    RETURN_IF_ERROR(Check(cudaGraphLaunch(replays.executable, queue), "replay"));
  }
  RETURN_IF_ERROR(timer.wait(stream));
  std::vector<float> milliseconds;
  for (size_t i = 1; i + 1 < replays.events.size(); ++i) {
    RETURN_IF_ERROR(Check(cudaEventElapsedTime(&milliseconds.emplace_back(), replays.events[i],
                                               replays.events[i + 1]),
                          "time"));
  }
  std::sort(milliseconds.begin(), milliseconds.end());
  return 1e-3 * milliseconds[milliseconds.size() / 2] / timer.runs;
}

}  // namespace tandem
