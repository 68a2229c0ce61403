// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/ports/free_port.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <random>

#include "services/runtime/base/check.h"

namespace tandem {
namespace {

// Below are the ports of well-known services.
constexpr int kFirst = 20'000;
// As many as tests that run at once can share without meeting.
constexpr int kRoom = 1'000;
constexpr int kPorts = 65'536;

// One past the last port to choose.
int EndOfChoice() {
  int first_outgoing = 0;
  std::ifstream("/proc/sys/net/ipv4/ip_local_port_range") >> first_outgoing;
  // A kernel that connects from almost any port leaves no room below: then all are as good.
  return first_outgoing >= kFirst + kRoom ? first_outgoing : kPorts;
}

// Binds the port and keeps it bound; false if somebody else has. Nobody who asks in this way has it
// then, nor a child; a server can listen on it, as both have SO_REUSEADDR and this socket does not
// listen.
bool Claim(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK_GE(fd, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    close(fd);
    return false;
  }
  // Only now: before it, two could bind.
  const int on = 1;
  CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
  return true;
}

}  // namespace

int FreePort() {
  std::random_device random;
  std::uniform_int_distribution<int> choose(kFirst, EndOfChoice() - 1);
  for (int i = 0; i < kPorts; ++i) {
    const int port = choose(random);
    if (Claim(port)) return port;
  }
  CHECK(false);  // every port is taken
  return 0;
}

}  // namespace tandem
