// SPDX-License-Identifier: Apache-2.0
// Goal: each thing that is wrong with a machine gets its verdict and its advice, and a good machine
// gets none. Method: made-up surveys of machines that are not here.
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/tools/doctor/choice.h"
#include "services/tools/doctor/gpu_checks.h"
#include "services/tools/doctor/host_checks.h"

namespace tandem {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr int64_t kGb = 1'000'000'000;

GpuFacts Card(int index) {
  return {.index = index,
          .name = "NVIDIA RTX PRO 6000 Blackwell Server Edition",
          .major = 12,
          .minor = 0,
          .memory_bytes = 102 * kGb,
          .free_bytes = 101 * kGb,
          .pci = absl::StrCat("0000:0", index + 1, ":00.0")};
}

PciGpu Slot(int index) {
  return {.address = absl::StrCat("0000:0", index + 1, ":00.0"),
          .driver = "nvidia",
          .speed = 32,
          .speed_max = 32,
          .width = 16,
          .width_max = 16,
          .window_bytes = int64_t{128} << 30,
          .iommu_group_type = "identity",
          .redirected = false};
}

struct Box {
  GpuSurvey survey;
  std::vector<PciGpu> pci = {Slot(0), Slot(1)};
  HostFacts host = {.driver = "580.105.08",
                    .iommu = true,
                    .uvm_hmm = false,
                    .shm_bytes = 64 * kGb,
                    .shm_free_bytes = 64 * kGb};

  Box() {
    survey.list = {.gpus = {Card(0), Card(1)}, .cuda = "13.0"};
    survey.host = {{.to_gpu_gbps = 55, .from_gpu_gbps = 54},
                   {.to_gpu_gbps = 55, .from_gpu_gbps = 54}};
    const PeerRates good{.reachable = true, .copy_gbps = 55, .read_gbps = 27, .write_gbps = 40};
    survey.peers = {{.device = 0, .peer = 1, .rates = good},
                    {.device = 1, .peer = 0, .rates = good}};
  }

  Findings Judge() const {
    Findings out = CheckGpus({.survey = survey, .pci = pci, .host = host});
    for (const Finding& finding : CheckHost({.host = host, .pci = pci})) out.push_back(finding);
    return out;
  }
};

// The findings that are not ok, as text.
std::string Complaints(const Findings& findings) {
  Findings bad;
  for (const Finding& finding : findings) {
    if (finding.verdict != Verdict::kOk) bad.push_back(finding);
  }
  return TextOf(bad);
}

TEST(DoctorChecksTest, AGoodMachineHasNothingToComplainOf) {
  const Box box;
  EXPECT_EQ(Complaints(box.Judge()), "");
  const std::string all = TextOf(box.Judge());
  EXPECT_THAT(all, HasSubstr("sm_120, 102.0 GB (101.0 GB free): this build's kernels run"));
  EXPECT_THAT(all, HasSubstr("PCIe 5.0 x16"));
  EXPECT_THAT(all, HasSubstr("peer access, data right: copies 55.0 GB/s, loads 27.0, stores 40.0"));
  EXPECT_THAT(all, HasSubstr("NVIDIA 580.105.08, CUDA 13.0"));
}

TEST(DoctorChecksTest, KernelsThatDoNotRun) {
  Box box;
  box.survey.list.gpus[1].unusable = "no kernel image is available for execution on the device";
  EXPECT_TRUE(AnyProblem(box.Judge()));
  EXPECT_THAT(Complaints(box.Judge()), HasSubstr("TANDEM_CUDA_TARGETS"));
  EXPECT_EQ(UsableGpus(box.survey), 1);
}

TEST(DoctorChecksTest, LinksAndWindows) {
  Box box;
  box.pci[0].width = 8;
  EXPECT_THAT(Complaints(box.Judge()), HasSubstr("x8 of x16"));
  box.pci[0].width = 16;
  box.survey.host[0].to_gpu_gbps = 12;
  EXPECT_THAT(Complaints(box.Judge()), HasSubstr("the link could carry 63 GB/s"));
  box.survey.host[0] = {.fault = "copy to the GPU: did not end within 10 s"};
  EXPECT_TRUE(AnyProblem(box.Judge()));
  box = Box();
  box.pci[1].window_bytes = 256 << 20;
  EXPECT_THAT(Complaints(box.Judge()), HasSubstr("resizable BAR (and above-4G decoding) on"));
}

TEST(DoctorChecksTest, Peers) {
  Box box;
  PeerRates& rates = box.survey.peers[0].rates;
  EXPECT_TRUE(AllPeers(box.survey));
  rates.read_gbps = 3;
  EXPECT_THAT(Complaints(box.Judge()), HasSubstr("ForceP2P=0x11"));
  rates.read_gbps = 27, rates.write_gbps = 3;
  EXPECT_THAT(Complaints(box.Judge()), HasSubstr("stores go through the host's memory"));
  rates = {.reachable = false, .copy_gbps = 12};
  EXPECT_THAT(Complaints(box.Judge()), HasSubstr("no peer access: copies go through the host"));
  EXPECT_FALSE(AnyProblem(box.Judge()));
  EXPECT_FALSE(AllPeers(box.survey));
  rates = {.reachable = true, .fault = "copy: 3 of 16777216 words arrived wrong"};
  EXPECT_TRUE(AnyProblem(box.Judge()));
  EXPECT_THAT(Complaints(box.Judge()), HasSubstr("ACS off"));
}

TEST(DoctorChecksTest, SettingsBetweenGpus) {
  Box box;
  box.pci[0].iommu_group_type = "DMA-FQ";
  box.pci[1].redirected = true;
  box.host.uvm_hmm = true;
  box.host.command_line = {"quiet", "intel_iommu=on"};
  const std::string bad = Complaints(box.Judge());
  EXPECT_THAT(bad, HasSubstr("on, GPUs translated (intel_iommu=on)"));
  EXPECT_THAT(bad, HasSubstr("iommu=pt"));
  EXPECT_THAT(bad, HasSubstr("peers' traffic goes up to the root"));
  EXPECT_THAT(bad, HasSubstr("uvm_disable_hmm=1"));
  box.pci.pop_back();  // a GPU alone has no peers
  EXPECT_THAT(Complaints(box.Judge()), Not(HasSubstr("iommu")));
}

TEST(DoctorChecksTest, SharedMemory) {
  Box box;
  box.host.shm_bytes = 64 << 20;
  box.host.shm_free_bytes = 60 << 20;
  EXPECT_THAT(Complaints(CheckHost({.host = box.host, .pci = {}})), HasSubstr("--shm-size"));
  const Findings tight = CheckHost({.host = box.host, .pci = {}, .shm_bytes = 244'000'000});
  EXPECT_TRUE(AnyProblem(tight));
  EXPECT_THAT(Complaints(tight), HasSubstr("decode workers take 244 MB"));
  EXPECT_THAT(Complaints(tight), HasSubstr("give it 268 MB"));
  box.host.shm_bytes.reset();
  EXPECT_THAT(Complaints(CheckHost({.host = box.host, .pci = {}})), HasSubstr("mount a tmpfs"));
}

TEST(DoctorChecksTest, MachinesWithoutAUsableGpu) {
  const GpuSurvey none{.list = {.why = "this build has no CUDA kernels"}};
  EXPECT_EQ(Complaints(CheckGpus({.survey = none, .pci = {}, .host = {}})), "");
  const auto cards = [&none](const std::string& driver) {
    const std::vector<PciGpu> pci = {Slot(0)};
    const HostFacts host = {.driver = driver};
    const Findings findings = CheckGpus({.survey = none, .pci = pci, .host = host});
    EXPECT_TRUE(AnyProblem(findings)) << "cards, and none to compute on";
    return Complaints(findings);
  };
  EXPECT_THAT(cards(""), HasSubstr("install NVIDIA's driver, 580 or newer"));
  EXPECT_THAT(cards("580.1"), AllOf(HasSubstr("a build with CUDA"), Not(HasSubstr("too old"))));
  EXPECT_THAT(cards("570.86.10"), HasSubstr("NVIDIA 570.86.10 is too old; 580 or newer"));
}

TEST(DoctorChecksTest, ADriverThatIsTooOld) {
  Box box;
  box.host.driver = "570.133.20";
  box.survey = {.list = {.cuda = "12.8", .why = "CUDA driver version is insufficient"}};
  EXPECT_TRUE(AnyProblem(box.Judge()));
  EXPECT_THAT(Complaints(box.Judge()),
              AllOf(HasSubstr("NVIDIA 570.133.20, CUDA 12.8 is too old; 580 or newer"),
                    HasSubstr("see the driver's line"), Not(HasSubstr("a build with CUDA"))));
  box.host.driver = "";  // as in a container
  EXPECT_THAT(Complaints(box.Judge()), HasSubstr("NVIDIA ?, CUDA 12.8 is too old"));
  // By a forward-compatibility package kernels run with an older one too.
  Box compatible;
  compatible.host.driver = "570.133.20";
  EXPECT_EQ(Complaints(compatible.Judge()), "");
}

TEST(DoctorChecksTest, WhatWouldBeChosen) {
  Box box;
  const auto chosen = [&box](std::optional<MachinePlan> plan) {
    return TextOf(Choose({.survey = box.survey, .host = box.host, .plan = std::move(plan)}));
  };
  EXPECT_THAT(chosen(std::nullopt), AllOf(HasSubstr("ipc: prefill and decode on different GPUs"),
                                          HasSubstr("peer memory: there is no NCCL")));
  const WorkerPlan alone{.ranks = 1, .pages = 100};
  const WorkerPlan both{.ranks = 2, .prefill = true, .pages = 100};
  EXPECT_THAT(chosen(MachinePlan{.workers = {alone, both}, .chosen = 1}),
              HasSubstr("shared: prefill and decode on the same GPUs"));
  EXPECT_THAT(chosen(MachinePlan{.workers = {alone, both}, .chosen = 1}),
              HasSubstr("2: the fewest"));
  EXPECT_THAT(chosen(MachinePlan{.workers = {alone, both}, .chosen = -1}),
              HasSubstr("does not fit on 2 GPUs"));
  box.survey.peers[1].rates.reachable = false;
  EXPECT_THAT(chosen(MachinePlan{.workers = {alone, both}, .chosen = 0}),
              AllOf(HasSubstr("grpc"), HasSubstr("no tensor_parallel above 1")));
  box.survey.nccl = "2.28.9";
  EXPECT_THAT(chosen(MachinePlan{.workers = {alone, both}, .chosen = 0}),
              AllOf(HasSubstr("nccl (2.28.9) between GPUs that do not reach each other"),
                    HasSubstr("nccl (2.28.9): not every GPU reaches every other")));
  box.survey.peers[1].rates.reachable = true;
  EXPECT_THAT(chosen(std::nullopt), HasSubstr("peer memory or nccl (2.28.9): the faster one"));
  box.survey = {};
  EXPECT_THAT(chosen(std::nullopt), HasSubstr("shared: both workers on the CPU"));
}

}  // namespace
}  // namespace tandem
