// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>

#include "kernels/common/backend/backend.h"

namespace tandem::kernels {
namespace {

constexpr int64_t kAlign = 256;

class Host final : public Backend {
 public:
  std::string Describe() const override { return "cpu"; }

  uint8_t* Allocate(int64_t bytes) override {
    const int64_t rounded = std::max<int64_t>((bytes + kAlign - 1) / kAlign, 1) * kAlign;
    return static_cast<uint8_t*>(std::aligned_alloc(kAlign, static_cast<size_t>(rounded)));
  }
  void Release(uint8_t* memory) override { std::free(memory); }
  bool ReadsHost() const override { return true; }

  // Processes share host memory by name (services/runtime/kv/shared_memory.h).
  std::string Export(uint8_t* /*memory*/) override { return {}; }
  uint8_t* Import(const std::string& /*exported*/) override { return nullptr; }
  void Unimport(uint8_t* /*memory*/) override {}
  bool Holds(const std::string& /*exported*/) const override { return true; }

  uint8_t* AllocateStaging(int64_t bytes) override { return Allocate(bytes); }
  void ReleaseStaging(uint8_t* memory) override { Release(memory); }

  Stream MakeStream() override { return {}; }

  void Copy(const CopyArgs& copy, Stream& /*stream*/) override { CopyNow(copy); }
  void CopyMany(std::span<const CopyArgs> copies, Stream& /*stream*/) override {
    for (const CopyArgs& copy : copies) CopyNow(copy);
  }
  void CopyNow(const CopyArgs& copy) override {
    if (copy.bytes > 0) std::memcpy(copy.to, copy.from, static_cast<size_t>(copy.bytes));
  }
  void CopyManyNow(std::span<const CopyArgs> copies) override {
    for (const CopyArgs& copy : copies) CopyNow(copy);
  }
  void Notify(std::function<void()> done, Stream& /*stream*/) override { done(); }
  bool Synchronize(Stream& stream) override { return stream.ok(); }
  bool Finished(Stream& /*stream*/) override { return true; }
  Recorded Record(const std::function<void()>& /*queue*/, Stream& /*stream*/) override {
    return {};
  }
  void Replay(const Recording& /*recording*/, Stream& /*stream*/) override {}
};

}  // namespace

Backend& HostBackend() {
  static Host& host = *new Host;
  return host;
}

}  // namespace tandem::kernels
