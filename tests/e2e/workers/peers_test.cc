// SPDX-License-Identifier: Apache-2.0
// Goal: a GPU that hangs in a link's self-test holds up nobody but that link, and is noticed.
// Method: a decode worker in this process, and a prefill worker's peers on a GPU that is made up.
#include "services/prefill/peers.h"

#include <memory>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/transfer/wire.h"
#include "tests/e2e/workers/fake_gpu.h"
#include "tests/e2e/workers/test_workers.h"

namespace tandem {
namespace {

// Whose copies do not return once it is told so, for far too long or until it is told otherwise.
class HangingGpu final : public FakeGpu {
 public:
  HangingGpu() : FakeGpu("0000:02:00.0") {}

  void Hang(bool hangs) {
    absl::MutexLock lock(&mutex_);
    hangs_ = hangs;
  }
  bool AwaitACopy() {
    absl::MutexLock lock(&mutex_);
    const auto inside = [this] { return inside_ > 0; };
    return mutex_.AwaitWithTimeout(absl::Condition(&inside), absl::Seconds(60));
  }
  int mapped() const {
    absl::MutexLock lock(&mutex_);
    return mapped_;
  }

  uint8_t* Import(const std::string& exported) override {
    absl::MutexLock lock(&mutex_);
    ++mapped_;
    return FakeGpu::Import(exported);
  }
  void Unimport(uint8_t* memory) override {
    absl::MutexLock lock(&mutex_);
    --mapped_;
    FakeGpu::Unimport(memory);
  }
  void CopyNow(const kernels::CopyArgs& copy) override {
    absl::MutexLock lock(&mutex_);
    const auto goes = [this] { return !hangs_; };
    ++inside_;
    mutex_.AwaitWithTimeout(absl::Condition(&goes), absl::Seconds(60));
    --inside_;
    FakeGpu::CopyNow(copy);
  }

 private:
  mutable absl::Mutex mutex_;
  bool hangs_ = false;
  int inside_ = 0;
  int mapped_ = 0;
};

// A prefill worker's links, without the worker.
struct Prefiller {
  explicit Prefiller(absl::Duration link_timeout)
      : registry(*MetricsRegistry::Create({.role = ProcessRole::kPrefill,
                                           .model_name = "tiny-v4",
                                           .listen = "",
                                           .version = "test"})),
        metrics(*registry),
        staging{
            .id = 0,
            .storage = *KvStorage::CreatePrivate(
                *KvLayout::Create(TinyModel().config(), {.pages = 4, .slots = 2}), {&backend, 1}),
            .pages = PagePool(4, 2)},
        peers({.incarnation = 7,
               .kv_format = FormatOf(staging.storage->layout()),
               .link_timeout = link_timeout,
               .config = &TinyModel().config(),
               .post = [](const LinkEvent& /*event*/) {}},
              staging, metrics) {}

  HangingGpu gpu;
  kernels::Backend* const backend = &gpu;
  std::unique_ptr<MetricsRegistry> registry;
  PrefillMetrics metrics;
  StagingPool staging;
  Peers peers;
};

TEST(PeersTest, ASelfTestThatHangsHoldsUpNobody) {
  FakeGpu far("0000:01:00.0");
  TestDecode decode({.backend = &far});
  Prefiller prefill(absl::Minutes(10));
  const uint64_t incarnation = decode.State().incarnation();
  prefill.gpu.Hang(true);
  const absl::Cleanup goes_on = [&] { prefill.gpu.Hang(false); };
  const absl::Time now = Clock::Real().Now();
  const LinkSerial serial = prefill.peers.Reach(decode.endpoint(), incarnation, now).serial;
  ASSERT_TRUE(prefill.gpu.AwaitACopy());
  EXPECT_TRUE(prefill.peers.Tend(now).empty());
  // Too late, by the loop's clock.
  const std::vector<LinkEvent> late = prefill.peers.Tend(now + absl::Minutes(11));
  ASSERT_EQ(late.size(), 1U);
  EXPECT_EQ(late[0].link, serial);
  prefill.peers.Forget(serial);  // comes back
  EXPECT_EQ(prefill.peers.Find(serial), nullptr);
  prefill.peers.Tend(now);
  EXPECT_EQ(prefill.gpu.mapped(), 1) << "a copy still runs in it";
  EXPECT_NE(prefill.peers.Reach(decode.endpoint(), incarnation, now).serial, serial);
  prefill.gpu.Hang(false);
  // The new one's comes to its end as well, and nobody here takes the pool that it has mapped.
  const absl::Time end = absl::Now() + absl::Seconds(60);
  while (prefill.gpu.mapped() != 0 && absl::Now() < end) {
    prefill.peers.Tend(now);
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_EQ(prefill.gpu.mapped(), 0);
}

void ForgetAStuckSelfTest() {
  FakeGpu far("0000:01:00.0");
  TestDecode decode({.backend = &far});
  Prefiller prefill(absl::Milliseconds(50));
  prefill.gpu.Hang(true);
  const LinkSerial serial =
      prefill.peers.Reach(decode.endpoint(), decode.State().incarnation(), absl::Now()).serial;
  if (!prefill.gpu.AwaitACopy()) return;
  prefill.peers.Forget(serial);
  const absl::Time end = absl::Now() + absl::Seconds(60);
  while (absl::Now() < end) {
    prefill.peers.Tend(absl::Now());
    absl::SleepFor(absl::Milliseconds(1));
  }
}

TEST(PeersDeathTest, ASelfTestThatNeverEndsEndsTheProcessWithALine) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(ForgetAStuckSelfTest(), "self-test in its memory still runs 50ms after");
}

}  // namespace
}  // namespace tandem
