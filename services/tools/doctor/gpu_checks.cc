// SPDX-License-Identifier: Apache-2.0
#include "services/tools/doctor/gpu_checks.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/runtime/machine/nccl_version.h"

namespace tandem {
namespace {

// Of one trial: copies of 64 MB take a second where all goes through a slow host.
constexpr double kTrialLimitSeconds = 10;
// Loads and stores of a peer's memory below this share of a copy's rate go through the host's.
constexpr double kDirectShare = 0.25;
// Of a lane's rate that a copy reaches where nothing is wrong.
constexpr double kLinkShare = 0.6;

constexpr char kPeerAdvice[] =
    "BIOS: ACS off, resizable BAR on; kernel: iommu=pt or iommu=off; deploy/machines.md lists the "
    "driver's settings";
constexpr char kRegistryAdvice[] =
    "options nvidia NVreg_RegistryDwords=\"ForceP2P=0x11;RMForceP2PType=1;RMPcieP2PType=2;"
    "GrdmaPciTopoCheckOverride=1;EnableResizableBar=1\"";

std::string NameOf(const GpuFacts& gpu) {
  return absl::StrFormat("%s, sm_%d%d, %s (%s free)", gpu.name, gpu.major, gpu.minor,
                         Amount(static_cast<double>(gpu.memory_bytes)),
                         Amount(static_cast<double>(gpu.free_bytes)));
}

Finding CheckGpu(const GpuFacts& gpu) {
  Finding out{.subject = absl::StrCat("gpu ", gpu.index), .text = NameOf(gpu)};
  if (gpu.unusable.empty()) {
    out.text += ": this build's kernels run";
    return out;
  }
  out.verdict = Verdict::kProblem;
  absl::StrAppend(&out.text, ": this build's kernels do not run: ", gpu.unusable);
  out.advice =
      "build with its target in TANDEM_CUDA_TARGETS (90a: H100, H200; 120f: RTX PRO 6000, "
      "RTX 5090), or update the driver";
  return out;
}

double LaneGbps(double gigatransfers) {
  // 8b/10b up to 5 GT/s, 128b/130b above.
  return gigatransfers / 8 * (gigatransfers <= 5 ? 0.8 : 128.0 / 130);
}

std::string LinkText(const PciGpu& gpu, const HostRates* rates) {
  std::string out = absl::StrCat(gpu.address, ": PCIe ");
  absl::StrAppend(&out, gpu.speed_max ? absl::StrCat(PcieGeneration(*gpu.speed_max), ".0") : "?");
  absl::StrAppend(&out, " x", gpu.width ? absl::StrCat(*gpu.width) : "?");
  if (gpu.width_max && gpu.width && *gpu.width != *gpu.width_max) {
    absl::StrAppend(&out, " of x", *gpu.width_max);
  }
  if (gpu.speed) absl::StrAppend(&out, ", now ", *gpu.speed, " GT/s");
  if (rates != nullptr && rates->fault.empty()) {
    absl::StrAppendFormat(&out, ", %.1f GB/s to it, %.1f from it", rates->to_gpu_gbps,
                          rates->from_gpu_gbps);
  }
  if (gpu.numa_node && *gpu.numa_node >= 0) absl::StrAppend(&out, ", NUMA node ", *gpu.numa_node);
  return out;
}

Finding CheckLink(const PciGpu& gpu, const std::string& subject, const HostRates* rates) {
  Finding out{.subject = subject, .text = LinkText(gpu, rates)};
  const auto warn = [&out](const std::string& advice) {
    out.verdict = Verdict::kWarning;
    absl::StrAppend(&out.advice, out.advice.empty() ? "" : "; ", advice);
  };
  if (gpu.width && gpu.width_max && *gpu.width < *gpu.width_max) {
    warn("fewer lanes than the card has: another slot, or the riser");
  }
  if (rates != nullptr && !rates->fault.empty()) {
    out.verdict = Verdict::kProblem;
    absl::StrAppend(&out.text, ": ", rates->fault);
  } else if (rates != nullptr && gpu.speed_max && gpu.width) {
    const double link = LaneGbps(*gpu.speed_max) * *gpu.width;
    if (rates->to_gpu_gbps < kLinkShare * link) {
      warn(absl::StrFormat("the link could carry %.0f GB/s: a slower slot, or the host's memory",
                           link));
    }
  }
  return out;
}

// The host's window into the card's memory.
Finding CheckWindow(const PciGpu& gpu, const std::string& subject, const GpuFacts* facts) {
  Finding out{
      .subject = subject,
      .text = absl::StrCat("the host addresses ", Amount(static_cast<double>(gpu.window_bytes)),
                           " of its memory (resizable BAR)")};
  if (facts == nullptr || gpu.window_bytes >= facts->memory_bytes) return out;
  out.verdict = Verdict::kWarning;
  out.advice = "BIOS: resizable BAR (and above-4G decoding) on; peers reach all of it only then";
  return out;
}

Finding CheckPeer(const PeerTrialResult& result) {
  const PeerRates& rates = result.rates;
  Finding out{.subject = absl::StrCat("gpu ", result.device, " <- ", result.peer)};
  if (!rates.fault.empty()) {
    out.verdict = Verdict::kProblem;
    out.text = rates.fault;
    out.advice = kPeerAdvice;
    return out;
  }
  if (!rates.reachable) {
    out.verdict = Verdict::kWarning;
    out.text =
        absl::StrFormat("no peer access: copies go through the host, %.1f GB/s", rates.copy_gbps);
    out.advice = absl::StrCat("the RTX 5090's stock driver refuses it; else ", kPeerAdvice);
    return out;
  }
  out.text = absl::StrFormat("peer access, data right: copies %.1f GB/s, loads %.1f, stores %.1f",
                             rates.copy_gbps, rates.read_gbps, rates.write_gbps);
  // What ranks sum and where rows go by ipc is moved by kernels, not by the copy engine.
  const bool loads = rates.read_gbps < kDirectShare * rates.copy_gbps;
  const bool stores = rates.write_gbps < kDirectShare * rates.copy_gbps;
  if (loads || stores) {
    out.verdict = Verdict::kWarning;
    absl::StrAppend(&out.text, ": ", loads ? "loads" : "", loads && stores ? " and " : "",
                    stores ? "stores" : "", " go through the host's memory");
    out.advice = kRegistryAdvice;
  }
  return out;
}

const GpuFacts* FactsAt(const GpuList& list, const std::string& pci) {
  const auto it = std::find_if(list.gpus.begin(), list.gpus.end(),
                               [&pci](const GpuFacts& gpu) { return gpu.pci == pci; });
  return it == list.gpus.end() ? nullptr : &*it;
}

// What CUDA 13 asks for, but for forward-compatibility packages: with those older ones do as well.
constexpr int kDriverMajor = 580;
constexpr int kCudaMajor = 13;

// "580.105.08" → 580; 0 of no number.
int Major(const std::string& version) {
  int out = 0;
  return absl::SimpleAtoi(version.substr(0, version.find('.')), &out) ? out : 0;
}

bool AnyUsable(const GpuList& list) {
  return std::any_of(list.gpus.begin(), list.gpus.end(),
                     [](const GpuFacts& gpu) { return gpu.unusable.empty(); });
}

// Where a container hides the driver's version, CUDA's tells.
bool DriverTooOld(const GpuFindingsArgs& args) {
  if (args.pci.empty() && args.survey.list.gpus.empty()) return false;
  if (AnyUsable(args.survey.list)) return false;
  if (!args.host.driver.empty()) return Major(args.host.driver) < kDriverMajor;
  return !args.survey.list.cuda.empty() && Major(args.survey.list.cuda) < kCudaMajor;
}

Finding CheckDriver(const GpuFindingsArgs& args) {
  const std::string& cuda = args.survey.list.cuda;
  Finding out{.subject = "driver",
              .text = absl::StrCat("NVIDIA ", args.host.driver.empty() ? "?" : args.host.driver,
                                   cuda.empty() ? "" : ", CUDA ", cuda)};
  if (!DriverTooOld(args)) return out;
  out.verdict = Verdict::kProblem;
  absl::StrAppend(&out.text, " is too old; ", kDriverMajor, " or newer");
  out.advice = absl::StrCat("install NVIDIA's driver ", kDriverMajor, " or newer: CUDA ",
                            kCudaMajor, ".0 needs it");
  return out;
}

Finding CheckNone(const GpuFindingsArgs& args) {
  Finding out{.subject = "gpus", .text = absl::StrCat("none: ", args.survey.list.why)};
  if (args.pci.empty()) {
    out.text += "; workers compute on the CPU";
    return out;
  }
  out.verdict = Verdict::kProblem;
  out.text += absl::StrFormat("; on the PCI bus there are %d", args.pci.size());
  if (args.host.driver.empty()) {
    out.advice = absl::StrCat("install NVIDIA's driver, ", kDriverMajor, " or newer");
  } else if (DriverTooOld(args)) {
    out.advice = "see the driver's line";
  } else {
    out.advice = "use a build with CUDA, and let the container see them";
  }
  return out;
}

}  // namespace

GpuSurvey SurveyGpus() {
  GpuSurvey out{.list = ListGpus(), .nccl = NcclVersion()};
  for (const GpuFacts& gpu : out.list.gpus) {
    out.host.push_back(gpu.unusable.empty() ? TryHost(gpu.index, kTrialLimitSeconds)
                                            : HostRates{.fault = gpu.unusable});
  }
  for (const GpuFacts& gpu : out.list.gpus) {
    for (const GpuFacts& peer : out.list.gpus) {
      if (gpu.index == peer.index || !gpu.unusable.empty() || !peer.unusable.empty()) continue;
      out.peers.push_back({.device = gpu.index,
                           .peer = peer.index,
                           .rates = TryPeer(gpu.index, peer.index, kTrialLimitSeconds)});
    }
  }
  return out;
}

Findings CheckGpus(const GpuFindingsArgs& args) {
  Findings out;
  const GpuList& list = args.survey.list;
  if (list.gpus.empty()) out.push_back(CheckNone(args));
  if (!args.host.driver.empty() || !list.cuda.empty()) out.push_back(CheckDriver(args));
  for (const GpuFacts& gpu : list.gpus) out.push_back(CheckGpu(gpu));
  for (const PciGpu& gpu : args.pci) {
    const GpuFacts* facts = FactsAt(list, gpu.address);
    const bool tried = facts != nullptr && facts->index < std::ssize(args.survey.host);
    const std::string subject = facts != nullptr ? absl::StrCat("gpu ", facts->index) : "pci";
    out.push_back(CheckLink(gpu, subject, tried ? &args.survey.host[facts->index] : nullptr));
    out.push_back(CheckWindow(gpu, subject, facts));
  }
  for (const PeerTrialResult& result : args.survey.peers) out.push_back(CheckPeer(result));
  return out;
}

bool AllPeers(const GpuSurvey& survey) {
  return std::all_of(survey.peers.begin(), survey.peers.end(), [](const PeerTrialResult& result) {
    return result.rates.reachable && result.rates.fault.empty();
  });
}

}  // namespace tandem
