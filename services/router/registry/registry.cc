// SPDX-License-Identifier: Apache-2.0
#include "services/router/registry/registry.h"

#include "services/runtime/base/log.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/config/duration.h"
#include "services/runtime/rpc/status.h"

namespace tandem {
namespace {

// A fraction of the shortest ttl.
constexpr absl::Duration kLookInterval = absl::Milliseconds(100);
constexpr int kMessageBytesMax = 16 << 10;

}  // namespace

Registry::Registry(const WorkerRegistry::Options& options, WorkerTable& workers,
                   RouterMetrics& metrics)
    : registered_(options, workers, metrics) {}

absl::StatusOr<std::unique_ptr<Registry>> Registry::Create(const v1::RegistryConfig& config,
                                                           WorkerTable& workers,
                                                           RouterMetrics& metrics) {
  ASSIGN_OR_RETURN(ServerCredentials credentials, ListenCredentials("registry.tls", config));
  std::unique_ptr<Registry> registry(
      new Registry({.ttl = FromProto(config.worker_ttl()),
                    .workers_max = static_cast<int>(config.workers_max())},
                   workers, metrics));
  ASSIGN_OR_RETURN(registry->server_,
                   RpcServer::Create({.listen = config.listen(),
                                      .credentials = std::move(credentials),
                                      .services = {registry.get()},
                                      .message_bytes_max = kMessageBytesMax,
                                      .health_names = {v1::RegistryService::service_full_name()}}));
  registry->looks_ =
      std::make_unique<Thread>("registry", [registry = registry.get()] { registry->Run(); });
  LogInfo("registry", {{"port", registry->port()},
                       {"tls", config.has_tls() ? "mutual" : "none"},
                       {"worker_ttl", absl::FormatDuration(registry->registered_.ttl())}});
  return registry;
}

Registry::~Registry() {
  if (server_ != nullptr) server_->Shutdown(absl::ZeroDuration());
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
}

grpc::ServerUnaryReactor* Registry::Register(grpc::CallbackServerContext* context,
                                             const v1::RegisterRequest* request,
                                             v1::RegisterResponse* response) {
  *response->mutable_ttl() = ToProto(registered_.ttl());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(registered_.Beat(*request)));
  return reactor;
}

void Registry::Run() {
  while (true) {
    registered_.Tick();
    absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), kLookInterval)) return;
  }
}

}  // namespace tandem
