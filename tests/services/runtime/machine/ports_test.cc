// SPDX-License-Identifier: Apache-2.0
// Goal: a taken address is told from a free one, and nonsense from both. Method: a socket of the
// test's own.
#include "services/runtime/machine/ports.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

TEST(PortsTest, TakenThenFree) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_GE(fd, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(fd, 1), 0);
  ASSERT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const std::string name = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
  const absl::Status taken = CanListen(name);
  EXPECT_TRUE(absl::IsUnavailable(taken)) << taken;
  close(fd);
  EXPECT_TRUE(CanListen(name).ok());
}

TEST(PortsTest, NonsenseAndOthersAddresses) {
  EXPECT_TRUE(absl::IsInvalidArgument(CanListen("8440")));
  EXPECT_TRUE(absl::IsInvalidArgument(CanListen("127.0.0.1:no")));
  EXPECT_TRUE(absl::IsUnavailable(CanListen("192.0.2.1:8440")));  // RFC 5737: nobody's
}

}  // namespace
}  // namespace tandem
