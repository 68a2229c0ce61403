// SPDX-License-Identifier: Apache-2.0
// Goal: a GPU that takes its time is waited for, one that never ends a copy is noticed. Method: a
// backend whose queue ends when it is told to.
#include "services/runtime/transfer/channels/kv_copier.h"

#include <utility>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/kernels/common/backend/fake_device.h"

namespace tandem {
namespace {

KvLayout Layout() {
  ModelConfig config;
  config.num_hidden_layers = 3;
  config.compress_ratios = {0, 4, 128};
  return KvLayout::Create(config, {.pages = 2, .slots = 1}).value();
}

class StandingDevice final : public kernels::FakeDevice {
 public:
  bool Finished(kernels::Stream& /*stream*/) override {
    ++looks_;
    return goes_on_;
  }
  bool Synchronize(kernels::Stream& /*stream*/) override {
    while (!goes_on_) absl::SleepFor(absl::Milliseconds(1));
    return true;
  }
  std::string Describe() const override { return "GPU 3"; }
  void GoOn() { goes_on_ = true; }
  int looks() const { return looks_; }

 private:
  std::atomic<bool> goes_on_ = false;
  std::atomic<int> looks_ = 0;
};

// A copier with one order.
struct OneCopy {
  explicit OneCopy(absl::Duration limit) : copier(backends, limit) {
    copier.Copy({.from = from.get(),
                 .to = to.get(),
                 .copies = {{.from = 0, .to = 256, .bytes = 64}},
                 .cancelled = &cancelled,
                 .done = [this](absl::Status status) {
                   result = std::move(status);
                   done.Notify();
                 }});
  }

  StandingDevice device;
  kernels::Backend* const backends[1] = {&device};
  std::unique_ptr<KvStorage> from = *KvStorage::CreatePrivate(Layout(), backends);
  std::unique_ptr<KvStorage> to = *KvStorage::CreatePrivate(Layout(), backends);
  std::atomic<bool> cancelled = false;
  absl::Status result;
  absl::Notification done;
  KvCopier copier;
};

TEST(KvCopierTest, WaitsForASlowDevice) {
  OneCopy copy(absl::Minutes(10));
  const absl::Time end = absl::Now() + absl::Seconds(60);
  while (copy.device.looks() < 100 && absl::Now() < end) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_FALSE(copy.done.HasBeenNotified());
  copy.device.GoOn();
  EXPECT_TRUE(copy.done.WaitForNotificationWithTimeout(absl::Seconds(60)));
  EXPECT_TRUE(copy.result.ok()) << copy.result;
}

void CopyForEver() {
  OneCopy copy(absl::Milliseconds(50));
  (void)copy.done.WaitForNotificationWithTimeout(absl::Seconds(60));
  copy.device.GoOn();
}

TEST(KvCopierDeathTest, ACopyThatNeverEndsEndsTheProcessWithALine) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(CopyForEver(), "copies to a decode worker: GPU 3 has not done them within 50ms");
}

}  // namespace
}  // namespace tandem
