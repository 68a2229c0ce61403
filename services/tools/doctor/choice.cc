// SPDX-License-Identifier: Apache-2.0
#include "services/tools/doctor/choice.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tandem {
namespace {

constexpr char kRanks[] = "tensor_parallel";
constexpr char kChannel[] = "KV channel";
constexpr char kSums[] = "all-reduce";
constexpr char kNoWay[] = "see the lines of the GPU pairs above, or install NCCL (libnccl.so.2)";

Finding OnCpu(const HostFacts& host) {
  if (host.shm_bytes.has_value()) {
    return {.subject = kChannel,
            .text =
                "shared: both workers on the CPU, the pool in /dev/shm; grpc where they see "
                "different ones"};
  }
  return {.subject = kChannel, .text = "grpc: there is no /dev/shm for a pool"};
}

Finding Ranks(const ChoiceArgs& args, int gpus) {
  if (!args.plan.has_value()) {
    return {.subject = kRanks,
            .text = absl::StrFormat("1 to %d: name a model (--model) to know", gpus)};
  }
  const MachinePlan& plan = *args.plan;
  if (plan.chosen < 0) {
    return {.verdict = Verdict::kProblem,
            .subject = kRanks,
            .text = absl::StrFormat("none: the model does not fit on %d GPUs (--plan says what "
                                    "takes how much)",
                                    gpus),
            .advice = "more GPUs, or a shorter --context"};
  }
  const WorkerPlan& worker = plan.workers[static_cast<size_t>(plan.chosen)];
  return {.subject = kRanks,
          .text = absl::StrFormat("%d: the fewest GPUs that hold the weights and a sequence, with "
                                  "%d pages",
                                  worker.ranks, worker.pages)};
}

Finding Channel(const ChoiceArgs& args, int gpus) {
  const bool together =
      gpus == 1 || (args.plan.has_value() && args.plan->chosen >= 0 &&
                    args.plan->workers[static_cast<size_t>(args.plan->chosen)].prefill);
  if (together) {
    return {.subject = kChannel,
            .text = "shared: prefill and decode on the same GPUs, the pool mapped by CUDA IPC"};
  }
  const std::string& nccl = args.survey.nccl;
  if (AllPeers(args.survey)) {
    return {.subject = kChannel,
            .text = absl::StrCat(
                "ipc: prefill and decode on different GPUs, and every GPU reaches every other; ",
                nccl.empty() ? "grpc" : absl::StrCat("nccl (", nccl, ")"), " to other machines")};
  }
  if (!nccl.empty()) {
    return {.subject = kChannel,
            .text = absl::StrCat("nccl (", nccl,
                                 ") between GPUs that do not reach each other; "
                                 "shared where workers share one")};
  }
  return {.verdict = Verdict::kWarning,
          .subject = kChannel,
          .text = "grpc between GPUs that do not reach each other; shared where workers share one",
          .advice = kNoWay};
}

// Of a worker with several ranks. What it has measured it says when it starts.
Finding Sums(const GpuSurvey& survey) {
  const bool peers = AllPeers(survey);
  if (peers && !survey.nccl.empty()) {
    return {.subject = kSums,
            .text = absl::StrCat("peer memory or nccl (", survey.nccl,
                                 "): the faster one for each size, as every worker "
                                 "measures at its start")};
  }
  if (peers) return {.subject = kSums, .text = "peer memory: there is no NCCL to compare with"};
  if (!survey.nccl.empty()) {
    return {.subject = kSums,
            .text = absl::StrCat("nccl (", survey.nccl,
                                 "): not every GPU reaches every other; "
                                 "peer memory where a worker's do")};
  }
  return {.verdict = Verdict::kWarning,
          .subject = kSums,
          .text = "none between GPUs that do not reach each other: no tensor_parallel above 1",
          .advice = kNoWay};
}

}  // namespace

int UsableGpus(const GpuSurvey& survey) {
  return static_cast<int>(std::count_if(survey.list.gpus.begin(), survey.list.gpus.end(),
                                        [](const GpuFacts& gpu) { return gpu.unusable.empty(); }));
}

Findings Choose(const ChoiceArgs& args) {
  const int gpus = UsableGpus(args.survey);
  if (gpus == 0) return {{.subject = "device", .text = "DEVICE_CPU"}, OnCpu(args.host)};
  Findings findings = {{.subject = "device", .text = "DEVICE_CUDA"}, Ranks(args, gpus)};
  if (gpus > 1) findings.push_back(Sums(args.survey));
  findings.push_back(Channel(args, gpus));
  return findings;
}

}  // namespace tandem
