// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/rpc/server.h"

#include <grpc/support/log.h>

#include <utility>

#include "absl/base/call_once.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "services/runtime/base/log.h"
#include "services/runtime/base/status_macros.h"

namespace tandem {
namespace {

constexpr int kPingIntervalMinMs = 10'000;
constexpr int kKeepaliveMs = 30'000;
constexpr int kKeepaliveTimeoutMs = 10'000;
constexpr int kMetadataBytesMax = 64 << 10;

// Both are process-wide switches of gRPC.
void EnablePlugins() {
  static absl::once_flag once;
  absl::call_once(once, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

void LogGrpc(gpr_log_func_args* args) {
  const std::string place = absl::StrCat(args->file, ":", args->line);
  if (args->severity == GPR_LOG_SEVERITY_ERROR) {
    LogWarning("grpc", {{"message", args->message}, {"at", place}});
  }
}

// Starts a server and says its port.
absl::StatusOr<std::unique_ptr<grpc::Server>> Start(const ServerOptions& options, int& port) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(
      options.listen,
      options.credentials != nullptr ? options.credentials : grpc::InsecureServerCredentials(),
      &port);
  builder.SetMaxReceiveMessageSize(options.message_bytes_max);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMetadataBytesMax);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kPingIntervalMinMs);
  for (grpc::Service* service : options.services) builder.RegisterService(service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    return absl::UnavailableError(absl::StrCat("listen: ", options.listen,
                                               " cannot be bound: it is in use, or is no address "
                                               "of this machine"));
  }
  return server;
}

}  // namespace

void RouteGrpcLog() {
  gpr_set_log_function(&LogGrpc);
}

RpcServer::RpcServer(std::vector<std::string> health_names)
    : health_names_(std::move(health_names)) {}

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Create(const ServerOptions& options) {
  EnablePlugins();
  std::vector<std::string> health_names = options.health_names;
  health_names.emplace_back("");
  std::unique_ptr<RpcServer> server(new RpcServer(std::move(health_names)));
  ASSIGN_OR_RETURN(server->server_, Start(options, server->port_));
  if (!options.health_listen.empty()) {
    ASSIGN_OR_RETURN(server->health_server_,
                     Start({.listen = options.health_listen}, server->health_port_));
  }
  server->SetHealth(kLivenessName, true);
  server->SetServing(options.serving);
  return server;
}

RpcServer::~RpcServer() {
  if (server_ != nullptr) Shutdown(absl::ZeroDuration());
}

void RpcServer::SetServing(bool serving) {
  for (const std::string& name : health_names_) SetHealth(name, serving);
  serving_ = serving;
}

void RpcServer::SetHealth(const std::string& name, bool serving) {
  server_->GetHealthCheckService()->SetServingStatus(name, serving);
  if (health_server_ != nullptr) {
    health_server_->GetHealthCheckService()->SetServingStatus(name, serving);
  }
}

void RpcServer::Shutdown(absl::Duration grace) {
  server_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
  server_->Wait();
  if (health_server_ == nullptr) return;
  health_server_->Shutdown(absl::ToChronoTime(absl::Now()));
  health_server_->Wait();
}

}  // namespace tandem
