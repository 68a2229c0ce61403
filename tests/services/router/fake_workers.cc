// SPDX-License-Identifier: Apache-2.0
#include "tests/services/router/fake_workers.h"

#include <atomic>
#include <functional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpcpp/alarm.h"
#include "services/runtime/base/check.h"
#include "services/runtime/rpc/status.h"
#include "services/runtime/rpc/stream_writer.h"
#include "tests/services/router/fake_answers.h"

namespace tandem {
namespace {

constexpr size_t kWeightMax = 1 << 20;

}  // namespace

void Stage::Set(const Script& script) {
  absl::MutexLock lock(&mutex_);
  script_ = script;
}

Script Stage::script() const {
  absl::MutexLock lock(&mutex_);
  return script_;
}

Seen Stage::seen() const {
  absl::MutexLock lock(&mutex_);
  return seen_;
}

class FakeWorker::Watching final : public StreamWriter<v1::WatchResponse> {
 public:
  explicit Watching(WatchService* service);

 private:
  size_t Weight(const v1::WatchResponse&) const override { return 0; }
  bool Coalesce(v1::WatchResponse& last, v1::WatchResponse& next) override {
    last = std::move(next);
    return true;
  }
  void OnCancelled() override;

  WatchService* const service_;
};

class FakeWorker::WatchService final : public v1::WorkerService::CallbackService {
 public:
  explicit WatchService(const FakeWorkerOptions& options) {
    state_.set_role(options.role);
    state_.set_incarnation(42);
    state_.mutable_kv_format()->set_protocol_version(1);
    state_.mutable_kv_format()->set_layout_hash(options.layout_hash);
    state_.mutable_kv_format()->set_description(absl::StrCat("layout ", options.layout_hash));
    state_.mutable_kv_format()->set_page_tokens(256);
    state_.set_pages_free(1000);
    state_.set_slots_free(options.slots_free);
    state_.set_context_tokens_max(options.context_tokens_max);
    if (options.says_tokens && options.role == v1::WORKER_ROLE_PREFILL)
      state_.set_tokens_waiting(0);
  }
  // The server has ended every call; the lock says so to TSan.
  ~WatchService() override { absl::MutexLock lock(&mutex_); }

  grpc::ServerWriteReactor<v1::WatchResponse>* Watch(grpc::CallbackServerContext*,
                                                     const v1::WatchRequest*) override {
    auto* watching = new Watching(this);
    absl::MutexLock lock(&mutex_);
    open_.insert(watching);
    (void)watching->Write(state_);
    return watching;
  }
  void Tick() {
    absl::MutexLock lock(&mutex_);
    for (Watching* watching : open_) (void)watching->Write(state_);
  }
  // Each stream is closed by whoever takes it out.
  bool TakeOut(Watching* watching) {
    absl::MutexLock lock(&mutex_);
    return open_.erase(watching) == 1;
  }

 private:
  v1::WatchResponse state_;
  absl::Mutex mutex_;
  absl::flat_hash_set<Watching*> open_ ABSL_GUARDED_BY(mutex_);
};

FakeWorker::Watching::Watching(WatchService* service) : StreamWriter(1), service_(service) {}
void FakeWorker::Watching::OnCancelled() {
  if (service_->TakeOut(this)) Close(absl::CancelledError("watch cancelled"));
}

class FakeWorker::Prefilling final : public StreamWriter<v1::PrefillResponse> {
 public:
  Prefilling(Stage& stage, const v1::PrefillRequest& request)
      : StreamWriter(kWeightMax), stage_(stage) {
    const Script script = stage_.script();
    stage_.Update([&](Seen& seen) {
      ++seen.prefilling;
      seen.prefill_requests.push_back(request);
    });
    // Refused, as by admission: nothing was read.
    if (!script.prefill_error.ok()) {
      CloseOnce(script.prefill_error);
      return;
    }
    v1::PrefillResponse progress;
    progress.mutable_progress()->set_tokens(request.token_ids_size() / 2);
    (void)Write(progress);
    if (script.hang_prefill) return;
    v1::PrefillResponse done;
    *done.mutable_done()->mutable_first() = Sampled(script.tokens[0], request.sampling());
    for (int i = 0; request.prompt_logprobs() && i < request.token_ids_size(); ++i) {
      done.mutable_done()->add_prompt_logprobs(-static_cast<float>(i));
    }
    (void)Write(done);
    CloseOnce(absl::OkStatus());
  }

 private:
  void OnCancelled() override { CloseOnce(absl::CancelledError("prefill cancelled")); }
  void CloseOnce(const absl::Status& status) {
    if (closed_.exchange(true)) return;
    stage_.Update([](Seen& seen) { --seen.prefilling; });
    Close(status);
  }

  Stage& stage_;
  std::atomic<bool> closed_{false};
};

class FakeWorker::PrefillServiceImpl final : public v1::PrefillService::CallbackService {
 public:
  explicit PrefillServiceImpl(Stage& stage) : stage_(stage) {}
  grpc::ServerWriteReactor<v1::PrefillResponse>* Prefill(
      grpc::CallbackServerContext*, const v1::PrefillRequest* request) override {
    return new Prefilling(stage_, *request);
  }

 private:
  Stage& stage_;
};

class FakeWorker::Generating final : public StreamWriter<v1::DecodeServiceGenerateResponse> {
 public:
  Generating(Stage& stage, const v1::DecodeServiceGenerateRequest& request)
      : StreamWriter(kWeightMax), stage_(stage) {
    const Script script = TakeScript(stage, request);
    const auto end = Play(script, request, [this](v1::DecodeServiceGenerateResponse message) {
      (void)Write(std::move(message));
    });
    if (end.has_value()) CloseOnce(*end);
  }

 private:
  void OnCancelled() override { CloseOnce(absl::CancelledError("generate cancelled")); }
  void CloseOnce(const absl::Status& status) {
    if (closed_.exchange(true)) return;
    stage_.Update([](Seen& seen) { --seen.generating; });
    Close(status);
  }

  Stage& stage_;
  std::atomic<bool> closed_{false};
};

class FakeWorker::DecodeServiceImpl final : public v1::DecodeService::CallbackService {
 public:
  explicit DecodeServiceImpl(Stage& stage) : stage_(stage) {}

  grpc::ServerUnaryReactor* Reserve(grpc::CallbackServerContext* context, const v1::ReserveRequest*,
                                    v1::ReserveResponse* response) override {
    const Script script = stage_.script();
    stage_.Update([](Seen& seen) { ++seen.reserves; });
    if (script.hang_reserve) return new Hanging();
    const auto grant = [this, response] {
      response->mutable_reservation()->set_incarnation(42);
      response->mutable_reservation()->set_lease_id(Grant());
    };
    if (script.reserve_delay > absl::ZeroDuration())
      return new Delayed(script.reserve_delay, grant);
    auto* reactor = context->DefaultReactor();
    if (script.reserve_error.ok()) grant();
    reactor->Finish(ToGrpcStatus(script.reserve_error));
    return reactor;
  }

  grpc::ServerUnaryReactor* Release(grpc::CallbackServerContext* context,
                                    const v1::ReleaseRequest* request,
                                    v1::ReleaseResponse*) override {
    End(request->reservation().lease_id());
    stage_.Update([](Seen& seen) { ++seen.releases; });
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  grpc::ServerWriteReactor<v1::DecodeServiceGenerateResponse>* Generate(
      grpc::CallbackServerContext*, const v1::DecodeServiceGenerateRequest* request) override {
    End(request->reservation().lease_id());
    return new Generating(stage_, *request);
  }

  void End(uint64_t lease) {
    absl::MutexLock lock(&mutex_);
    if (leases_.erase(lease) == 1) stage_.Update([](Seen& seen) { --seen.leases; });
  }

 private:
  // A call that is answered only when it is cancelled.
  class Hanging final : public grpc::ServerUnaryReactor {
    void OnCancel() override { Finish(grpc::Status::CANCELLED); }
    void OnDone() override { delete this; }
  };

  class Delayed final : public grpc::ServerUnaryReactor {
   public:
    Delayed(absl::Duration delay, std::function<void()> grant) {
      alarm_.Set(absl::ToChronoTime(absl::Now() + delay), [this, grant = std::move(grant)](bool) {
        grant();
        Finish(grpc::Status::OK);
      });
    }
    void OnDone() override { delete this; }

   private:
    grpc::Alarm alarm_;
  };

  uint64_t Grant() {
    absl::MutexLock lock(&mutex_);
    leases_.insert(++last_lease_);
    stage_.Update([](Seen& seen) { ++seen.leases; });
    return last_lease_;
  }

  Stage& stage_;
  absl::Mutex mutex_;
  uint64_t last_lease_ ABSL_GUARDED_BY(mutex_) = 0;
  std::set<uint64_t> leases_ ABSL_GUARDED_BY(mutex_);
};

FakeWorker::FakeWorker(Stage& stage, const FakeWorkerOptions& options)
    : watch_(std::make_unique<WatchService>(options)) {
  ServerOptions server = {.listen = options.listen, .services = {watch_.get()}};
  if (options.role == v1::WORKER_ROLE_PREFILL) {
    prefill_ = std::make_unique<PrefillServiceImpl>(stage);
    server.services.push_back(prefill_.get());
  } else {
    decode_ = std::make_unique<DecodeServiceImpl>(stage);
    server.services.push_back(decode_.get());
    if (options.answers) {
      answers_ = std::make_unique<FakeAnswers>(
          stage, [decode = decode_.get()](uint64_t lease) { decode->End(lease); });
      server.services.push_back(answers_.get());
    }
  }
  auto created = RpcServer::Create(server);
  CHECK(created.ok());
  server_ = *std::move(created);
  ticker_ = std::make_unique<Thread>("fake-ticker", [this] { Tick(); });
}

FakeWorker::~FakeWorker() {
  FallSilent();
  server_->Shutdown(absl::ZeroDuration());
}

void FakeWorker::CutTokens() {
  answers_->Cut();
}

void FakeWorker::FallSilent() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  ticker_.reset();
}

void FakeWorker::Tick() {
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), absl::Milliseconds(200))) return;
    }
    watch_->Tick();
  }
}

std::string FakeWorker::endpoint() const {
  return absl::StrCat("127.0.0.1:", server_->port());
}

}  // namespace tandem
