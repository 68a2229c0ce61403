// SPDX-License-Identifier: Apache-2.0
#include "services/tools/doctor/host_checks.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tandem {
namespace {

// What the default pool of the shipped model takes, twice over.
constexpr int64_t kShmEnough = 512'000'000;
constexpr double kPoolMargin = 1.1;

bool Translated(const PciGpu& gpu) {
  return gpu.iommu_group_type.has_value() && absl::StartsWith(*gpu.iommu_group_type, "DMA");
}

// Matters between GPUs alone.
Finding CheckIommu(const HostChecksArgs& args) {
  Finding out{.subject = "iommu"};
  std::vector<std::string> words;
  for (const std::string& word : args.host.command_line) {
    if (absl::StrContains(word, "iommu")) words.push_back(word);
  }
  const bool translated = std::any_of(args.pci.begin(), args.pci.end(), Translated);
  out.text = !args.host.iommu ? "off" : translated ? "on, GPUs translated" : "on, passed through";
  if (!words.empty()) absl::StrAppend(&out.text, " (", absl::StrJoin(words, " "), ")");
  if (translated && args.pci.size() > 1) {
    out.verdict = Verdict::kWarning;
    out.advice = "kernel command line: iommu=pt; with translation peers' copies are slow, or hang";
  }
  return out;
}

Finding CheckAcs(const HostChecksArgs& args) {
  Finding out{.subject = "acs"};
  const auto redirected = [](const PciGpu& gpu) { return gpu.redirected.value_or(false); };
  const auto known = [](const PciGpu& gpu) { return gpu.redirected.has_value(); };
  if (std::any_of(args.pci.begin(), args.pci.end(), redirected)) {
    out.verdict = Verdict::kWarning;
    out.text = "on: peers' traffic goes up to the root";
    out.advice = "BIOS: ACS off, or setpci on the bridges above the GPUs";
  } else if (std::all_of(args.pci.begin(), args.pci.end(), known)) {
    out.text = "off";
  } else {
    out.text = "unknown: only root may read it";
  }
  return out;
}

Finding CheckHmm(const HostFacts& host) {
  Finding out{.subject = "nvidia_uvm", .text = *host.uvm_hmm ? "HMM on" : "HMM off"};
  if (!*host.uvm_hmm) return out;
  out.verdict = Verdict::kWarning;
  out.advice = "options nvidia_uvm uvm_disable_hmm=1, where peer mappings fail";
  return out;
}

Finding CheckShm(const HostChecksArgs& args) {
  Finding out{.subject = "/dev/shm"};
  if (!args.host.shm_bytes.has_value()) {
    out.verdict = Verdict::kWarning;
    out.text = "not there";
    out.advice = "mount a tmpfs: without it rows travel as bytes";
    return out;
  }
  const auto free = static_cast<double>(args.host.shm_free_bytes.value_or(0));
  out.text =
      absl::StrCat(Amount(static_cast<double>(*args.host.shm_bytes)), ", ", Amount(free), " free");
  const double needed = kPoolMargin * static_cast<double>(args.shm_bytes);
  if (args.shm_bytes > 0 && free < needed) {
    out.verdict = Verdict::kProblem;
    absl::StrAppend(&out.text, ": decode workers take ",
                    Amount(static_cast<double>(args.shm_bytes)));
    out.advice = absl::StrCat("give it ", Amount(needed),
                              " (docker --shm-size, an emptyDir of medium Memory), or fewer pages");
  } else if (args.shm_bytes == 0 && *args.host.shm_bytes < kShmEnough) {
    out.verdict = Verdict::kWarning;
    out.advice = "a CPU worker's pool lies there: docker --shm-size, an emptyDir of medium Memory";
  }
  return out;
}

Finding CheckLockable(const HostFacts& host) {
  if (!host.lockable_bytes.has_value()) return {.subject = "memlock", .text = "unlimited"};
  return {.subject = "memlock",
          .text = absl::StrCat(Amount(static_cast<double>(*host.lockable_bytes)),
                               ": enough; only NCCL over InfiniBand needs `ulimit -l unlimited`")};
}

}  // namespace

Findings CheckHost(const HostChecksArgs& args) {
  Findings out;
  if (!args.pci.empty()) {
    out.push_back(CheckIommu(args));
    if (args.pci.size() > 1) out.push_back(CheckAcs(args));
    if (args.pci.size() > 1 && args.host.uvm_hmm.has_value()) out.push_back(CheckHmm(args.host));
  }
  out.push_back(CheckShm(args));
  out.push_back(CheckLockable(args.host));
  if (args.host.memory_free_bytes.has_value()) {
    out.push_back({.subject = "memory",
                   .text = absl::StrCat(Amount(static_cast<double>(*args.host.memory_free_bytes)),
                                        " available")});
  }
  return out;
}

}  // namespace tandem
