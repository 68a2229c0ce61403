// SPDX-License-Identifier: Apache-2.0
// Goal: a router that lists no worker serves by those that register; workers and routers start and
// end in any order. Method: real registrars beside fake workers, a real router, over loopback.
#include "services/runtime/rpc/registrar/registrar.h"

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/router/router.h"
#include "services/runtime/config/duration.h"
#include "services/runtime/config/service_config.h"
#include "services/runtime/rpc/registrar/addresses.h"
#include "tests/e2e/ports/free_port.h"
#include "tests/services/router/router_harness.h"

namespace tandem {
namespace {

using testing::Contains;
using testing::HasSubstr;

// Beats come five times in it; a machine with all its cores taken may be late by seconds.
constexpr absl::Duration kTtl = absl::Seconds(4);

template <typename Wanted>
bool Within(absl::Duration limit, Wanted wanted) {
  const absl::Time end = absl::Now() + limit;
  while (!wanted()) {
    if (absl::Now() > end) return false;
    absl::SleepFor(absl::Milliseconds(10));
  }
  return true;
}

std::unique_ptr<Router> StartRouter(const std::string& registry) {
  v1::RouterConfig config;
  config.set_listen("127.0.0.1:0");
  config.set_model_dir(TANDEM_SOURCE_DIR "/deploy/models/tiny-v4");
  config.mutable_registry()->set_listen(registry);
  *config.mutable_registry()->mutable_worker_ttl() = ToProto(kTtl);
  ApplyDefaults(config);
  EXPECT_TRUE(Validate(config).ok()) << Validate(config);
  auto router = Router::Create(config);
  EXPECT_TRUE(router.ok()) << router.status();
  return *std::move(router);
}

// A fake worker that registers with `routers`.
class Registering {
 public:
  Registering(Stage& stage, v1::WorkerRole role, const std::vector<std::string>& routers)
      : worker_(stage, {.role = role}) {
    v1::WatchResponse state;
    state.set_role(role);
    state.mutable_kv_format()->set_protocol_version(1);
    state.mutable_kv_format()->set_layout_hash(7);
    state.mutable_kv_format()->set_page_tokens(256);
    watch_.Publish(state);
    v1::WorkerConfig config;
    config.mutable_registration()->set_endpoint(worker_.endpoint());
    for (const auto& router : routers) config.mutable_registration()->add_routers(router);
    auto registrar = Registrar::Create(config, watch_);
    EXPECT_TRUE(registrar.ok()) << registrar.status();
    registrar_ = *std::move(registrar);
  }
  Registrar& registrar() { return *registrar_; }

 private:
  FakeWorker worker_;
  WatchService watch_;
  std::unique_ptr<Registrar> registrar_;
};

class RegistrarTest : public testing::Test {
 protected:
  bool Serves(const Router& router, bool wanted = true) {
    return Within(absl::Seconds(20), [&] { return router.serving() == wanted; });
  }
  const std::string registry_ = absl::StrCat("127.0.0.1:", FreePort());
  Stage stage_;
};

TEST_F(RegistrarTest, WorkersComeBeforeTheRouterAndSurviveIt) {
  Registering prefill(stage_, v1::WORKER_ROLE_PREFILL, {registry_});
  Registering decode(stage_, v1::WORKER_ROLE_DECODE, {registry_});
  absl::SleepFor(absl::Milliseconds(300));
  std::unique_ptr<Router> router = StartRouter(registry_);
  EXPECT_TRUE(Serves(*router));
  router.reset();
  router = StartRouter(registry_);
  EXPECT_TRUE(Serves(*router)) << "another router on that port";
  // Beats go on: it stays so beyond the ttl.
  absl::SleepFor(kTtl + absl::Seconds(1));
  EXPECT_TRUE(router->serving());
  EXPECT_THAT(router->MetricsText(), HasSubstr("tandem_workers_registered{"));
}

TEST_F(RegistrarTest, WhoLeavesIsGoneAtOnceAndComesBack) {
  const std::unique_ptr<Router> router = StartRouter(registry_);
  Registering prefill(stage_, v1::WORKER_ROLE_PREFILL, {registry_});
  auto decode = std::make_unique<Registering>(stage_, v1::WORKER_ROLE_DECODE,
                                              std::vector<std::string>{registry_});
  ASSERT_TRUE(Serves(*router));
  decode->registrar().Leave();
  EXPECT_TRUE(Serves(*router, false));
  decode = std::make_unique<Registering>(stage_, v1::WORKER_ROLE_DECODE,
                                         std::vector<std::string>{registry_});
  EXPECT_TRUE(Serves(*router));
}

TEST_F(RegistrarTest, AllRoutersAreTold) {
  const std::string other = absl::StrCat("127.0.0.1:", FreePort());
  const std::string nobody = absl::StrCat("127.0.0.1:", FreePort());
  const std::unique_ptr<Router> first = StartRouter(registry_);
  const std::unique_ptr<Router> second = StartRouter(other);
  Registering prefill(stage_, v1::WORKER_ROLE_PREFILL,
                      {nobody, registry_, other, "no.such.name:1"});
  Registering decode(stage_, v1::WORKER_ROLE_DECODE, {registry_, other});
  EXPECT_TRUE(Serves(*first));
  EXPECT_TRUE(Serves(*second));
  absl::SleepFor(kTtl + absl::Seconds(1));
  EXPECT_TRUE(first->serving() && second->serving()) << "one that is absent holds nothing up";
}

TEST(AddressesTest, NamesBecomeAddresses) {
  EXPECT_EQ(HostOf("[::1]:80"), "::1");
  EXPECT_EQ(HostOf("a.b:80"), "a.b");
  const auto local = AddressesOf("localhost:80");
  ASSERT_TRUE(local.ok()) << local.status();
  EXPECT_THAT(*local, Contains("127.0.0.1:80"));
  EXPECT_EQ(*AddressesOf("[::1]:80"), std::vector<std::string>{"[::1]:80"});
  EXPECT_EQ(AddressesOf("no.such.name.invalid:80").status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace tandem
