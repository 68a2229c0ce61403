// SPDX-License-Identifier: Apache-2.0
// tandem doctor: is this machine fit, and what would run on it; with --plan, what a model takes on
// machines that need not be here.
#include <algorithm>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/machine/host_facts.h"
#include "services/runtime/machine/pci_gpus.h"
#include "services/tools/doctor/choice.h"
#include "services/tools/doctor/config_checks.h"
#include "services/tools/doctor/gpu_checks.h"
#include "services/tools/doctor/host_checks.h"
#include "services/tools/doctor/memory_checks.h"
#include "services/tools/doctor/plan_text.h"
#include "services/tools/flags.h"
#include "services/tools/verbs.h"

namespace tandem {
namespace {

// What CUDA says that such a card has, as others have seen it (94.97, 31.34, 79.14 and 139.72 GiB
// at the least): more than its name, some hundred MiB less than nvidia-smi's memory.total.
struct Preset {
  const char* name;
  double gigabytes;
};
constexpr Preset kPresets[] = {
    {"rtx-pro-6000", 101.9}, {"rtx-5090", 33.6}, {"h100", 84.9}, {"h200", 150.0}};
constexpr int kPresetGpus = 8;
// Of what is free on a GPU now, or of a preset, what a worker may count on.
constexpr double kFreeShare = 0.99;

std::vector<FlagSpec> DoctorFlags() {
  return {{"model", "DIR", "checkpoint folder to check, or to plan for (config.json is enough)"},
          {"router", "FILE", "a router's config: valid, ports free", true},
          {"prefill", "FILE", "a prefill worker's config, likewise", true},
          {"decode", "FILE", "a decode worker's config, likewise, and its pool's memory", true},
          {"plan", "", "no checks: print what the model takes and the config lines to use"},
          {"gpus", "N", "--plan for so many GPUs (default: these, or 8 with --preset)"},
          {"gpu-memory", "GB", "of so much memory each (default: what is free)"},
          {"preset", "NAME", "of a card: rtx-pro-6000, rtx-5090, h100, h200"},
          {"context", "TOKENS", "of a sequence, prompt and answer (default 131072)"},
          {"sequences", "N", "that hold memory at once (default 64)"},
          {"help", "", "print this"}};
}

int Usage(const absl::Status& status) {
  std::cerr << "tandem doctor: " << status.message() << "; --help says what there is\n";
  return 2;
}

absl::StatusOr<double> PresetGigabytes(const std::string& name) {
  for (const Preset& preset : kPresets) {
    if (name == preset.name) return preset.gigabytes;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--preset: must be rtx-pro-6000, rtx-5090, h100 or h200, got \"", name, "\""));
}

// The GPUs that are there, as much of each as the fullest has free.
void CountOn(const GpuSurvey& survey, PlanRequest& request) {
  request.gpus = UsableGpus(survey);
  double least = 0;
  for (const GpuFacts& gpu : survey.list.gpus) {
    if (!gpu.unusable.empty()) continue;
    const auto free = static_cast<double>(gpu.free_bytes);
    least = least == 0 ? free : std::min(least, free);
  }
  request.gpu_bytes = static_cast<int64_t>(kFreeShare * least);
}

absl::StatusOr<PlanRequest> SequencesOf(const Flags& flags, const ModelConfig& config) {
  PlanRequest out;
  ASSIGN_OR_RETURN(const std::optional<uint32_t> context, flags.Count("context"));
  ASSIGN_OR_RETURN(const std::optional<uint32_t> sequences, flags.Count("sequences"));
  out.context = context.value_or(std::min<int64_t>(out.context, config.max_position_embeddings));
  if (sequences.has_value()) out.sequences = static_cast<int>(std::min(*sequences, 1U << 30));
  // local.sh batches as many as there are slots.
  out.batch_max = std::clamp(out.sequences, out.batch_max, 1 << 16);
  return out;
}

absl::StatusOr<PlanRequest> RequestOf(const Flags& flags, const ModelConfig& config) {
  ASSIGN_OR_RETURN(PlanRequest out, SequencesOf(flags, config));
  ASSIGN_OR_RETURN(const std::optional<uint32_t> gpus, flags.Count("gpus"));
  ASSIGN_OR_RETURN(const std::optional<float> memory, flags.Float("gpu-memory"));
  if (flags.Has("preset") && memory.has_value()) {
    return absl::InvalidArgumentError("--preset and --gpu-memory exclude each other");
  }
  if (flags.Has("preset")) {
    ASSIGN_OR_RETURN(const double gigabytes, PresetGigabytes(flags.Text("preset")));
    out.gpus = kPresetGpus;
    out.gpu_bytes = static_cast<int64_t>(kFreeShare * gigabytes * 1e9);
  } else if (memory.has_value()) {
    if (!(*memory > 0 && *memory < 1e5F)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--gpu-memory: must be above 0 and below 100000 GB, got ", *memory));
    }
    out.gpu_bytes = static_cast<int64_t>(double{*memory} * 1e9);
  } else {
    const GpuSurvey survey{.list = ListGpus()};
    CountOn(survey, out);
    if (out.gpus == 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "no GPU to plan for (", survey.list.why, "): give --preset, or --gpus and --gpu-memory"));
    }
  }
  if (gpus.has_value()) out.gpus = static_cast<int>(std::min(*gpus, 1U << 30));
  return out;
}

int RunPlan(const Flags& flags) {
  if (!flags.Has("model")) return Usage(absl::InvalidArgumentError("--plan needs --model DIR"));
  const absl::StatusOr<ModelConfig> config = ModelConfig::FromFolder(flags.Text("model"));
  if (!config.ok()) return Usage(config.status());
  const absl::StatusOr<PlanRequest> request = RequestOf(flags, *config);
  if (!request.ok()) return Usage(request.status());
  const absl::StatusOr<MachinePlan> plan = PlanMachine(*config, *request);
  if (!plan.ok()) return Usage(plan.status());
  std::cout << TextOf(
      {.model = flags.Text("model"), .config = *config, .request = *request, .plan = *plan});
  return plan->chosen >= 0 ? 0 : 1;
}

// Of the model on the GPUs that are there; none without either.
absl::StatusOr<std::optional<MachinePlan>> PlanHere(const Flags& flags, const GpuSurvey& survey) {
  if (!flags.Has("model") || UsableGpus(survey) == 0) return std::optional<MachinePlan>();
  const absl::StatusOr<ModelConfig> config = ModelConfig::FromFolder(flags.Text("model"));
  if (!config.ok()) return std::optional<MachinePlan>();  // the model's line says it
  ASSIGN_OR_RETURN(PlanRequest request, SequencesOf(flags, *config));
  CountOn(survey, request);
  ASSIGN_OR_RETURN(MachinePlan plan, PlanMachine(*config, request));
  return std::optional<MachinePlan>(std::move(plan));
}

int RunChecks(const Flags& flags) {
  const SystemFiles files;
  const GpuSurvey survey = SurveyGpus();
  const absl::StatusOr<std::optional<MachinePlan>> plan = PlanHere(flags, survey);
  if (!plan.ok()) return Usage(plan.status());
  // After the trials: a card at rest shows a slower link.
  const std::vector<PciGpu> pci = ListPciGpus(files);
  const HostFacts host = ReadHostFacts(files);
  Findings findings = CheckGpus({.survey = survey, .pci = pci, .host = host});
  const auto add = [&findings](Findings more) {
    findings.insert(findings.end(), more.begin(), more.end());
  };
  const ConfigReport configs = CheckConfigs({.model = flags.Texts("model"),
                                             .router = flags.Texts("router"),
                                             .prefill = flags.Texts("prefill"),
                                             .decode = flags.Texts("decode")});
  if (configs.wants_gpu && UsableGpus(survey) == 0) {
    add({{.verdict = Verdict::kProblem,
          .subject = "device",
          .text = "a config says DEVICE_CUDA, and there is no GPU to run on"}});
  }
  add(CheckHost({.host = host, .pci = pci, .shm_bytes = configs.shm_bytes}));
  add(configs.findings);
  const MemoryChecksArgs memory{
      .decodes = configs.decodes, .prefills = configs.prefills, .list = survey.list};
  add(CheckGpuMemory(memory));
  add(CheckStaging(memory));
  add(Choose({.survey = survey, .host = host, .plan = *plan}));
  std::cout << TextOf(findings);
  return AnyProblem(findings) ? 1 : 0;
}

// Checks are of the machine that is here, a plan is of none: what is for the other would be passed
// over in silence.
absl::Status OfOneKind(const Flags& flags, bool plan) {
  for (const char* name : {"gpus", "gpu-memory", "preset"}) {
    if (flags.Has(name) && !plan)
      return absl::InvalidArgumentError(absl::StrCat("--", name, " is for --plan"));
  }
  for (const char* name : {"router", "prefill", "decode"}) {
    if (!flags.Texts(name).empty() && plan)
      return absl::InvalidArgumentError(absl::StrCat("--", name, " is for checks, not for --plan"));
  }
  return absl::OkStatus();
}

}  // namespace

int RunDoctor(const std::vector<std::string>& arguments) {
  const auto flags = Flags::Parse(DoctorFlags(), arguments);
  if (!flags.ok()) return Usage(flags.status());
  if (flags->Has("help")) {
    std::cout << "tandem doctor: is this machine fit; exit code 0 unless something is a problem\n\n"
              << Flags::Help(DoctorFlags());
    return 0;
  }
  const bool plan = flags->Has("plan");
  if (const absl::Status status = OfOneKind(*flags, plan); !status.ok()) return Usage(status);
  return plan ? RunPlan(*flags) : RunChecks(*flags);
}

}  // namespace tandem
