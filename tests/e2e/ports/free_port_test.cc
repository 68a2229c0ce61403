// SPDX-License-Identifier: Apache-2.0
// Goal: a process that a test kills comes back on its port: no outgoing connection can have taken
// it in between. Method: many ports; each lies outside of the kernel's range for those, is new and
// can be bound.
#include "tests/e2e/ports/free_port.h"

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

}  // namespace
}  // namespace tandem
