// SPDX-License-Identifier: Apache-2.0
// The host as a device that records steps and replays them, and counts both; tiny-v4 on one.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "absl/time/clock.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/engine/model_engine.h"
#include "tests/kernels/common/backend/fake_device.h"
#include "tests/services/runtime/model/golden.h"

namespace tandem {

class ReplayingDevice final : public kernels::FakeDevice {
 public:
  kernels::Recorded Record(const std::function<void()>& queue,
                           kernels::Stream& /*stream*/) override {
    ++records;
    if (refused > 0) {
      --refused;
      return {.recording = nullptr, .error = "out of memory"};
    }
    return {.recording = std::make_unique<Made>(queue, held), .error = {}};
  }
  void Replay(const kernels::Recording& recording, kernels::Stream& /*stream*/) override {
    ++replays;
    static_cast<const Made&>(recording).queue();
  }
  bool ReadsHost() const override { return host; }
  void Notify(std::function<void()> done, kernels::Stream& stream) override {
    ++told;
    if (standing) return;
    if (!late) return FakeDevice::Notify(std::move(done), stream);
    late_ = std::make_unique<Thread>("late", [done = std::move(done)] {
      absl::SleepFor(absl::Milliseconds(50));
      done();
    });
  }

  int records = 0, replays = 0;
  int refused = 0;  // so many of the next recordings
  int held = 0;     // recordings that there are
  int told = 0;     // steps whose end was asked for
  bool late = false;
  bool standing = false;  // steps never end
  bool host = false;

 private:
  struct Made final : kernels::Recording {
    Made(std::function<void()> q, int& h) : queue(std::move(q)), held(h) { ++held; }
    ~Made() override { --held; }
    int64_t launches() const override { return 1; }
    const std::function<void()> queue;
    int& held;
  };
  std::unique_ptr<Thread> late_;
};

inline std::unique_ptr<ModelEngine> MakeEngine(kernels::Backend& backend,
                                               absl::Duration step_limit = kStepLimit) {
  const LoadedModel& loaded = ModelNamed("tiny", kernels::kCpuKernels);
  return *ModelEngine::Create({.config = loaded.config(),
                               .weights = loaded.weights(),
                               .kernels = {kernels::kCpuKernels, backend},
                               .step_limit = step_limit},
                              {.max_tokens_per_step = 128, .max_positions = 512});
}

}  // namespace tandem
