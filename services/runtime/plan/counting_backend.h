// SPDX-License-Identifier: Apache-2.0
// CountingBackend: a backend that gives addresses without memory behind them and counts the bytes.
// What is set up on it says how much it would take; nothing may be run, read or written there.
#pragma once

#include <cstdint>

#include "kernels/common/backend/backend.h"

namespace tandem {

class CountingBackend final : public kernels::Backend {
 public:
  // As a GPU hands out memory: in whole pieces of this size.
  static constexpr int64_t kPiece = 512;

  int64_t bytes() const { return bytes_; }

  std::string Describe() const override { return "none"; }
  uint8_t* Allocate(int64_t bytes) override;
  void Release(uint8_t* /*memory*/) override {}
  bool ReadsHost() const override { return false; }
  std::string Export(uint8_t* /*memory*/) override { return {}; }
  uint8_t* Import(const std::string& /*exported*/) override { return nullptr; }
  void Unimport(uint8_t* /*memory*/) override {}
  bool Holds(const std::string& /*exported*/) const override { return true; }
  uint8_t* AllocateStaging(int64_t bytes) override { return Allocate(bytes); }
  void ReleaseStaging(uint8_t* /*memory*/) override {}
  kernels::Stream MakeStream() override { return {}; }
  void Copy(const kernels::CopyArgs& /*copy*/, kernels::Stream& /*stream*/) override {}
  void CopyMany(std::span<const kernels::CopyArgs> /*copies*/,
                kernels::Stream& /*stream*/) override {}
  void CopyNow(const kernels::CopyArgs& /*copy*/) override {}
  void CopyManyNow(std::span<const kernels::CopyArgs> /*copies*/) override {}
  void Notify(std::function<void()> done, kernels::Stream& /*stream*/) override { done(); }
  bool Synchronize(kernels::Stream& stream) override { return stream.ok(); }
  bool Finished(kernels::Stream& /*stream*/) override { return true; }
  kernels::Recorded Record(const std::function<void()>& /*queue*/,
                           kernels::Stream& /*stream*/) override {
    return {};
  }
  void Replay(const kernels::Recording& /*recording*/, kernels::Stream& /*stream*/) override {}

 private:
  int64_t bytes_ = 0;
};

}  // namespace tandem
