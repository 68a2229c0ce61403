// SPDX-License-Identifier: Apache-2.0
#include "services/router/router.h"

#include <utility>

#include "services/runtime/base/log.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/config/duration.h"
#include "services/runtime/config/program.h"

namespace tandem {
namespace {

// For streams that were ended to reach their clients.
constexpr absl::Duration kStopGrace = absl::Seconds(2);

}  // namespace

Router::Router(const v1::RouterConfig& config)
    : config_(config), requests_(config_.requests_max()) {}

namespace {

SloLimits LimitsOf(const v1::SloConfig& slo) {
  SloLimits limits;
  if (slo.has_ttft()) limits.ttft = FromProto(slo.ttft());
  if (slo.has_tpot()) limits.tpot = FromProto(slo.tpot());
  if (slo.has_e2e()) limits.e2e = FromProto(slo.e2e());
  return limits;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Router>> Router::Create(const v1::RouterConfig& config) {
  std::unique_ptr<Router> router(new Router(config));
  ASSIGN_OR_RETURN(router->model_, ServedModel::Load(config.model_dir(), config.model_name()));
  ASSIGN_OR_RETURN(router->metrics_registry_,
                   MetricsRegistry::Create({.role = ProcessRole::kRouter,
                                            .model_name = config.model_name(),
                                            .listen = config.metrics_listen(),
                                            .version = Version(),
                                            .config_hash = ConfigHash(config),
                                            .compat = config.metrics_compat(),
                                            .bounds = config.histogram_bounds()}));
  router->metrics_ = std::make_unique<RouterMetrics>(
      *router->metrics_registry_, router->model_->context_tokens_max(), LimitsOf(config.slo()));
  ASSIGN_OR_RETURN(ServerCredentials credentials, ListenCredentials("tls", config));
  ASSIGN_OR_RETURN(ChannelCredentials worker_credentials,
                   MakeChannelCredentials(
                       "worker_tls", config.has_worker_tls() ? &config.worker_tls() : nullptr));
  router->workers_ = std::make_unique<WorkerTable>(WorkerTable::Options{
      .prefill = {config.prefill_workers().begin(), config.prefill_workers().end()},
      .decode = {config.decode_workers().begin(), config.decode_workers().end()},
      .credentials = std::move(worker_credentials),
      .server_name = config.worker_tls().server_name()});
  if (config.has_registry()) {
    ASSIGN_OR_RETURN(router->registry_,
                     Registry::Create(config.registry(), *router->workers_, *router->metrics_));
  }
  if (!config.api_keys_file().empty()) {
    ASSIGN_OR_RETURN(router->keys_, ApiKeys::Load(config.api_keys_file()));
  }
  router->parts_ = std::make_unique<RouterParts>(RouterParts{.config = router->config_,
                                                             .model = *router->model_,
                                                             .workers = *router->workers_,
                                                             .requests = router->requests_,
                                                             .metrics = *router->metrics_,
                                                             .keys = router->keys_.get()});
  router->service_ = std::make_unique<RouterService>(*router->parts_);
  ASSIGN_OR_RETURN(
      router->server_,
      RpcServer::Create({.listen = config.listen(),
                         .credentials = std::move(credentials),
                         .health_listen = config.health_listen(),
                         .services = {router->service_.get()},
                         .message_bytes_max = static_cast<int>(config.message_bytes_max()),
                         .health_names = {v1::InferenceService::service_full_name()},
                         .serving = false}));
  router->readiness_ = std::make_unique<Readiness>(
      *router->workers_, [router = router.get()](const WorkersUp& up) { router->OnWorkers(up); });
  return router;
}

void Router::OnWorkers(const WorkersUp& up) {
  LogInfo("workers",
          {{"prefill", up.prefill}, {"decode", up.decode}, {"serving", up.pair ? "yes" : "no"}});
  server_->SetServing(up.pair);
  metrics_->workers_prefill.Set(up.prefill);
  metrics_->workers_decode.Set(up.decode);
}

void Router::DrainAndStop() {
  readiness_.reset();  // it has nothing to say any more
  server_->SetServing(false);
  if (!requests_.Drain(FromProto(config_.drain_timeout()))) {
    LogWarning("drain_timeout", {{"running", requests_.size()}});
  }
  server_->Shutdown(kStopGrace);
}

}  // namespace tandem
