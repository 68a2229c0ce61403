// SPDX-License-Identifier: Apache-2.0
// Goal: a server that comes late is found soon: however long a channel has tried in vain, it tries
// again within a fraction of a second; and who gives up meanwhile is let go. Method: a port where
// connections end at once, and their times; one where nothing is said.
#include "services/runtime/rpc/channel.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/thread.h"
#include "tandem/v1/worker.grpc.pb.h"

namespace tandem {
namespace {

// Accepts connections and closes them.
class DeadPort {
 public:
  DeadPort() : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    CHECK_EQ(bind(socket_, any, size), 0);
    CHECK_EQ(listen(socket_, 16), 0);
    CHECK_EQ(getsockname(socket_, any, &size), 0);
    port_ = ntohs(address.sin_port);
  }
  ~DeadPort() { close(socket_); }
  DeadPort(const DeadPort&) = delete;
  DeadPort& operator=(const DeadPort&) = delete;

  int port() const { return port_; }
  // When the next one comes.
  absl::Time Next() const {
    const int connection = accept(socket_, nullptr, nullptr);
    const absl::Time now = absl::Now();
    close(connection);
    return now;
  }

 private:
  const int socket_;
  int port_ = 0;
};

TEST(ChannelTest, TriesAgainWithinAFractionOfASecond) {
  const DeadPort dead;
  const Channel channel({.endpoint = absl::StrCat("127.0.0.1:", dead.port())});
  std::atomic<bool> done = false;
  const Thread wants("wants", [&] {
    while (!done) (void)channel.WaitForConnected(absl::Milliseconds(100));
  });
  // Pauses grow up to their longest: from the seventh on, of which a busy machine may stretch some.
  absl::Time last;
  for (int i = 0; i < 7; ++i) last = dead.Next();
  std::vector<absl::Duration> pauses;
  for (int i = 0; i < 5; ++i) {
    const absl::Time next = dead.Next();
    pauses.push_back(next - last);
    last = next;
  }
  done = true;
  std::sort(pauses.begin(), pauses.end());
  EXPECT_LT(pauses[2], absl::Milliseconds(600));
}

class Writing final : public grpc::ClientWriteReactor<v1::WriteKvRequest> {
 public:
  explicit Writing(v1::DecodeService::Stub& stub) {
    // More than gRPC would keep for a second try: pieces of rows are, and long prompts.
    request_.mutable_data()->resize(1 << 20);
    stub.async()->WriteKv(&context_, &response_, this);
    StartWrite(&request_);
    StartCall();
  }
  bool CancelEnds() {
    context_.TryCancel();
    return ended_.WaitForNotificationWithTimeout(absl::Seconds(30));
  }
  void OnDone(const grpc::Status& status) override {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED) << status.error_message();
    ended_.Notify();
  }

 private:
  grpc::ClientContext context_;
  v1::WriteKvRequest request_;
  v1::WriteKvResponse response_;
  absl::Notification ended_;
};

TEST(ChannelTest, ACallThatIsCancelledWhileItWaitsForAConnectionEnds) {
  const DeadPort silent;  // connections stand there, and nothing is said
  const Channel channel({.endpoint = absl::StrCat("127.0.0.1:", silent.port())});
  const std::unique_ptr<v1::DecodeService::Stub> stub = channel.NewStub<v1::DecodeService>();
  for (int i = 0; i < 10; ++i) {
    auto call = std::make_unique<Writing>(*stub);
    absl::SleepFor(absl::Milliseconds(i));  // at whatever point of it
    const bool ended = call->CancelEnds();
    EXPECT_TRUE(ended) << i;
    if (!ended) return (void)call.release();  // gRPC still has it
  }
}

}  // namespace
}  // namespace tandem
