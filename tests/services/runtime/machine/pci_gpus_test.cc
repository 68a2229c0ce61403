// SPDX-License-Identifier: Apache-2.0
// Goal: what sysfs says of GPUs is read right, and what it does not say is absent. Method: folders
// that look like a machine.
#include "services/runtime/machine/pci_gpus.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/services/runtime/machine/fake_machine.h"

namespace tandem {
namespace {

constexpr char kAt[] = "/sys/bus/pci/devices/";

// A bridge's configuration space with an ACS capability behind another one.
std::string ConfigSpace(uint16_t control) {
  std::string out(0x1000, '\0');
  const auto put = [&out](size_t at, uint32_t value) {
    for (int i = 0; i < 4; ++i) out[at + i] = static_cast<char>(value >> (8 * i));
  };
  put(0x100, 0x0001 | 1 << 16 | 0x148 << 20);  // errors, next at 0x148
  put(0x148, 0x000D | 1 << 16);                // ACS, the last
  put(0x14C, uint32_t{control} << 16);
  return out;
}

// One card below a bridge, as a server has it.
void PutGpu(const FakeMachine& machine) {
  const std::string device = "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0";
  machine.Write(device + "/vendor", "0x10de\n");
  machine.Write(device + "/class", "0x030200\n");
  machine.Write(device + "/current_link_speed", "2.5 GT/s PCIe\n");
  machine.Write(device + "/max_link_speed", "32.0 GT/s PCIe\n");
  machine.Write(device + "/current_link_width", "8\n");
  machine.Write(device + "/max_link_width", "16\n");
  machine.Write(device + "/numa_node", "1\n");
  machine.Write(device + "/resource",
                "0x0000000090000000 0x0000000093ffffff 0x0000000000040200\n"
                "0x0000004000000000 0x0000005fffffffff 0x000000000014220c\n"
                "0x0000000000003000 0x000000000000307f 0x0000000000040101\n");
  machine.Link(device + "/driver", "../../../../bus/pci/drivers/nvidia");
  machine.Link(device + "/iommu_group", "../../../../kernel/iommu_groups/17");
  machine.Write("/sys/kernel/iommu_groups/17/type", "DMA-FQ\n");
  machine.Link(std::string(kAt) + "0000:01:00.0",
               "../../../devices/pci0000:00/0000:00:01.0/0000:01:00.0");
  machine.Link(std::string(kAt) + "0000:00:01.0", "../../../devices/pci0000:00/0000:00:01.0");
  machine.Write("/sys/devices/pci0000:00/0000:00:01.0/vendor", "0x8086\n");
}

TEST(PciGpusTest, ReadsACardWithItsLinkWindowAndGroup) {
  const FakeMachine machine;
  PutGpu(machine);
  machine.Write("/sys/devices/pci0000:00/0000:00:01.0/config", ConfigSpace(0x001D));
  const std::vector<PciGpu> gpus = ListPciGpus(machine.files());
  ASSERT_EQ(gpus.size(), 1U);
  EXPECT_EQ(gpus[0].address, "0000:01:00.0");
  EXPECT_EQ(gpus[0].driver, "nvidia");
  EXPECT_EQ(gpus[0].speed, 2.5);
  EXPECT_EQ(gpus[0].speed_max, 32.0);
  EXPECT_EQ(gpus[0].width, 8);
  EXPECT_EQ(gpus[0].width_max, 16);
  EXPECT_EQ(gpus[0].numa_node, 1);
  EXPECT_EQ(gpus[0].window_bytes, int64_t{128} << 30);
  EXPECT_EQ(gpus[0].iommu_group_type, "DMA-FQ");
  EXPECT_EQ(gpus[0].redirected, true);
}

TEST(PciGpusTest, WhatIsNotShownIsAbsent) {
  const FakeMachine machine;
  machine.Write(std::string(kAt) + "0000:02:00.0/vendor", "0x10de");
  machine.Write(std::string(kAt) + "0000:02:00.0/class", "0x030000");
  machine.Write(std::string(kAt) + "0000:02:00.0/max_link_speed", "Unknown");
  machine.Write(std::string(kAt) + "0000:02:00.0/resource", "rubbish\n0x1 0x0 0x200\n");
  const std::vector<PciGpu> gpus = ListPciGpus(machine.files());
  ASSERT_EQ(gpus.size(), 1U);
  EXPECT_EQ(gpus[0].driver, "");
  EXPECT_EQ(gpus[0].speed_max, std::nullopt);
  EXPECT_EQ(gpus[0].width, std::nullopt);
  EXPECT_EQ(gpus[0].window_bytes, 0);
  EXPECT_EQ(gpus[0].iommu_group_type, std::nullopt);
  EXPECT_EQ(gpus[0].redirected, std::nullopt);
}

TEST(PciGpusTest, OnlyNvidiasDisplaysCount) {
  const FakeMachine machine;
  machine.Write(std::string(kAt) + "0000:03:00.0/vendor", "0x10de");
  machine.Write(std::string(kAt) + "0000:03:00.0/class", "0x040300");  // its sound
  machine.Write(std::string(kAt) + "0000:04:00.0/vendor", "0x1002");
  machine.Write(std::string(kAt) + "0000:04:00.0/class", "0x030000");
  EXPECT_TRUE(ListPciGpus(machine.files()).empty());
  EXPECT_TRUE(ListPciGpus(SystemFiles("/no/such/root")).empty());
}

TEST(PciGpusTest, AcsIsOnByItsRedirectBits) {
  EXPECT_EQ(AcsRedirects(ConfigSpace(0x0000)), false);
  EXPECT_EQ(AcsRedirects(ConfigSpace(0x0001)), false);  // source validation alone
  EXPECT_EQ(AcsRedirects(ConfigSpace(0x0004)), true);
  EXPECT_EQ(AcsRedirects(ConfigSpace(0x0008)), true);
  EXPECT_EQ(AcsRedirects(std::string(64, '\0')), std::nullopt);  // what others than root see
  EXPECT_EQ(AcsRedirects(std::string(0x1000, '\0')), false);
  std::string loop(0x1000, '\0');
  loop[0x103] = 0x10;  // the first capability names itself as the next
  EXPECT_EQ(AcsRedirects(loop), false);
}

TEST(PciGpusTest, GenerationsFollowTheSpeedOfALane) {
  EXPECT_EQ(PcieGeneration(8), 3);
  EXPECT_EQ(PcieGeneration(32), 5);
  EXPECT_EQ(PcieGeneration(7), 0);
}

}  // namespace
}  // namespace tandem
