// SPDX-License-Identifier: Apache-2.0
// Goal: the host's settings are read right. Method: a folder that looks like a machine.
#include "services/runtime/machine/host_facts.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/services/runtime/machine/fake_machine.h"

namespace tandem {
namespace {

TEST(HostFactsTest, ReadsWhatIsThere) {
  const FakeMachine machine;
  machine.Write("/proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/sda1 amd_iommu=on iommu=pt\n");
  machine.Write(
      "/proc/driver/nvidia/version",
      "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.105.08  Release Build\n"
      "GCC version:  gcc version 12.2.0\n");
  machine.Write("/proc/driver/nvidia/params",
                "ModifyDeviceFiles: 1\nRegistryDwords: \"ForceP2P=0x11;\"\n");
  machine.Write("/proc/meminfo", "MemTotal:  100 kB\nMemAvailable:   2048 kB\n");
  machine.Write("/sys/class/iommu/dmar0/name", "");
  machine.Write("/sys/module/nvidia_uvm/parameters/uvm_disable_hmm", "N\n");
  machine.Write("/dev/shm/here", "");
  const HostFacts facts = ReadHostFacts(machine.files());
  EXPECT_TRUE(HasWord(facts, "iommu=pt"));
  EXPECT_FALSE(HasWord(facts, "iommu"));
  EXPECT_EQ(facts.driver, "580.105.08");
  EXPECT_EQ(facts.registry, "ForceP2P=0x11;");
  EXPECT_EQ(facts.memory_free_bytes, 2048 * 1024);
  EXPECT_TRUE(facts.iommu);
  EXPECT_EQ(facts.uvm_hmm, true);
  EXPECT_GT(facts.shm_bytes.value_or(0), 0);
}

TEST(HostFactsTest, AnEmptyMachineIsNoError) {
  const FakeMachine machine;
  const HostFacts facts = ReadHostFacts(machine.files());
  EXPECT_TRUE(facts.command_line.empty());
  EXPECT_EQ(facts.driver, "");
  EXPECT_FALSE(facts.iommu);
  EXPECT_EQ(facts.uvm_hmm, std::nullopt);
  EXPECT_EQ(facts.shm_bytes, std::nullopt);
  EXPECT_EQ(facts.memory_free_bytes, std::nullopt);
}

}  // namespace
}  // namespace tandem
