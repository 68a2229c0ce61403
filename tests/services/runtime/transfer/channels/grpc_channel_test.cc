// SPDX-License-Identifier: Apache-2.0
// Goal: a prompt's rows arrive whole in few messages, a decode worker that takes an extent a
// message gets that, and nobody waits for a call that is given up. Method: a decode worker in the
// test that puts every message where it says.
#include "services/runtime/transfer/channels/grpc_channel.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "services/runtime/rpc/channel.h"
#include "services/runtime/rpc/server.h"
#include "services/runtime/transfer/wire.h"

namespace tandem {
namespace {

constexpr int kPages = 100;
constexpr int kTokens = (kPages - 1) * kPageTokens + 77;

KvLayout Make(KvLayout::Size size) {
  ModelConfig config;
  config.num_hidden_layers = 3;
  config.compress_ratios = {0, 4, 128};
  return KvLayout::Create(config, size).value();
}

std::unique_ptr<KvStorage> Pool(int pages) {
  return *KvStorage::CreatePrivate(Make({.pages = pages, .slots = 3}));
}

// What has come so far.
struct Seen {
  uint64_t messages = 0;
  uint64_t crossing = 0;  // of them, those that go on behind an extent's end
  uint64_t largest = 0;   // data of a message
};

class Decode final : public v1::DecodeService::CallbackService {
 public:
  grpc::ServerReadReactor<v1::WriteKvRequest>* WriteKv(grpc::CallbackServerContext* /*context*/,
                                                       v1::WriteKvResponse* response) override {
    return new Call(*this, *response);
  }
  Seen seen() {
    absl::MutexLock lock(&mutex_);
    return seen_;
  }

  std::atomic<bool> answers = true;  // or waits for its caller to go
  // Scattered: what is in a row on the other side is not so here.
  const std::vector<int32_t> pages = [] {
    std::vector<int32_t> out;
    for (int i = 0; i < kPages; ++i) out.push_back((i * 37 + 11) % 128);
    return out;
  }();
  const std::unique_ptr<KvStorage> pool = Pool(128);
  const std::vector<KvExtent> extents =
      pool->layout().Extents({.slot = 2, .pages = pages}, kTokens);

 private:
  class Call final : public grpc::ServerReadReactor<v1::WriteKvRequest> {
   public:
    Call(Decode& decode, v1::WriteKvResponse& response) : decode_(decode), response_(response) {
      StartRead(&piece_);
    }

   private:
    void OnReadDone(bool ok) override {
      if (!ok) return decode_.answers ? Finish(grpc::Status::OK) : void();
      response_.set_bytes(response_.bytes() + piece_.data().size());
      decode_.Take(piece_);
      StartRead(&piece_);
    }
    void OnCancel() override {
      if (!decode_.answers) Finish(grpc::Status::CANCELLED);
    }
    void OnDone() override { delete this; }

    Decode& decode_;
    v1::WriteKvResponse& response_;
    v1::WriteKvRequest piece_;
  };

  void Take(const v1::WriteKvRequest& piece) {
    absl::MutexLock lock(&mutex_);
    absl::string_view data = piece.data();
    ++seen_.messages;
    seen_.largest = std::max<uint64_t>(seen_.largest, data.size());
    KvCursor at{.extent = piece.extent(), .offset = piece.offset()};
    seen_.crossing += extents[at.extent].bytes - at.offset < data.size() ? 1 : 0;
    for (const KvExtent& run : TakeRuns(extents, data.size(), at)) {
      pool->Write(run.offset, data.substr(0, run.bytes));
      data.remove_prefix(run.bytes);
    }
  }

  absl::Mutex mutex_;
  Seen seen_ ABSL_GUARDED_BY(mutex_);
};

class GrpcChannelTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string bytes(staging_.storage->layout().bytes(), '\0');
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 2654435761U >> 13);
    staging_.storage->Write(0, bytes);
  }

  // Sends a prompt's rows; they are all there afterwards.
  KvTravel Send(bool data_runs_on) {
    GrpcChannel channel(staging_, *stub_, data_runs_on);
    const Grant lease{.key = {.incarnation = 1, .lease_id = 2, .epoch = 3}};
    const KvPlace place = *channel.Open(lease, kTokens);
    channel.Write(lease.key, kTokens);
    absl::Notification passed;
    channel.Fence(lease.key, [&](const absl::Status& status) {
      EXPECT_TRUE(status.ok()) << status;
      passed.Notify();
    });
    passed.WaitForNotification();
    EXPECT_GT(decode_.seen().messages, 0U);
    from_ = staging_.storage->layout().Extents({.slot = place.slot, .pages = place.pages}, kTokens);
    EXPECT_EQ(from_.size(), decode_.extents.size());
    for (size_t i = 0; i < from_.size(); ++i)
      EXPECT_EQ(Read(*staging_.storage, from_[i]), Read(*decode_.pool, decode_.extents[i])) << i;
    return channel.Travel(lease.key);
  }
  static std::string Read(const KvStorage& storage, const KvExtent& extent) {
    std::string out(extent.bytes, '\0');
    storage.Read(extent.offset, absl::MakeSpan(out));
    return out;
  }

  StagingPool staging_{.id = 4, .storage = Pool(kPages), .pages = PagePool(kPages, 3)};
  Decode decode_;
  std::unique_ptr<RpcServer> server_ =
      *RpcServer::Create({.listen = "127.0.0.1:0", .services = {&decode_}});
  Channel connection_{{.endpoint = absl::StrCat("127.0.0.1:", server_->port())}};
  std::unique_ptr<v1::DecodeService::Stub> stub_ = connection_.NewStub<v1::DecodeService>();
  std::vector<KvExtent> from_;  // as sent
};

TEST_F(GrpcChannelTest, ALongPromptTakesAMessageAMebibyte) {
  const KvTravel travel = Send(/*data_runs_on=*/true);
  EXPECT_GT(travel.bytes, 4 * kWriteKvBytesMax);
  EXPECT_EQ(decode_.seen().messages, (travel.bytes + kWriteKvBytesMax - 1) / kWriteKvBytesMax);
  EXPECT_EQ(decode_.seen().largest, kWriteKvBytesMax);
  // Index rows of pages in a row are one run.
  EXPECT_LE(travel.descriptors, from_.size() - (kPages - 2));
}

TEST_F(GrpcChannelTest, AnOlderDecodeWorkerGetsAnExtentAMessage) {
  const KvTravel travel = Send(/*data_runs_on=*/false);
  EXPECT_EQ(decode_.seen().crossing, 0U);
  EXPECT_EQ(decode_.seen().messages, from_.size());
  EXPECT_LT(travel.descriptors, from_.size());
}

// The call's end takes a while: it is told on the way, to somebody who is slow.
TEST_F(GrpcChannelTest, CloseWaitsForNothingAndKeepsTheMemoryUntilTheEnd) {
  Send(/*data_runs_on=*/true);  // as over a link that stands
  decode_.answers = false;
  GrpcChannel channel(staging_, *stub_, /*data_runs_on=*/true);
  const Grant lease{.key = {.incarnation = 1, .lease_id = 2, .epoch = 3}};
  ASSERT_TRUE(channel.Open(lease, kTokens).ok());
  channel.Write(lease.key, kTokens);
  absl::Notification go_on, told;
  bool waited = true;
  channel.Fence(lease.key, [&](const absl::Status& status) {
    EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
    waited = !go_on.WaitForNotificationWithTimeout(absl::Seconds(30));
    told.Notify();
  });
  channel.Close(lease.key);  // comes back
  EXPECT_TRUE(channel.Closing());
  EXPECT_FALSE(channel.MayWrite(lease.key)) << "the decode worker refuses what comes";
  EXPECT_EQ(staging_.pages.slots_free(), 2) << "it may still be read";
  go_on.Notify();
  told.WaitForNotification();
  EXPECT_FALSE(waited);
  const absl::Time end = absl::Now() + absl::Seconds(60);
  while (channel.Closing() && absl::Now() < end) channel.Tend();
  EXPECT_EQ(staging_.pages.slots_free(), 3);
  EXPECT_EQ(staging_.pages.pages_free(), kPages);
}

TEST_F(GrpcChannelTest, TheDestructorEndsWhatRuns) {
  decode_.answers = false;
  {
    GrpcChannel channel(staging_, *stub_, /*data_runs_on=*/true);
    for (const uint64_t id : {2, 3}) {
      const Grant lease{.key = {.incarnation = 1, .lease_id = id, .epoch = 3}};
      ASSERT_TRUE(channel.Open(lease, 300).ok());
      channel.Write(lease.key, 300);
      if (id == 2) channel.Close(lease.key);
    }
  }
  EXPECT_EQ(staging_.pages.slots_free(), 3);
}

}  // namespace
}  // namespace tandem
