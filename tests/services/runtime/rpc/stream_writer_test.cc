// SPDX-License-Identifier: Apache-2.0
// Goal: a stream delivers all that Write took, in order, ends once, stays bounded when nobody
// reads, and outlives cancels. Method: Watch of a real server on loopback, written by a thread of
// the test, read by a client that is slow or goes away.
#include "services/runtime/rpc/stream_writer.h"

#include <atomic>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/rpc/channel.h"
#include "services/runtime/rpc/server.h"
#include "tandem/v1/worker.grpc.pb.h"

namespace tandem {
namespace {

// Each message carries its number; the padding makes gRPC's own buffers fill soon.
v1::WatchResponse Numbered(uint32_t number, size_t padding = 0) {
  v1::WatchResponse message;
  message.set_running(number);
  message.mutable_kv_format()->set_description(std::string(padding, 'x'));
  return message;
}

class Stream final : public StreamWriter<v1::WatchResponse> {
 public:
  Stream(size_t weight_max, std::atomic<int>& alive, bool merges)
      : StreamWriter(weight_max), alive_(alive), merges_(merges) {
    ++alive_;
  }
  bool cancelled() const { return cancelled_; }
  absl::Duration waited() const { return absl::Nanoseconds(waited_.load()); }

 private:
  ~Stream() override { --alive_; }
  bool Coalesce(v1::WatchResponse& last, v1::WatchResponse& next) override {
    if (merges_) last = next;
    return merges_;
  }
  void OnWaited(absl::Duration waited) override { waited_ += absl::ToInt64Nanoseconds(waited); }
  void OnCancelled() override { cancelled_ = true; }

  std::atomic<int>& alive_;
  const bool merges_;
  std::atomic<bool> cancelled_{false};
  std::atomic<int64_t> waited_{0};
};

class StreamService final : public v1::WorkerService::CallbackService {
 public:
  grpc::ServerWriteReactor<v1::WatchResponse>* Watch(grpc::CallbackServerContext*,
                                                     const v1::WatchRequest*) override {
    auto* stream = new Stream(/*weight_max=*/100, alive, merges);
    latest = stream;
    return stream;
  }
  // The stream of the call that just began.
  Stream* Take() {
    while (latest == nullptr) absl::SleepFor(absl::Milliseconds(1));
    return latest.exchange(nullptr);
  }
  bool AwaitNoneAlive() const {
    for (int i = 0; i < 5000 && alive > 0; ++i) absl::SleepFor(absl::Milliseconds(2));
    return alive == 0;
  }

  std::atomic<int> alive{0};
  std::atomic<Stream*> latest{nullptr};
  bool merges = false;
};

class StreamWriterTest : public testing::Test {
 protected:
  void SetUp() override {
    auto server = RpcServer::Create({.listen = "127.0.0.1:0", .services = {&service_}});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = std::make_unique<Channel>(
        ChannelOptions{.endpoint = absl::StrCat("127.0.0.1:", server_->port())});
    stub_ = channel_->NewStub<v1::WorkerService>();
  }

  StreamService service_;
  std::unique_ptr<RpcServer> server_;
  std::unique_ptr<Channel> channel_;
  std::unique_ptr<v1::WorkerService::Stub> stub_;
};

TEST_F(StreamWriterTest, AllThatWasTakenArrivesInOrderBeforeTheStatus) {
  grpc::ClientContext context;
  const auto reader = stub_->Watch(&context, v1::WatchRequest());
  uint32_t written = 0;
  Thread writer("writer", [this, &written] {
    Stream* stream = service_.Take();
    for (; written < 5000; ++written) {
      while (!stream->Write(Numbered(written))) absl::SleepFor(absl::Microseconds(50));
    }
    stream->Close(absl::AbortedError("done"));
  });
  v1::WatchResponse message;
  uint32_t read = 0;
  while (reader->Read(&message)) EXPECT_EQ(message.running(), read++);
  EXPECT_EQ(read, 5000U);
  EXPECT_EQ(FromGrpcStatus(reader->Finish()), absl::AbortedError("done"));
  EXPECT_TRUE(service_.AwaitNoneAlive());
}

TEST_F(StreamWriterTest, SlowReaderIsRefusedAtTheBoundAndCloseNowDropsTheRest) {
  grpc::ClientContext context;
  const auto reader = stub_->Watch(&context, v1::WatchRequest());
  Stream* stream = service_.Take();
  uint32_t taken = 0;
  while (taken < 100'000 && stream->Write(Numbered(taken, /*padding=*/10'000))) ++taken;
  EXPECT_GE(taken, 100U);      // The bound.
  EXPECT_LT(taken, 100'000U);  // And what gRPC holds.
  stream->CloseNow(SlowReader({.message = "too slow"}));
  v1::WatchResponse message;
  uint32_t read = 0;
  while (reader->Read(&message)) ++read;
  EXPECT_LT(read, taken);
  EXPECT_EQ(ReasonOf(FromGrpcStatus(reader->Finish())), "SLOW_READER");
  EXPECT_TRUE(service_.AwaitNoneAlive());
}

TEST_F(StreamWriterTest, TimeThatMessagesWaitIsToldOnce) {
  service_.merges = true;
  grpc::ClientContext context;
  const auto reader = stub_->Watch(&context, v1::WatchRequest());
  Stream* stream = service_.Take();
  v1::WatchResponse message;
  ASSERT_TRUE(stream->Write(Numbered(1)));
  ASSERT_TRUE(reader->Read(&message));
  absl::SleepFor(absl::Milliseconds(100));
  EXPECT_LT(stream->waited(), absl::Milliseconds(100)) << "nothing waits";

  // More than what gRPC takes in unread, so that the last one waits.
  const absl::Time begin = absl::Now();
  uint32_t last = 1;
  for (; last < 500 && stream->waited() < absl::Milliseconds(200); ++last) {
    ASSERT_TRUE(stream->Write(Numbered(last + 1, /*padding=*/1 << 20)));
    absl::SleepFor(absl::Milliseconds(5));
  }
  const absl::Duration before = stream->waited();
  EXPECT_GE(before, absl::Milliseconds(200)) << "each message tells of what has waited";
  absl::SleepFor(absl::Milliseconds(200));
  while (message.running() < last) ASSERT_TRUE(reader->Read(&message));
  EXPECT_GE(stream->waited(), before + absl::Milliseconds(200)) << "and so does its way on";
  EXPECT_LE(stream->waited(), absl::Now() - begin);
  stream->Close(absl::OkStatus());
  while (reader->Read(&message)) {
  }
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(StreamWriterTest, MergedStatesLoseNothingButTheOldOnes) {
  service_.merges = true;
  grpc::ClientContext context;
  const auto reader = stub_->Watch(&context, v1::WatchRequest());
  Stream* stream = service_.Take();
  uint32_t last = 0;
  for (uint32_t i = 1; i <= 2000; ++i) {
    if (stream->Write(Numbered(i))) last = i;
  }
  stream->Close(absl::OkStatus());
  v1::WatchResponse message;
  uint32_t previous = 0;
  while (reader->Read(&message)) {
    EXPECT_GT(message.running(), previous);
    previous = message.running();
  }
  EXPECT_EQ(previous, last);
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(StreamWriterTest, CancelAtAnyMomentEndsOnceAndLeaksNothing) {
  for (int round = 0; round < 50; ++round) {
    grpc::ClientContext context;
    const auto reader = stub_->Watch(&context, v1::WatchRequest());
    // Before the cancel: a call that is cancelled on its way never becomes a stream.
    Stream* const stream = service_.Take();
    Thread writer("writer", [stream, round] {
      // Even rounds close while the cancel is under way, odd ones after they have heard of it.
      for (uint32_t i = 0; i < 200 || (round % 2 == 1 && !stream->cancelled()); ++i) {
        (void)stream->Write(Numbered(i));
        absl::SleepFor(absl::Microseconds(20));
      }
      stream->Close(absl::OkStatus());
    });
    absl::SleepFor(absl::Microseconds(100 * (round % 30)));
    context.TryCancel();
    v1::WatchResponse message;
    while (reader->Read(&message)) {
    }
    (void)reader->Finish();
  }
  EXPECT_TRUE(service_.AwaitNoneAlive());
}

}  // namespace
}  // namespace tandem
