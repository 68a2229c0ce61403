// SPDX-License-Identifier: Apache-2.0
// Goal: one copy serves two loaders and both compute the same; other weights are refused with both
// named; a holder that is killed is noticed, and one that never comes is waited for up to the
// limit. Method: both sides in one process, or the holder in a child; the device is host memory
// that is handed over by its address.
#include "services/runtime/loader/shared/weight_copy.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/kernel_table.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/loader/loaded_model.h"
#include "services/runtime/loader/shared/holder_watch.h"
#include "tests/kernels/common/backend/fake_device.h"
#include "tests/services/runtime/kv/held_child.h"

namespace tandem {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class FakeGpu final : public kernels::FakeDevice {
 public:
  std::string Export(uint8_t* memory) override {
    return {reinterpret_cast<const char*>(&memory), sizeof memory};
  }
  uint8_t* Import(const std::string& exported) override {
    uint8_t* memory = nullptr;
    std::memcpy(&memory, exported.data(), sizeof memory);
    ++imported;
    return memory;
  }
  void Unimport(uint8_t* /*memory*/) override { --imported; }
  bool Holds(const std::string& /*exported*/) const override { return here; }

  int imported = 0;
  bool here = true;
};

// No other test's copies are this one's.
std::string Name() {
  return absl::StrCat("test ", getpid(), " ",
                      testing::UnitTest::GetInstance()->current_test_info()->name());
}

absl::StatusOr<std::unique_ptr<WeightCopy>> Hold(kernels::Backend& backend,
                                                 const Shard& shard = {}) {
  return WeightCopy::Hold(
      {.model = Name(), .shard = shard, .identity = "these", .bytes = 4096, .backend = backend});
}
absl::StatusOr<std::unique_ptr<WeightCopy>> Follow(kernels::Backend& backend,
                                                   const std::string& identity = "these",
                                                   const Shard& shard = {}) {
  return WeightCopy::Follow(
      {.model = Name(), .shard = shard, .identity = identity, .bytes = 4096, .backend = backend},
      absl::Milliseconds(100));
}

void ExpectOneMemory(kernels::Backend& backend) {
  auto held = Hold(backend);
  ASSERT_TRUE(held.ok()) << held.status();
  std::memset((*held)->memory(), 7, 4096);
  (*held)->Publish();
  const auto one = Follow(backend), other = Follow(backend);
  ASSERT_TRUE(one.ok()) << one.status();
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ((*one)->memory()[4095], 7);
  EXPECT_TRUE((*one)->HolderAlive());
  held->reset();
  EXPECT_FALSE((*one)->HolderAlive());
  EXPECT_EQ(Follow(backend).status().code(), absl::StatusCode::kNotFound);
}

TEST(WeightCopyTest, SeveralFollowOneHolder) {
  ExpectOneMemory(kernels::HostBackend());
  FakeGpu gpu;
  ExpectOneMemory(gpu);
  EXPECT_EQ(gpu.imported, 0);
}

TEST(WeightCopyTest, OtherWeightsAreRefusedWithBothNamed) {
  FakeGpu gpu;
  const auto held = Hold(gpu);
  ASSERT_TRUE(held.ok());
  const absl::Status refused = Follow(gpu, "those").status();  // at once, though it is not filled
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("holds these, 4096 bytes"));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("needs those, 4096 bytes"));
}

// Ranks of one device: each comes in its own time, and is waited for while others are filled.
TEST(WeightCopyTest, AnotherRanksCopyIsPassedOver) {
  FakeGpu gpu;
  auto first = Hold(gpu, {.rank = 0, .ranks = 2});
  ASSERT_TRUE(first.ok());
  auto second = absl::StatusOr<std::unique_ptr<WeightCopy>>(absl::UnknownError("not yet"));
  const Thread late("late", [&] {
    absl::SleepFor(absl::Milliseconds(300));  // longer than one who is not there is waited for
    second = Hold(gpu, {.rank = 1, .ranks = 2});
    (*first)->Publish();
    (*second)->Publish();
  });
  const auto followed = Follow(gpu, "these", {.rank = 1, .ranks = 2});
  ASSERT_TRUE(followed.ok()) << followed.status();
  EXPECT_NE((*followed)->memory(), (*first)->memory());
  // Of another number of ranks there will be none.
  EXPECT_EQ(Follow(gpu, "those", {.rank = 1, .ranks = 4}).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

// The holder has the wanted rank on another device: what it has here does not make it come.
TEST(WeightCopyTest, AnotherRanksCopyThatIsFilledIsNotWaitedFor) {
  FakeGpu gpu;
  const auto held = Hold(gpu, {.rank = 0, .ranks = 2});
  ASSERT_TRUE(held.ok());
  (*held)->Publish();
  absl::Status none;
  testing::internal::CaptureStderr();
  {
    absl::Notification ended;
    const Thread follower("follower", [&] {
      none = Follow(gpu, "these", {.rank = 1, .ranks = 2}).status();
      ended.Notify();
    });
    if (!ended.WaitForNotificationWithTimeout(absl::Seconds(20))) {
      ADD_FAILURE() << "it waits for ever";
      const auto wanted = Hold(gpu, {.rank = 1, .ranks = 2});
      (*wanted)->Publish();
      ended.WaitForNotification();
    }
  }
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_EQ(none.code(), absl::StatusCode::kNotFound) << none;
  EXPECT_THAT(std::string(none.message()),
              AllOf(HasSubstr("holds rank 1 of 2"), HasSubstr("on fake"),
                    HasSubstr("held there: rank 0 of 2;")));
  EXPECT_THAT(log, AllOf(HasSubstr("weights-awaited"), HasSubstr("wanted=\"rank 1 of 2\""),
                         HasSubstr("found=\"rank 0 of 2\"")));
}

TEST(WeightCopyTest, AnotherDevicesCopyIsNone) {
  FakeGpu gpu;
  const auto held = Hold(gpu);
  ASSERT_TRUE(held.ok());
  (*held)->Publish();
  gpu.here = false;
  const absl::Status none = Follow(gpu).status();
  EXPECT_EQ(none.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(none.message()), HasSubstr("within 100ms no decode worker came"));
  EXPECT_EQ(Follow(kernels::HostBackend()).status().code(), absl::StatusCode::kNotFound);
}

TEST(WeightCopyTest, WhoLoadsIsWaitedFor) {
  auto held = Hold(kernels::HostBackend());
  ASSERT_TRUE(held.ok());
  const Thread publisher("publisher", [&held] {
    absl::SleepFor(absl::Milliseconds(400));  // longer than one who is not there is waited for
    (*held)->Publish();
  });
  EXPECT_TRUE(Follow(kernels::HostBackend()).ok());
}

LoadOptions TinyModel(WeightHome home) {
  return {.folder = TANDEM_SOURCE_DIR "/deploy/models/tiny-v4",
          .kernels = kernels::kCpuKernels,
          .home = home,
          .model_name = Name()};
}

TEST(WeightCopyTest, AModelThatFollowsHasTheHoldersBytes) {
  const auto held = LoadedModel::Load(TinyModel(WeightHome::kHeld));
  const auto own = LoadedModel::Load(TinyModel(WeightHome::kOwn));
  const auto followed = LoadedModel::Load(TinyModel(WeightHome::kFollowed));
  ASSERT_TRUE(held.ok()) << held.status();
  ASSERT_TRUE(own.ok() && followed.ok()) << followed.status();
  EXPECT_TRUE((*followed)->follows() && !(*held)->follows() && !(*own)->follows());
  EXPECT_EQ((*followed)->bytes(), (*own)->bytes());
  const auto first = [](const auto& model) { return (*model)->weights().layers[0].attn.wq_a; };
  const auto bytes = static_cast<size_t>(kernels::fast::PreparedBytes(first(own)));
  ASSERT_GT(bytes, 0u);
  EXPECT_NE(first(followed).prepared, first(held).prepared) << "a mapping of its own";
  EXPECT_EQ(std::memcmp(first(followed).prepared, first(own).prepared, bytes), 0);
}

TEST(WeightCopyTest, AnotherBuildsOrderIsRefused) {
  const auto held = LoadedModel::Load(TinyModel(WeightHome::kHeld));
  ASSERT_TRUE(held.ok()) << held.status();
  kernels::KernelTable later = kernels::kCpuKernels;
  ++later.weight_version;
  const LoadOptions same = TinyModel(WeightHome::kFollowed);
  const auto followed = LoadedModel::Load(
      {.folder = same.folder, .kernels = later, .home = same.home, .model_name = same.model_name});
  EXPECT_THAT(std::string(followed.status().message()),
              AllOf(HasSubstr("for cpu 1 as"), HasSubstr("for cpu 2 as")));
}

TEST(WeightCopyTest, AHolderThatIsKilledIsNoticed) {
  const std::string name = Name();
  const pid_t child = ForkHolder([&name] {
    LoadOptions options = TinyModel(WeightHome::kHeld);
    options.model_name = name;
    return LoadedModel::Load(options);
  });
  std::vector<std::unique_ptr<LoadedModel>> parts;
  LoadOptions options = TinyModel(WeightHome::kFollowed);
  options.model_name = name;
  auto followed = LoadedModel::Load(options);
  ASSERT_TRUE(followed.ok()) << followed.status();
  parts.push_back(*std::move(followed));
  absl::Notification gone;
  const HolderWatch watch(parts, [&gone] { gone.Notify(); });
  EXPECT_TRUE(watch.status().ok());
  const absl::Time begin = absl::Now();
  kill(child, SIGKILL);
  ASSERT_TRUE(gone.WaitForNotificationWithTimeout(absl::Seconds(10)));
  EXPECT_EQ(watch.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_LT(absl::Now() - begin, absl::Seconds(2));
  waitpid(child, nullptr, 0);
}

}  // namespace
}  // namespace tandem
