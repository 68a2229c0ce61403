// SPDX-License-Identifier: Apache-2.0
// FakeDevice: the host's backend, but that says it is no host: tests derive what they watch.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "kernels/common/backend/backend.h"

namespace tandem::kernels {

class FakeDevice : public Backend {
 public:
  std::string Describe() const override { return "fake"; }
  uint8_t* Allocate(int64_t bytes) override { return host_.Allocate(bytes); }
  void Release(uint8_t* memory) override { host_.Release(memory); }
  bool ReadsHost() const override { return false; }
  std::string Export(uint8_t* memory) override { return host_.Export(memory); }
  uint8_t* Import(const std::string& exported) override { return host_.Import(exported); }
  void Unimport(uint8_t* memory) override { host_.Unimport(memory); }
  bool Holds(const std::string& exported) const override { return host_.Holds(exported); }
  uint8_t* AllocateStaging(int64_t bytes) override { return Allocate(bytes); }
  void ReleaseStaging(uint8_t* memory) override { Release(memory); }
  Stream MakeStream() override { return host_.MakeStream(); }
  void Copy(const CopyArgs& copy, Stream& /*stream*/) override { CopyNow(copy); }
  void CopyMany(std::span<const CopyArgs> copies, Stream& stream) override {
    for (const CopyArgs& copy : copies) Copy(copy, stream);
  }
  void CopyNow(const CopyArgs& copy) override { host_.CopyNow(copy); }
  void CopyManyNow(std::span<const CopyArgs> copies) override {
    Stream stream = MakeStream();
    CopyMany(copies, stream);
  }
  void Notify(std::function<void()> done, Stream& stream) override {
    host_.Notify(std::move(done), stream);
  }
  bool Synchronize(Stream& stream) override { return host_.Synchronize(stream); }
  bool Finished(Stream& stream) override { return host_.Finished(stream); }
  Recorded Record(const std::function<void()>& queue, Stream& stream) override {
    return host_.Record(queue, stream);
  }
  void Replay(const Recording& recording, Stream& stream) override {
    host_.Replay(recording, stream);
  }

 private:
  Backend& host_ = HostBackend();
};

}  // namespace tandem::kernels
