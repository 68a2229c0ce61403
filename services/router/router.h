// SPDX-License-Identifier: Apache-2.0
// Router: the whole process but for its signals: builds the parts in order and takes them down in
// reverse. Thread-safe.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "services/router/registry/registry.h"
#include "services/router/router_service.h"
#include "services/router/workers/readiness.h"
#include "services/runtime/metrics/registry.h"
#include "services/runtime/rpc/server.h"
#include "tandem/v1/config.pb.h"

namespace tandem {

class Router {
 public:
  // `config` as LoadRouterConfig returns it. Calls are answered when this returns; workers are
  // found in the background.
  static absl::StatusOr<std::unique_ptr<Router>> Create(const v1::RouterConfig& config);

  int port() const { return server_->port(); }
  int metrics_port() const { return metrics_registry_->port(); }
  // 0 without a registry.
  int registry_port() const { return registry_ == nullptr ? 0 : registry_->port(); }
  // What health says: a request could be placed, and the router is not draining.
  bool serving() const { return server_->serving(); }
  // For tests: what a scrape would show.
  std::string MetricsText() const { return metrics_registry_->Text(); }

  // Says NOT_SERVING, refuses new requests with DRAINING, gives running ones drain_timeout, then
  // ends what is left.
  void DrainAndStop();

 private:
  explicit Router(const v1::RouterConfig& config);
  void OnWorkers(const WorkersUp& up);

  // Each is used by those below it.
  const v1::RouterConfig config_;
  std::unique_ptr<MetricsRegistry> metrics_registry_;
  std::unique_ptr<RouterMetrics> metrics_;
  std::unique_ptr<ServedModel> model_;
  std::unique_ptr<WorkerTable> workers_;
  std::unique_ptr<Registry> registry_;  // or null
  RequestTable requests_;
  std::unique_ptr<ApiKeys> keys_;  // or null
  std::unique_ptr<RouterParts> parts_;
  std::unique_ptr<RouterService> service_;
  std::unique_ptr<RpcServer> server_;
  std::unique_ptr<Readiness> readiness_;
};

}  // namespace tandem
