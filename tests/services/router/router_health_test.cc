// SPDX-License-Identifier: Apache-2.0
// Goal: health says SERVING while a request could be placed, and at no other time; liveness says so
// always. Method: a router whose decode worker is absent, of another format, right, silent, gone;
// asked as a probe asks.
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "services/router/router.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/config/service_config.h"
#include "services/tools/verbs.h"
#include "tests/e2e/ports/free_port.h"
#include "tests/services/router/router_harness.h"

namespace tandem {
namespace {

constexpr char kService[] = "tandem.v1.InferenceService";

// What the verb says: SERVING, NOT_SERVING, or nothing.
std::string Health(const Router& router, const std::string& service) {
  testing::internal::CaptureStdout();
  (void)RunHealth({"--target", absl::StrCat("127.0.0.1:", router.port()), "--service", service});
  std::string said = testing::internal::GetCapturedStdout();
  if (!said.empty()) said.pop_back();
  return said;
}

// By both names; and the process is alive all the time.
bool Becomes(const Router& router, const std::string& wanted, absl::Duration limit) {
  const absl::Time end = absl::Now() + limit;
  while (absl::Now() < end) {
    EXPECT_EQ(Health(router, "liveness"), "SERVING");
    if (Health(router, "") == wanted && Health(router, kService) == wanted) return true;
    absl::SleepFor(absl::Milliseconds(20));
  }
  return false;
}

class RouterHealthTest : public testing::Test {
 protected:
  RouterHealthTest() {
    v1::RouterConfig config;
    config.set_listen("127.0.0.1:0");
    config.set_model_dir(TANDEM_SOURCE_DIR "/deploy/models/tiny-v4");
    config.add_prefill_workers(prefill_.endpoint());
    config.add_decode_workers(decode_endpoint_);
    ApplyDefaults(config);
    auto router = Router::Create(config);
    EXPECT_TRUE(router.ok()) << router.status();
    router_ = *std::move(router);
  }

  void StartDecode(uint64_t layout_hash) {
    decode_.reset();
    decode_ = std::make_unique<FakeWorker>(stage_, FakeWorkerOptions{.role = v1::WORKER_ROLE_DECODE,
                                                                     .layout_hash = layout_hash,
                                                                     .listen = decode_endpoint_});
  }
  // As /metrics shows it.
  bool SeesUp(const std::string& kind, int count) {
    return Becomes(*router_, {.name = "tandem_workers_up",
                              .label = absl::StrCat("kind=\"", kind, "\""),
                              .value = static_cast<double>(count)});
  }

  const std::string decode_endpoint_ = absl::StrCat("127.0.0.1:", FreePort());
  Stage stage_;
  FakeWorker prefill_{stage_, {.role = v1::WORKER_ROLE_PREFILL, .layout_hash = 7}};
  std::unique_ptr<FakeWorker> decode_;
  std::unique_ptr<Router> router_;
};

TEST_F(RouterHealthTest, FollowsThePairs) {
  EXPECT_TRUE(SeesUp("prefill", 1));
  EXPECT_TRUE(Becomes(*router_, "NOT_SERVING", absl::Seconds(1))) << "half a pair";
  StartDecode(8);
  EXPECT_TRUE(SeesUp("decode", 1));
  EXPECT_TRUE(Becomes(*router_, "NOT_SERVING", absl::Seconds(1))) << "of another cache format";
  StartDecode(7);
  EXPECT_TRUE(Becomes(*router_, "SERVING", absl::Seconds(10)));
  decode_.reset();
  EXPECT_TRUE(Becomes(*router_, "NOT_SERVING", absl::Seconds(10))) << "gone";
  EXPECT_TRUE(SeesUp("decode", 0));
  StartDecode(7);
  EXPECT_TRUE(Becomes(*router_, "SERVING", absl::Seconds(10))) << "back";
}

TEST_F(RouterHealthTest, AWorkerThatFallsSilentIsNone) {
  StartDecode(7);
  ASSERT_TRUE(Becomes(*router_, "SERVING", absl::Seconds(10)));
  decode_->FallSilent();
  EXPECT_TRUE(Becomes(*router_, "NOT_SERVING", absl::Seconds(10)));
}

TEST(RouterDrainTest, DrainingIsNotServingThoughWorkersAreThere) {
  RouterHarness harness;
  harness.stage().Set({.tokens = {5, 6, 7}, .hang_after = 2});
  grpc::ClientContext context;
  const auto client = harness.Client();
  const auto reader = client->Generate(&context, TextRequest("Tell me"));
  ASSERT_TRUE(harness.stage().Await([](const Seen& seen) { return seen.generating == 1; }));
  EXPECT_TRUE(Becomes(harness.router(), "SERVING", absl::Seconds(10)));
  Thread drain("drain", [&harness] { harness.router().DrainAndStop(); });
  EXPECT_TRUE(Becomes(harness.router(), "NOT_SERVING", absl::Seconds(10)));
  absl::SleepFor(absl::Milliseconds(300));
  EXPECT_TRUE(Becomes(harness.router(), "NOT_SERVING", absl::Seconds(1))) << "and stays so";
  context.TryCancel();
  (void)reader->Finish();
}

}  // namespace
}  // namespace tandem
