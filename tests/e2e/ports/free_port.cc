// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/ports/free_port.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <random>
#include <set>

#include "absl/synchronization/mutex.h"
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

bool IsFree(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  CHECK_GE(fd, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  const bool bound = bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  close(fd);
  return bound;
}

}  // namespace

int FreePort() {
  static absl::Mutex mutex(absl::kConstInit);
  static auto* const given = new std::set<int>();
  absl::MutexLock lock(&mutex);
  std::random_device random;
  std::uniform_int_distribution<int> choose(kFirst, EndOfChoice() - 1);
  for (int i = 0; i < kPorts; ++i) {
    const int port = choose(random);
    if (given->contains(port) || !IsFree(port)) continue;
    given->insert(port);
    return port;
  }
  CHECK(false);  // every port is taken
  return 0;
}

}  // namespace tandem
