// SPDX-License-Identifier: Apache-2.0
// Registry: the port where workers register, apart from the clients' one: who registers is sent
// prompts. Answers RegistryService and looks again and again who has fallen silent, on a thread of
// its own. Thread-safe.
#pragma once

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "services/router/registry/worker_registry.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/rpc/server.h"
#include "tandem/v1/config.pb.h"
#include "tandem/v1/registry.grpc.pb.h"

namespace tandem {

class Registry final : public v1::RegistryService::CallbackService {
 public:
  // `workers` and `metrics` outlive it. Errors are those of the certificates and of the port.
  static absl::StatusOr<std::unique_ptr<Registry>> Create(const v1::RegistryConfig& config,
                                                          WorkerTable& workers,
                                                          RouterMetrics& metrics);
  ~Registry() override;

  int port() const { return server_->port(); }

  grpc::ServerUnaryReactor* Register(grpc::CallbackServerContext* context,
                                     const v1::RegisterRequest* request,
                                     v1::RegisterResponse* response) override;

 private:
  Registry(const WorkerRegistry::Options& options, WorkerTable& workers, RouterMetrics& metrics);
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);

  WorkerRegistry registered_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<RpcServer> server_;
  std::unique_ptr<Thread> looks_;  // last: it uses all of the above
};

}  // namespace tandem
