// SPDX-License-Identifier: Apache-2.0
// Goal: a server that comes late is found soon: however long a channel has tried in vain, it tries
// again within a fraction of a second. Method: a port where connections end at once; their times.
#include "services/runtime/rpc/channel.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/thread.h"

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

}  // namespace
}  // namespace tandem
