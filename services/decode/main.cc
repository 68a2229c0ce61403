// SPDX-License-Identifier: Apache-2.0
// tandem-decode: owns the KV pool and writes answers. Parts are built here, bottom up, and joined
// nowhere else.
#include <memory>
#include <utility>

#include "services/decode/answer_service.h"
#include "services/decode/decode_loop.h"
#include "services/decode/decode_service.h"
#include "services/runtime/base/log.h"
#include "services/runtime/base/random.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/config/duration.h"
#include "services/runtime/config/program.h"
#include "services/runtime/config/service_config.h"
#include "services/runtime/engine/warm_up.h"
#include "services/runtime/engine/worker_engine.h"
#include "services/runtime/rpc/registrar/registrar.h"
#include "services/runtime/rpc/serve.h"

namespace tandem {
namespace {

// Before anything is taken: what a killed process has left may have the room of what comes now.
void RemoveAbandoned() {
  const int removed = SharedMemory::RemoveAbandoned();
  if (removed > 0) LogInfo("removed-abandoned-memory", {{"count", removed}});
}

absl::StatusOr<WorkerEngine> MakeEngine(const v1::DecodeConfig& config, int batch_max) {
  return MakeWorkerEngine(config.worker(), {.tokens_per_step = batch_max,
                                            .chunks_per_step = batch_max,
                                            .pool_tokens = int64_t{config.pages()} * kPageTokens});
}

absl::StatusOr<std::unique_ptr<KvStorage>> MakePool(const v1::DecodeConfig& config,
                                                    const WorkerEngine& worker) {
  ASSIGN_OR_RETURN(const KvLayout layout,
                   KvLayout::Create(worker.config(), {.pages = static_cast<int>(config.pages()),
                                                      .slots = static_cast<int>(config.slots())}));
  absl::StatusOr<std::unique_ptr<KvStorage>> pool =
      KvStorage::CreateShared(layout, worker.backends);
  if (pool.ok()) return pool;
  // Rows will travel as bytes; a prefill worker that insists on shared memory refuses the link.
  LogWarning("pool-not-shared", {{"why", std::string(pool.status().message())}});
  return KvStorage::CreatePrivate(layout, worker.backends);
}

void WarmUp(const WorkerEngine& worker, const KvStorage& pool, int batch_max) {
  WarmUpDecode(*worker.engine, pool.view(),
               {.batch_max = batch_max, .context_tokens_max = worker.context_tokens_max});
}

DecodeMetrics::PoolBytes BytesOf(const KvLayout& layout) {
  const auto all = [](const KvRegion& region) { return region.stride * region.count; };
  DecodeMetrics::PoolBytes bytes;
  for (int i = 0; i < layout.num_layers(); ++i) {
    const KvLayerLayout& layer = layout.layer(i);
    bytes.compressed += all(layer.compressed_pages);
    bytes.indexer += all(layer.indexer_pages);
    bytes.window += all(layer.window_rings);
    bytes.states += all(layer.compressor_states) + all(layer.indexer_states);
  }
  return bytes;
}

absl::StatusOr<std::unique_ptr<MetricsRegistry>> MakeMetrics(const v1::DecodeConfig& config) {
  return MetricsRegistry::Create({.role = ProcessRole::kDecode,
                                  .model_name = config.worker().model_name(),
                                  .listen = config.worker().metrics_listen(),
                                  .version = Version(),
                                  .config_hash = ConfigHash(config),
                                  .compat = config.worker().metrics_compat(),
                                  .bounds = config.worker().histogram_bounds()});
}

absl::Status Run(const v1::DecodeConfig& config) {
  ShutdownSignals signals;
  RouteGrpcLog();
  ASSIGN_OR_RETURN(ServerCredentials credentials, ListenCredentials("worker.tls", config.worker()));
  RemoveAbandoned();
  const int batch_max = static_cast<int>(config.batch_max());
  ASSIGN_OR_RETURN(const WorkerEngine worker, MakeEngine(config, batch_max));
  ASSIGN_OR_RETURN(std::unique_ptr<KvStorage> pool, MakePool(config, worker));
  WarmUp(worker, *pool, batch_max);
  ASSIGN_OR_RETURN(const std::unique_ptr<MetricsRegistry> registry, MakeMetrics(config));
  DecodeMetrics metrics(*registry);
  metrics.SetPoolBytes(BytesOf(pool->layout()));
  std::string no_nccl;
  const std::unique_ptr<NcclPort> nccl = NcclPort::Find(worker.backends, &no_nccl);
  WatchService watch;
  DecodeLoop loop({.incarnation = RandomId(),
                   .lease_seed = RandomId(),
                   .lease_ttl = FromProto(config.lease_ttl()),
                   .batch_max = batch_max,
                   .context_tokens_max = worker.context_tokens_max},
                  {.engine = *worker.engine,
                   .storage = std::move(pool),
                   .watch = watch,
                   .metrics = metrics,
                   .nccl = nccl.get()});
  DecodeServiceImpl service({.endpoint = config.endpoint(),
                             .lease_ttl = FromProto(config.lease_ttl()),
                             .stream_tokens_max = config.stream_tokens_max()},
                            loop);
  AnswerServiceImpl answers(size_t{config.stream_tokens_max()} * config.batch_max(), loop);
  ASSIGN_OR_RETURN(const std::unique_ptr<RpcServer> server,
                   RpcServer::Create({.listen = config.worker().listen(),
                                      .credentials = std::move(credentials),
                                      .health_listen = config.worker().health_listen(),
                                      .services = {&service, &answers, &watch},
                                      .health_names = {v1::DecodeService::service_full_name()}}));
  LogInfo("serving", {{"port", server->port()},
                      {"metrics_port", registry->port()},
                      {"model", config.worker().model_name()},
                      {"pages", config.pages()},
                      {"slots", config.slots()},
                      {"nccl", nccl != nullptr ? "yes" : no_nccl},
                      {"context_tokens_max", worker.context_tokens_max}});
  ASSIGN_OR_RETURN(const std::unique_ptr<Registrar> registrar,
                   Registrar::Create(config.worker(), watch));
  const auto drain = [&] {
    registrar->Leave();
    loop.Drain();
  };
  ServeUntilSignal({.server = *server,
                    .signals = signals,
                    .drain_timeout = FromProto(config.worker().drain_timeout()),
                    .drain = drain,
                    .idle = [&loop] { return loop.Idle(); },
                    .close = [&watch] { watch.CloseAll(); }});
  return absl::OkStatus();
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  return tandem::RunProgram<tandem::v1::DecodeConfig>(
      {.name = "tandem-decode",
       .role = "decode",
       .purpose = "owns the KV cache and writes answers"},
      {.load = tandem::LoadDecodeConfig, .run = tandem::Run}, argc, argv);
}
