// SPDX-License-Identifier: Apache-2.0
// SystemFiles: short texts of /sys and /proc below a root. What is not there or not to be read is
// absent, never an error: kernels and containers differ in what they show. Thread-safe.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace tandem {

class SystemFiles {
 public:
  // "/" is this machine; tests bring a folder that looks like one.
  explicit SystemFiles(std::string root = "/") : root_(std::move(root)) {}

  // `path` is absolute, as on the machine. The text ends without white space.
  std::optional<std::string> Text(const std::string& path) const;
  // The bytes, as they are; at most 64 KiB.
  std::optional<std::string> Bytes(const std::string& path) const;
  std::optional<double> Number(
      const std::string& path) const;  // what stands first: "16.0 GT/s PCIe"
  // Names in a folder, sorted.
  std::vector<std::string> Names(const std::string& path) const;
  // Where a link leads, by its last component: driver, iommu_group.
  std::optional<std::string> LinkName(const std::string& path) const;
  // The path with every link followed, as on the machine.
  std::optional<std::string> Real(const std::string& path) const;

  std::string Whole(const std::string& path) const { return root_ + path; }

 private:
  const std::string root_;
};

}  // namespace tandem
