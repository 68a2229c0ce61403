// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/machine/pci_gpus.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace tandem {
namespace {

constexpr char kDevices[] = "/sys/bus/pci/devices/";
constexpr char kNvidia[] = "0x10de";
constexpr char kDisplay[] = "0x03";  // class: VGA 0x0300.., 3D 0x0302..
// A range's flags: memory, not ports.
constexpr uint64_t kMemoryRange = 0x200;

std::optional<int> Whole(const std::optional<double>& value) {
  if (!value.has_value()) return std::nullopt;
  return static_cast<int>(*value);
}

// "start end flags" a line, hexadecimal.
int64_t LargestRange(const std::optional<std::string>& resource) {
  int64_t most = 0;
  for (const absl::string_view line : absl::StrSplit(resource.value_or(""), '\n')) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    uint64_t begin = 0, end = 0, flags = 0;
    if (words.size() != 3 || !absl::SimpleHexAtoi(words[0], &begin) ||
        !absl::SimpleHexAtoi(words[1], &end) || !absl::SimpleHexAtoi(words[2], &flags)) {
      continue;
    }
    if ((flags & kMemoryRange) == 0 || end <= begin) continue;
    most = std::max(most, static_cast<int64_t>(end - begin + 1));
  }
  return most;
}

uint32_t Little(absl::string_view bytes, size_t at, size_t count) {
  uint32_t value = 0;
  for (size_t i = count; i-- > 0;) {
    value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  }
  return value;
}

// Of the bridges from the root to the device: any that redirects, else unknown if any is.
std::optional<bool> Redirected(const SystemFiles& files, const std::string& address) {
  const std::optional<std::string> path = files.Real(kDevices + address);
  if (!path.has_value()) return std::nullopt;
  std::optional<bool> out;
  const std::vector<std::string> parts = absl::StrSplit(*path, '/', absl::SkipEmpty());
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    if (std::count(parts[i].begin(), parts[i].end(), ':') != 2) continue;  // a device's name
    const auto config = files.Bytes(absl::StrCat(kDevices, parts[i], "/config"));
    const std::optional<bool> here = AcsRedirects(config.value_or(""));
    if (here.has_value()) out = out.value_or(false) || *here;
  }
  return out;
}

PciGpu Read(const SystemFiles& files, const std::string& address) {
  const std::string at = kDevices + address;
  PciGpu gpu{.address = address,
             .driver = files.LinkName(at + "/driver").value_or(""),
             .speed = files.Number(at + "/current_link_speed"),
             .speed_max = files.Number(at + "/max_link_speed"),
             .width = Whole(files.Number(at + "/current_link_width")),
             .width_max = Whole(files.Number(at + "/max_link_width")),
             .window_bytes = LargestRange(files.Text(at + "/resource")),
             .numa_node = Whole(files.Number(at + "/numa_node"))};
  if (const auto group = files.LinkName(at + "/iommu_group")) {
    gpu.iommu_group_type = files.Text(absl::StrCat("/sys/kernel/iommu_groups/", *group, "/type"));
  }
  gpu.redirected = Redirected(files, address);
  return gpu;
}

}  // namespace

std::vector<PciGpu> ListPciGpus(const SystemFiles& files) {
  std::vector<PciGpu> out;
  for (const std::string& address : files.Names("/sys/bus/pci/devices")) {
    const std::string at = kDevices + address;
    if (files.Text(at + "/vendor") != kNvidia) continue;
    if (!absl::StartsWith(files.Text(at + "/class").value_or(""), kDisplay)) continue;
    out.push_back(Read(files, address));
  }
  return out;
}

int PcieGeneration(double gigatransfers) {
  constexpr double kSpeeds[] = {2.5, 5, 8, 16, 32, 64};
  const auto* const found = std::find(std::begin(kSpeeds), std::end(kSpeeds), gigatransfers);
  return found == std::end(kSpeeds) ? 0 : static_cast<int>(found - kSpeeds) + 1;
}

std::optional<bool> AcsRedirects(absl::string_view config) {
  constexpr size_t kExtended = 0x100;
  constexpr uint32_t kAcs = 0x000D;
  constexpr uint32_t kRedirects = 0x0004 | 0x0008;  // of requests, of completions
  constexpr int kCapabilitiesMax = 480;             // as many as have room
  if (config.size() < 0x1000) return std::nullopt;
  size_t at = kExtended;
  for (int i = 0; i < kCapabilitiesMax && at >= kExtended && at + 8 <= config.size(); ++i) {
    const uint32_t header = Little(config, at, 4);
    if ((header & 0xFFFF) == kAcs) return (Little(config, at + 6, 2) & kRedirects) != 0;
    at = header >> 20;
  }
  return false;
}

}  // namespace tandem
