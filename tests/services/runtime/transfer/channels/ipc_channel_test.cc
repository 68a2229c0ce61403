// SPDX-License-Identifier: Apache-2.0
// Goal: rows are copied whole and in the background; giving up, errors and full memory are what the
// loop is told, and after Close nothing is touched. Method: two pools of this process, a backend
// that copies when it is allowed to.
#include "services/runtime/transfer/channels/ipc_channel.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernels/common/backend/fake_device.h"

namespace tandem {
namespace {

using testing::HasSubstr;

KvLayout Make(KvLayout::Size size) {
  ModelConfig config;
  config.num_hidden_layers = 3;
  config.compress_ratios = {0, 4, 128};
  return KvLayout::Create(config, size).value();
}

// Copies wait until they may run, and fail when they shall.
class SlowDevice final : public kernels::FakeDevice {
 public:
  void Copy(const kernels::CopyArgs& copy, kernels::Stream& stream) override {
    absl::MutexLock lock(&mutex_);
    ++waiting_;
    mutex_.AwaitWithTimeout(absl::Condition(&open_), absl::Seconds(60));
    open_ = true;  // or far too much time has passed
    if (fail_) return stream.RecordError("the link is down");
    CopyNow(copy);
    ++copied_;
  }
  void Open(bool fail = false) {
    absl::MutexLock lock(&mutex_);
    fail_ = fail;
    open_ = true;
  }
  void AwaitACopy() {
    absl::MutexLock lock(&mutex_);
    const auto waits = [this] { return waiting_ > 0; };
    mutex_.Await(absl::Condition(&waits));
  }
  int copied() {
    absl::MutexLock lock(&mutex_);
    return copied_;
  }

 private:
  absl::Mutex mutex_;
  bool open_ = false;
  bool fail_ = false;
  int waiting_ = 0;
  int copied_ = 0;
};

class IpcChannelTest : public testing::Test {
 protected:
  IpcChannelTest()
      : staging_{.id = 4,
                 .storage = *KvStorage::CreatePrivate(Make({.pages = 6, .slots = 2}), backends_),
                 .pages = PagePool(6, 2)},
        copier_(std::make_unique<KvCopier>(backends_, absl::Minutes(10))) {
    auto pool = std::move(*KvStorage::CreatePrivate(Make({.pages = 20, .slots = 4}), backends_));
    pool_ = pool.get();
    channel_ = std::make_unique<IpcChannel>(staging_, *copier_, std::move(pool));
  }
  ~IpcChannelTest() override {
    device_.Open();
    channel_.reset();
  }

  static Grant Lease(uint64_t id) {
    return {
        .key = {.incarnation = 1, .lease_id = id, .epoch = 1}, .slot = 3, .pages = {17, 5, 6, 7}};
  }
  // Rows that differ from place to place.
  void FillStaging() {
    std::string bytes(staging_.storage->layout().bytes(), '\0');
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 2654435761U >> 13);
    staging_.storage->Write(0, bytes);
  }
  static std::string Read(const KvStorage& storage, const KvExtent& extent) {
    std::string out(extent.bytes, '\0');
    storage.Read(extent.offset, absl::MakeSpan(out));
    return out;
  }
  void ExpectArrived(const KvPlace& place, const Grant& lease, int64_t tokens) const {
    const auto from =
        staging_.storage->layout().Extents({.slot = place.slot, .pages = place.pages}, tokens);
    const auto to = pool_->layout().Extents({.slot = lease.slot, .pages = lease.pages}, tokens);
    for (size_t i = 0; i < from.size(); ++i) {
      EXPECT_EQ(Read(*staging_.storage, from[i]), Read(*pool_, to[i])) << i;
    }
  }
  absl::Status AwaitFence(const LeaseKey& key) {
    absl::Notification passed;
    absl::Status result;
    channel_->Fence(key, [&](absl::Status status) {
      result = std::move(status);
      passed.Notify();
    });
    passed.WaitForNotification();
    return result;
  }

  // What closed leases had begun is over.
  bool AwaitClosed() {
    const absl::Time end = absl::Now() + absl::Seconds(60);
    while (channel_->Closing() && absl::Now() < end) channel_->Tend();
    return !channel_->Closing();
  }

  SlowDevice device_;
  kernels::Backend* const backends_[1] = {&device_};
  StagingPool staging_;
  std::unique_ptr<KvCopier> copier_;
  KvStorage* pool_ = nullptr;
  std::unique_ptr<IpcChannel> channel_;
};

TEST_F(IpcChannelTest, RowsArriveWholeAheadOrAtTheEnd) {
  device_.Open();
  FillStaging();
  const Grant lease = Lease(9);
  const auto place = channel_->Open(lease, 900);
  ASSERT_TRUE(place.ok()) << place.status();
  EXPECT_EQ(place->pool, 4U);
  for (const int tokens : {100, 300, 301, 800}) channel_->Advance(lease.key, tokens);
  channel_->Write(lease.key, 900);
  EXPECT_TRUE(AwaitFence(lease.key).ok());
  const KvTravel travel = channel_->Travel(lease.key);
  EXPECT_GT(travel.bytes, 900U * 500 / 4);
  // What went ahead counts as well.
  EXPECT_EQ(travel.descriptors, static_cast<uint64_t>(device_.copied()));
  ExpectArrived(*place, lease, 900);
  channel_->Close(lease.key);
  EXPECT_TRUE(AwaitClosed());
  EXPECT_EQ(staging_.pages.pages_free(), 6);
}

// Before Write, and not twice: in all what one Write would have moved.
TEST_F(IpcChannelTest, LayersArriveAheadOfTheRest) {
  device_.Open();
  FillStaging();
  const Grant lease = Lease(9);
  const auto place = channel_->Open(lease, 900);
  ASSERT_TRUE(place.ok()) << place.status();
  const KvRoute route{.from = &staging_.storage->layout(),
                      .from_place = {.slot = place->slot, .pages = place->pages},
                      .to = &pool_->layout(),
                      .to_place = {.slot = lease.slot, .pages = lease.pages}};
  uint64_t bytes = 0;
  for (const KvPart& part :
       {KvPart{.tokens = 512, .states = false}, KvPart{.tokens = 900, .first_page = 2}}) {
    for (const KvCopy& copy : CopiesOf(route, part)) bytes += copy.bytes;
  }
  const auto arrived = [&](KvLayers layers) {
    const KvPart part{.tokens = 900, .first_page = 2, .layers = layers};
    const auto from = route.from->Extents(route.from_place, part);
    const auto to = route.to->Extents(route.to_place, part);
    int equal = 0;
    for (size_t i = 0; i < from.size(); ++i) {
      equal += static_cast<int>(Read(*staging_.storage, from[i]) == Read(*pool_, to[i]));
    }
    if (from.empty()) return "nothing to come";
    return equal == 0 ? "none" : equal == static_cast<int>(from.size()) ? "all" : "some";
  };
  EXPECT_TRUE(channel_->TakesLayers());
  channel_->Advance(lease.key, 600);
  for (const int layers : {1, 2, 3}) {
    channel_->AdvanceLayers(lease.key, 900, layers);
    EXPECT_TRUE(AwaitFence(lease.key).ok());
    EXPECT_STREQ(arrived({.end = layers}), "all") << layers;
    EXPECT_STREQ(arrived({.begin = layers}), layers < 3 ? "none" : "nothing to come") << layers;
  }
  EXPECT_EQ(channel_->Travel(lease.key).bytes, bytes);
  channel_->Write(lease.key, 900);
  EXPECT_TRUE(AwaitFence(lease.key).ok());
  EXPECT_EQ(channel_->Travel(lease.key).bytes, bytes) << "nothing is left";
  EXPECT_EQ(channel_->Travel(lease.key).descriptors, static_cast<uint64_t>(device_.copied()));
  channel_->Close(lease.key);
  EXPECT_TRUE(AwaitClosed());
}

TEST_F(IpcChannelTest, WriteBringsTheLayersThatDidNotGoAhead) {
  device_.Open();
  FillStaging();
  const Grant lease = Lease(9);
  const auto place = channel_->Open(lease, 300);
  ASSERT_TRUE(place.ok()) << place.status();
  channel_->AdvanceLayers(lease.key, 300, 2);
  channel_->Write(lease.key, 300);
  EXPECT_TRUE(AwaitFence(lease.key).ok());
  ExpectArrived(*place, lease, 300);
}

TEST_F(IpcChannelTest, TimeUnderWayIsOfCopiesNotOfThePrompt) {
  FillStaging();
  const Grant lease = Lease(9);
  ASSERT_TRUE(channel_->Open(lease, 900).ok());
  const absl::Time begin = absl::Now();
  channel_->Advance(lease.key, 300);
  absl::SleepFor(absl::Milliseconds(20));
  device_.Open();
  EXPECT_TRUE(AwaitFence(lease.key).ok());
  const absl::Time idle = absl::Now();
  absl::SleepFor(absl::Milliseconds(50));
  const absl::Time again = absl::Now();
  channel_->Write(lease.key, 900);
  EXPECT_TRUE(AwaitFence(lease.key).ok());
  const absl::Duration under_way = channel_->Travel(lease.key).under_way;
  EXPECT_GE(under_way, absl::Milliseconds(20));
  EXPECT_LE(under_way, absl::Now() - again + (idle - begin) + absl::Milliseconds(1));
  channel_->Close(lease.key);
  EXPECT_TRUE(AwaitClosed());
}

TEST_F(IpcChannelTest, AnAnswerDoesNotWaitForCopies) {
  const Grant lease = Lease(9);
  ASSERT_TRUE(channel_->Open(lease, 300).ok());
  channel_->Advance(lease.key, 256);
  channel_->Write(lease.key, 300);
  absl::Notification passed;
  channel_->Fence(lease.key, [&](const absl::Status& status) {
    EXPECT_TRUE(status.ok()) << status;
    passed.Notify();
  });
  device_.AwaitACopy();
  EXPECT_FALSE(passed.HasBeenNotified());
  device_.Open();
  passed.WaitForNotification();
}

TEST_F(IpcChannelTest, CloseGivesUpWhatHasNotBegunAndWaitsForNothing) {
  const Grant lease = Lease(9);
  ASSERT_TRUE(channel_->Open(lease, 600).ok());
  channel_->Advance(lease.key, 300);
  channel_->Advance(lease.key, 600);
  device_.AwaitACopy();        // the first order runs
  channel_->Close(lease.key);  // comes back
  EXPECT_TRUE(channel_->Closing());
  EXPECT_TRUE(channel_->MayWrite(lease.key));
  EXPECT_FALSE(channel_->MayWrite(Lease(10).key));
  EXPECT_EQ(staging_.pages.slots_free(), 1) << "it is still read";
  device_.Open();
  EXPECT_TRUE(AwaitClosed());
  EXPECT_FALSE(channel_->MayWrite(lease.key));
  const int after = device_.copied();
  EXPECT_GE(after, 1);
  EXPECT_EQ(staging_.pages.slots_free(), 2);
  // The next lease gets memory that nobody touches any more.
  ASSERT_TRUE(channel_->Open(Lease(10), 600).ok());
  EXPECT_EQ(device_.copied(), after);
}

TEST_F(IpcChannelTest, CloseAmongLayersIsCloseAmongPages) {
  const std::string before(pool_->layout().bytes(), '\x55');
  pool_->Write(0, before);
  FillStaging();
  const Grant lease = Lease(9);
  ASSERT_TRUE(channel_->Open(lease, 600).ok());
  for (const int layers : {1, 2}) channel_->AdvanceLayers(lease.key, 600, layers);
  device_.AwaitACopy();  // of the first
  channel_->Close(lease.key);
  EXPECT_TRUE(channel_->Closing());
  EXPECT_TRUE(channel_->MayWrite(lease.key));
  EXPECT_EQ(staging_.pages.slots_free(), 1) << "it is still read";
  device_.Open();
  EXPECT_TRUE(AwaitClosed());
  EXPECT_FALSE(channel_->MayWrite(lease.key));
  EXPECT_EQ(staging_.pages.slots_free(), 2);
  const uint64_t second = pool_->layout().layer(1).compressed_pages.offset;
  const std::string after = Read(*pool_, {.offset = 0, .bytes = before.size()});
  EXPECT_NE(after.substr(0, second), before.substr(0, second));
  EXPECT_TRUE(after.substr(second) == before.substr(second));
}

TEST_F(IpcChannelTest, AnErrorReachesTheFence) {
  device_.Open(/*fail=*/true);
  const Grant lease = Lease(9);
  ASSERT_TRUE(channel_->Open(lease, 300).ok());
  channel_->Write(lease.key, 300);
  const absl::Status status = AwaitFence(lease.key);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("the link is down"));
}

TEST_F(IpcChannelTest, RefusesWhatDoesNotFit) {
  device_.Open();
  Grant foreign = Lease(9);
  foreign.pages[1] = 20;  // one beyond the pool
  EXPECT_TRUE(absl::IsInvalidArgument(channel_->Open(foreign, 300).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(channel_->Open(Lease(9), 1025).status()));
  ASSERT_TRUE(channel_->Open(Lease(9), 1024).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(channel_->Open(Lease(10), 600).status()));
  channel_->Close(Lease(9).key);
  EXPECT_TRUE(channel_->Open(Lease(10), 600).ok());
}

}  // namespace
}  // namespace tandem
