// SPDX-License-Identifier: Apache-2.0
// Goal: a request belongs to the API key that asked for it: by another one it is neither ended nor
// heard of, whatever its id. Method: two keys, one id.
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/rpc/status.h"
#include "tests/services/router/router_harness.h"
#include "tests/services/runtime/loader/scratch_folder.h"

namespace tandem {
namespace {

// printf secret | sha256sum, and of "other".
constexpr char kSecret[] = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
constexpr char kOther[] = "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa";

class RouterKeysTest : public testing::Test {
 protected:
  v1::RouterConfig Config() {
    const std::string path = folder_ / "keys";
    WriteAll(path, absl::StrCat("ann ", kSecret, "\nbob ", kOther, "\n"));
    v1::RouterConfig config;
    config.set_api_keys_file(path);
    return config;
  }
  static v1::GenerateRequest Request() {
    v1::GenerateRequest request = TextRequest("Tell me");
    request.set_request_id("one");
    return request;
  }
  bool AwaitRunning(int count) {
    return harness_.stage().Await([count](const Seen& seen) { return seen.prefilling == count; });
  }
  // Whether there was something to cancel.
  bool Cancel(const std::string& key) {
    grpc::ClientContext context;
    ShowKey(key, context);
    v1::CancelRequest request;
    request.set_request_id("one");
    v1::CancelResponse response;
    EXPECT_TRUE(harness_.Client()->Cancel(&context, request, &response).ok());
    return response.found();
  }

  const ScratchFolder folder_;
  RouterHarness harness_{Config(), {}, "secret"};
};

TEST_F(RouterKeysTest, AnIdIsItsKeysAlone) {
  harness_.stage().Set({.hang_prefill = true});
  Outcome first, second;
  auto ann = std::make_unique<Thread>(
      "ann", [&] { first = harness_.Generate(Request(), absl::Seconds(60), "secret"); });
  ASSERT_TRUE(AwaitRunning(1));
  EXPECT_FALSE(Cancel("other")) << "bob has no such request";
  const Outcome twice = harness_.Generate(Request(), absl::Seconds(60), "secret");
  EXPECT_EQ(ReasonOf(twice.status), "DUPLICATE_REQUEST") << twice.status;

  auto bob = std::make_unique<Thread>(
      "bob", [&] { second = harness_.Generate(Request(), absl::Seconds(60), "other"); });
  EXPECT_TRUE(AwaitRunning(2));
  EXPECT_TRUE(Cancel("other"));
  bob.reset();
  EXPECT_EQ(second.Choice().finished.size(), 1U) << second.status;
  EXPECT_TRUE(AwaitRunning(1)) << "hers goes on";
  EXPECT_TRUE(Cancel("secret"));
  ann.reset();
  ASSERT_EQ(first.Choice().finished.size(), 1U) << first.status;
  EXPECT_EQ(first.Choice().finished[0].reason(), v1::FINISH_REASON_CANCELLED);
  EXPECT_FALSE(Cancel("secret"));
}

}  // namespace
}  // namespace tandem
