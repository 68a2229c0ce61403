// SPDX-License-Identifier: Apache-2.0
#include "services/router/registry/worker_registry.h"

#include "absl/strings/str_cat.h"
#include "services/runtime/base/log.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/config/field_check.h"
#include "services/runtime/config/program.h"
#include "services/runtime/rpc/registrar/protocol.h"
#include "services/runtime/rpc/status.h"

namespace tandem {
namespace {

constexpr size_t kEndpointBytesMax = 256;

absl::Status CheckRequest(const v1::RegisterRequest& request) {
  FieldCheck check;
  check.Endpoint("endpoint", request.endpoint());
  if (!check.status().ok() || request.endpoint().size() > kEndpointBytesMax) {
    return InvalidField("endpoint", "is not host:port of at most 256 bytes");
  }
  const v1::WorkerRole role = request.state().role();
  if (role != v1::WORKER_ROLE_PREFILL && role != v1::WORKER_ROLE_DECODE) {
    return InvalidField("state.role", "is neither prefill nor decode");
  }
  return absl::OkStatus();
}

const char* KindOf(v1::WorkerRole role) {
  return role == v1::WORKER_ROLE_PREFILL ? "prefill" : "decode";
}

}  // namespace

WorkerRegistry::WorkerRegistry(const Options& options, WorkerTable& workers, RouterMetrics& metrics)
    : options_(options), table_(workers), metrics_(metrics) {}

absl::Status WorkerRegistry::Beat(const v1::RegisterRequest& request) {
  RETURN_IF_ERROR(CheckRequest(request));
  const Name name(request.state().role(), request.endpoint());
  absl::Status status;
  {
    absl::MutexLock lock(&mutex_);
    status = request.protocol_version() == kWorkerProtocolVersion ? Accept(name, request)
                                                                  : Refuse(name, request);
    Count();
  }
  (status.ok() ? metrics_.beats_accepted : metrics_.beats_refused).Increment();
  return status;
}

absl::Status WorkerRegistry::Refuse(const Name& name, const v1::RegisterRequest& request) {
  Forget(name);
  return VersionMismatch(absl::StrCat("this router (", Version(), ") speaks protocol ",
                                      kWorkerProtocolVersion, ", ", KindOf(name.first), " worker ",
                                      name.second, " (", request.version(), ") speaks ",
                                      request.protocol_version()));
}

absl::Status WorkerRegistry::Accept(const Name& name, const v1::RegisterRequest& request) {
  if (request.leaving() || request.state().draining()) {
    if (workers_.contains(name)) {
      LogInfo("worker_left", {{"kind", KindOf(name.first)}, {"endpoint", name.second}});
    }
    Forget(name);
    return absl::OkStatus();
  }
  auto found = workers_.find(name);
  if (found == workers_.end()) {
    if (static_cast<int>(workers_.size()) >= options_.workers_max) {
      return QueueFull({.message = absl::StrCat("registry.workers_max: ", options_.workers_max,
                                                " workers have registered")});
    }
    LogInfo(
        "worker_registered",
        {{"kind", KindOf(name.first)}, {"endpoint", name.second}, {"version", request.version()}});
    const bool listed = !table_.Add(name.first, name.second);
    found = workers_.emplace(name, Worker{.listed = listed}).first;
  }
  found->second.heard = options_.clock.Now();
  found->second.missed = 0;
  return table_.FindPartner({.endpoint = name.second, .state = MakeState(request.state())});
}

void WorkerRegistry::Forget(const Name& name) {
  const auto found = workers_.find(name);
  if (found == workers_.end()) return;
  if (!found->second.listed) table_.Drop(name.first, name.second);
  workers_.erase(found);
}

void WorkerRegistry::Tick() {
  {
    absl::MutexLock lock(&mutex_);
    const absl::Time now = options_.clock.Now();
    std::vector<Name> silent;
    for (auto& [name, worker] : workers_) {
      const absl::Duration silence = now - worker.heard;
      // Half an interval late is not missed yet.
      while (silence > options_.ttl / kBeatsInTtl * (worker.missed + 1.5)) {
        ++worker.missed;
        metrics_.beats_missed.Increment();
      }
      if (silence > options_.ttl) silent.push_back(name);
    }
    for (const Name& name : silent) {
      LogWarning("worker_dropped", {{"kind", KindOf(name.first)},
                                    {"endpoint", name.second},
                                    {"silent", absl::FormatDuration(options_.ttl)}});
      Forget(name);
    }
    if (!silent.empty()) Count();
  }
  table_.Sweep();
}

void WorkerRegistry::Count() {
  int prefill = 0;
  for (const auto& [name, worker] : workers_) prefill += name.first == v1::WORKER_ROLE_PREFILL;
  metrics_.registered_prefill.Set(prefill);
  metrics_.registered_decode.Set(static_cast<double>(workers_.size()) - prefill);
}

}  // namespace tandem
