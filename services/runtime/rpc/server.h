// SPDX-License-Identifier: Apache-2.0
// RpcServer: one listening gRPC server with callback services, grpc.health.v1 and reflection.
//
// Services are borrowed and outlive the server. Messages are bounded in both directions; the port
// is never shared with another process; clients may ping every 10 s, also without calls. No TLS: it
// stands inside one trust domain. Thread-safe after Create.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/server.h"
#include "services/runtime/rpc/tls/credentials.h"

namespace tandem {

struct ServerOptions {
  std::string listen;                       // host:port; port 0 = any free one
  ServerCredentials credentials = nullptr;  // null = plain text
  // host:port where grpc.health.v1 alone is spoken, in plain text: for probes when `credentials`
  // keep them out. Empty = none.
  std::string health_listen;
  std::vector<grpc::Service*> services;
  int message_bytes_max = 16 << 20;  // received, one message
  // Full names of services that may be asked for their health, besides "".
  std::vector<std::string> health_names;
  bool serving = true;  // what health says until SetServing
};

// What grpc.health.v1 knows every process by that answers at all, whatever it says of its services:
// for a probe whose "no" kills.
inline constexpr char kLivenessName[] = "liveness";

class RpcServer {
 public:
  // UNAVAILABLE names the address that cannot be bound.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Create(const ServerOptions& options);
  // Ends what still runs at once.
  ~RpcServer();
  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  // The bound port, and that of health_listen.
  int port() const { return port_; }
  int health_port() const { return health_port_; }

  // What grpc.health.v1 answers for "" and `health_names`.
  void SetServing(bool serving);
  // What it answers now.
  bool serving() const { return serving_; }

  // Takes no new call, lets running ones end for `grace`, then cancels them; returns when all are
  // done.
  void Shutdown(absl::Duration grace);

 private:
  explicit RpcServer(std::vector<std::string> health_names);
  void SetHealth(const std::string& name, bool serving);

  const std::vector<std::string> health_names_;  // "" included
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<grpc::Server> health_server_;  // or null
  int port_ = 0;
  int health_port_ = 0;
  std::atomic<bool> serving_ = false;
};

// gRPC's own messages as lines of our log: warnings and errors only. Once a process, before the
// first server or channel.
void RouteGrpcLog();

}  // namespace tandem
