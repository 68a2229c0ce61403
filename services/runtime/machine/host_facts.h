// SPDX-License-Identifier: Apache-2.0
// What the host says of itself: the settings that decide whether GPUs reach each other, and the
// limits that workers meet. Facts that cannot be read are absent. Pure but for what it reads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "services/runtime/machine/system_files.h"

namespace tandem {

struct HostFacts {
  std::vector<std::string> command_line;  // of the kernel, word by word
  std::string driver;                     // NVIDIA's version; empty: not loaded
  std::string registry;                   // its RegistryDwords; empty: none
  bool iommu = false;                     // the kernel drives one
  std::optional<bool> uvm_hmm;            // nvidia_uvm's HMM is on
  std::optional<int64_t> shm_bytes;       // /dev/shm
  std::optional<int64_t> shm_free_bytes;
  std::optional<int64_t> memory_free_bytes;  // MemAvailable
  // Memory that this process may lock; absent: as much as it wants.
  std::optional<int64_t> lockable_bytes;
};

HostFacts ReadHostFacts(const SystemFiles& files);

// Whether a word stands on the kernel's command line.
bool HasWord(const HostFacts& facts, const std::string& word);

}  // namespace tandem
