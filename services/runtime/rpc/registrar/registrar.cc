// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/rpc/registrar/registrar.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/synchronization/blocking_counter.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/base/log.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/config/duration.h"
#include "services/runtime/config/program.h"
#include "services/runtime/rpc/registrar/addresses.h"
#include "services/runtime/rpc/registrar/protocol.h"
#include "services/runtime/rpc/status.h"

namespace tandem {
namespace {

constexpr absl::Duration kLookUp = absl::Seconds(2);
// Between two attempts, and the limit of each, while a router has not said yes.
constexpr absl::Duration kRetry = absl::Seconds(1);

}  // namespace

class Registrar::Peer {
 public:
  explicit Peer(const ChannelOptions& options)
      : channel_(options), stub_(channel_.NewStub<v1::RegistryService>()) {}

  void Start(const v1::RegisterRequest& request, absl::BlockingCounter& done) {
    context_ = std::make_unique<grpc::ClientContext>();
    SetDeadline(*context_, Clock::Real().Now() + kRetry);
    stub_->async()->Register(context_.get(), &request, &response_,
                             [this, &done](const grpc::Status& status) {
                               status_ = status;
                               done.DecrementCount();
                             });
  }

  // After `done`: the time to the next beat. Says what has changed.
  absl::Duration Conclude(const std::string& router) {
    const absl::Status status = FromGrpcStatus(status_);
    const std::string now =
        status.ok() ? "yes" : status.ToString(absl::StatusToStringMode::kWithNoExtraData);
    const bool news = std::exchange(said_, now) != now;
    if (!status.ok()) {
      if (news) LogWarning("not_registered", {{"router", router}, {"why", now}});
      return kRetry;
    }
    const absl::Duration ttl = FromProto(response_.ttl());
    if (news) LogInfo("registered", {{"router", router}, {"ttl", absl::FormatDuration(ttl)}});
    return ttl / kBeatsInTtl;
  }

 private:
  const Channel channel_;
  const std::unique_ptr<v1::RegistryService::Stub> stub_;
  std::unique_ptr<grpc::ClientContext> context_;
  v1::RegisterResponse response_;
  grpc::Status status_;
  std::string said_;  // the last answer
};

absl::StatusOr<std::unique_ptr<Registrar>> Registrar::Create(const v1::WorkerConfig& config,
                                                             const WatchService& watch) {
  const v1::RegistrationConfig& registration = config.registration();
  ASSIGN_OR_RETURN(ChannelCredentials credentials,
                   MakeChannelCredentials("worker.registration.tls",
                                          registration.has_tls() ? &registration.tls() : nullptr));
  return std::unique_ptr<Registrar>(new Registrar(registration, watch, std::move(credentials)));
}

Registrar::Registrar(const v1::RegistrationConfig& config, const WatchService& watch,
                     ChannelCredentials credentials)
    : config_(config), watch_(watch), credentials_(std::move(credentials)) {
  if (config_.routers().empty()) return;
  lookups_ = std::make_unique<Thread>("router-names", [this] { LookUp(); });
  beats_ = std::make_unique<Thread>("beats", [this] { Run(); });
}

Registrar::~Registrar() {
  Leave();
  beats_.reset();
  lookups_.reset();
}

void Registrar::Leave() {
  absl::MutexLock lock(&mutex_);
  leaving_ = true;
}

void Registrar::LookUp() {
  std::map<std::string, std::string> said;  // of each name, what was wrong
  while (true) {
    for (const std::string& name : config_.routers()) {
      absl::StatusOr<std::vector<std::string>> addresses = AddressesOf(name);
      const std::string why(addresses.status().message());
      const bool news = std::exchange(said[name], why) != why;
      if (!addresses.ok()) {
        if (news) LogWarning("router_name", {{"router", name}, {"why", why}});
        continue;
      }
      absl::MutexLock lock(&mutex_);
      std::vector<std::string>& known = names_[name];
      if (known == *addresses) continue;
      known = *std::move(addresses);
      news_ = true;
    }
    absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&leaving_), kLookUp)) return;
  }
}

void Registrar::Run() {
  absl::Duration pause = absl::ZeroDuration();
  const auto wake = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return leaving_ || news_; };
  while (true) {
    bool leaving = false;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(&wake), pause);
      leaving = leaving_;
    }
    const absl::Time begin = Clock::Real().Now();
    Reconcile();
    pause = Beat(leaving);
    if (leaving) return;
    pause -= Clock::Real().Now() - begin;
  }
}

void Registrar::Reconcile() {
  std::map<std::string, std::string> wanted;  // name by address
  {
    absl::MutexLock lock(&mutex_);
    if (!std::exchange(news_, false)) return;
    for (const auto& [name, addresses] : names_) {
      for (const std::string& address : addresses) wanted.emplace(address, name);
    }
  }
  std::erase_if(peers_, [&](const auto& peer) { return !wanted.contains(peer.first); });
  for (const auto& [address, name] : wanted) {
    if (peers_.contains(address)) continue;
    ChannelOptions options{.endpoint = address, .credentials = credentials_};
    // A certificate carries the name, not what it stands for.
    if (credentials_ != nullptr) {
      options.server_name =
          config_.tls().server_name().empty() ? HostOf(name) : config_.tls().server_name();
    }
    peers_.emplace(address, std::make_unique<Peer>(options));
  }
}

absl::Duration Registrar::Beat(bool leaving) {
  v1::RegisterRequest request;
  *request.mutable_state() = watch_.state();
  // The loop has not said yet what it is.
  if (request.state().role() == v1::WORKER_ROLE_UNSPECIFIED) return absl::Milliseconds(20);
  request.set_endpoint(config_.endpoint());
  request.set_protocol_version(kWorkerProtocolVersion);
  request.set_version(Version());
  request.set_leaving(leaving);
  absl::BlockingCounter done(static_cast<int>(peers_.size()));
  for (const auto& [address, peer] : peers_) peer->Start(request, done);
  done.Wait();
  absl::Duration next = peers_.empty() ? kRetry : absl::Minutes(10);
  if (leaving) return next;
  for (const auto& [address, peer] : peers_) next = std::min(next, peer->Conclude(address));
  return next;
}

}  // namespace tandem
