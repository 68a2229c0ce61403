// SPDX-License-Identifier: Apache-2.0
// The GPUs that this process sees, as the driver tells. Values; nothing is decided here: which
// kernels a worker gets is kernels/select.h's to say. Thread-safe; the first call takes as long as
// the driver needs to wake up.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tandem::kernels {

struct GpuFacts {
  int index = 0;
  std::string name;
  int major = 0;  // compute capability
  int minor = 0;
  int64_t memory_bytes = 0;
  int64_t free_bytes = 0;  // now
  std::string pci;         // as in sysfs: 0000:0b:00.0
  std::string unusable;    // why this build's kernels do not run there; empty: they do
};

struct GpuList {
  std::vector<GpuFacts> gpus;
  std::string cuda;  // the newest CUDA that the driver speaks, "13.0"; empty without a driver
  std::string why;   // why there are none; empty if there are some
};

GpuList ListGpus();

}  // namespace tandem::kernels
