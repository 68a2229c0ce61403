// SPDX-License-Identifier: Apache-2.0
// Goal: a port belongs to one server, and its loss is said clearly.
#include "services/runtime/rpc/server.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

TEST(RpcServerTest, SecondServerOnOnePortIsRefusedWithTheAddress) {
  const auto first = RpcServer::Create({.listen = "127.0.0.1:0"});
  ASSERT_TRUE(first.ok()) << first.status();
  const std::string address = absl::StrCat("127.0.0.1:", (*first)->port());
  const auto second = RpcServer::Create({.listen = address});
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), testing::HasSubstr(address));
}

TEST(RpcServerTest, PortIsFreeAgainAfterShutdown) {
  int port = 0;
  {
    const auto first = RpcServer::Create({.listen = "127.0.0.1:0"});
    ASSERT_TRUE(first.ok());
    port = (*first)->port();
  }
  EXPECT_TRUE(RpcServer::Create({.listen = absl::StrCat("127.0.0.1:", port)}).ok());
}

}  // namespace
}  // namespace tandem
