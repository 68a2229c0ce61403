// SPDX-License-Identifier: Apache-2.0
// tandem-router: the front door.
#include "services/router/router.h"
#include "services/runtime/base/log.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/config/program.h"
#include "services/runtime/config/service_config.h"
#include "services/runtime/rpc/signals.h"

namespace tandem {
namespace {

absl::Status Run(const v1::RouterConfig& config) {
  ShutdownSignals signals;
  RouteGrpcLog();
  ASSIGN_OR_RETURN(const std::unique_ptr<Router> router, Router::Create(config));
  LogInfo("serving", {{"port", router->port()}, {"metrics_port", router->metrics_port()}});
  LogInfo("draining", {{"signal", signals.Wait()}});
  router->DrainAndStop();
  LogInfo("stopped");
  return absl::OkStatus();
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  return tandem::RunProgram<tandem::v1::RouterConfig>(
      {.name = "tandem-router",
       .role = "router",
       .purpose = "text in, text out: tokens, placement, streams"},
      {.load = &tandem::LoadRouterConfig, .run = &tandem::Run}, argc, argv);
}
