// SPDX-License-Identifier: Apache-2.0
// The GPUs of one maker on the PCI bus, as sysfs tells: seen without a driver, in any build.
//
// A fact that sysfs does not show is absent; ACS, for one, is shown to root only. Pure but for what
// it reads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/runtime/machine/system_files.h"

namespace tandem {

struct PciGpu {
  std::string address;              // 0000:0b:00.0
  std::string driver;               // empty: none
  std::optional<double> speed;      // GT/s, now: a card at rest lowers it
  std::optional<double> speed_max;  // of the card
  std::optional<int> width;         // lanes
  std::optional<int> width_max;
  int64_t window_bytes = 0;  // the largest range of its memory that the host can address
  std::optional<int> numa_node;
  std::optional<std::string> iommu_group_type;  // identity, DMA, DMA-FQ; absent: in no group
  // Whether a bridge above sends peers' traffic up to the root (ACS redirect); absent: unknown.
  std::optional<bool> redirected;
};

// NVIDIA's display and 3D controllers, by address.
std::vector<PciGpu> ListPciGpus(const SystemFiles& files);

// 1 to 6 of the speed of a lane; 0 if it is none.
int PcieGeneration(double gigatransfers);

// Whether a bridge's configuration space has ACS with request or completion redirect on; absent if
// the space is not shown whole.
std::optional<bool> AcsRedirects(absl::string_view config);

}  // namespace tandem
