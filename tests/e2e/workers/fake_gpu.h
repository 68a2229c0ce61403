// SPDX-License-Identifier: Apache-2.0
// FakeGpu: one of several GPUs of a machine that has none: memory of this process, which the other
// "GPUs" of the process reach by its address. What is computed there is computed on the host.
#pragma once

#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/kernels/common/backend/fake_device.h"

namespace tandem {

class FakeGpu : public kernels::FakeDevice {
 public:
  explicit FakeGpu(std::string name) : name_(std::move(name)) {}

  std::string Export(uint8_t* memory) override {
    return absl::StrCat(absl::Hex(reinterpret_cast<uintptr_t>(memory)), "@", name_);
  }
  uint8_t* Import(const std::string& exported) override {
    const std::pair<std::string, std::string> parts = absl::StrSplit(exported, '@');
    uint64_t address = 0;
    if (!absl::SimpleHexAtoi(parts.first, &address)) return nullptr;
    return reinterpret_cast<uint8_t*>(address);  // NOLINT(performance-no-int-to-ptr)
  }
  void Unimport(uint8_t* /*memory*/) override {}
  bool Holds(const std::string& exported) const override {
    return exported.substr(exported.find('@') + 1) == name_;
  }
  void CopyMany(std::span<const kernels::CopyArgs> copies, kernels::Stream& stream) override {
    if (!loses_stores) FakeDevice::CopyMany(copies, stream);
  }

  bool loses_stores = false;

 private:
  const std::string name_;
};

}  // namespace tandem
