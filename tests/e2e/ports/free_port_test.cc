// SPDX-License-Identifier: Apache-2.0
// Goal: a process that a test kills comes back on its port: no outgoing connection can have taken
// it in between, nor another test. Method: many ports; each lies outside of the kernel's range for
// those, is new, and is refused to whoever looks for a free one while a server can listen on it.
#include "tests/e2e/ports/free_port.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <set>

#include "gtest/gtest.h"

namespace tandem {
namespace {

TEST(FreePortTest, NoOutgoingConnectionCanTakeOne) {
  int low = 0;
  int high = 0;
  std::ifstream("/proc/sys/net/ipv4/ip_local_port_range") >> low >> high;
  ASSERT_GT(low, 0);
  for (int i = 0; i < 200; ++i) {
    const int port = FreePort();
    EXPECT_GE(port, 20'000);
    // Unless the kernel leaves no room there.
    EXPECT_LT(port, low >= 21'000 ? low : 65'536);
  }
}

TEST(FreePortTest, NoneIsGivenTwice) {
  std::set<int> given;
  for (int i = 0; i < 500; ++i) EXPECT_TRUE(given.insert(FreePort()).second);
}

// The error of who binds it and, as a server, listens; 0 = none.
int Try(int port, bool server) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const int reuse = server ? 1 : 0;
  (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  int error = bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 ? 0 : errno;
  if (error == 0 && server && listen(fd, 1) != 0) error = errno;
  close(fd);
  return error;
}

TEST(FreePortTest, ItIsThisProcesssAloneUntilAServerOfItsListens) {
  const int port = FreePort();
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(Try(port, /*server=*/false), EADDRINUSE) << "who looks for a free one";
    EXPECT_EQ(Try(port, /*server=*/true), 0) << "and after its end again";
  }
}

}  // namespace
}  // namespace tandem
