// SPDX-License-Identifier: Apache-2.0
#include "tests/services/tools/load/drive/fake_inference.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/runtime/base/check.h"
#include "services/runtime/config/duration.h"
#include "services/runtime/rpc/status.h"

namespace tandem {
namespace {

constexpr absl::Duration kLook = absl::Milliseconds(5);

grpc::Status Ended(absl::Status status) {
  return ToGrpcStatus(status);
}

}  // namespace

class FakeInference::Service final : public v1::InferenceService::Service {
 public:
  explicit Service(FakeInference& fake) : fake_(fake) {}

  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        grpc::ServerWriter<v1::GenerateResponse>* writer) override {
    ServedRequest served = {.request = *request, .arrival = absl::Now()};
    InferenceScript script;
    {
      absl::MutexLock lock(&fake_.mutex_);
      script = fake_.script_;
      if (fake_.arrived_++ % script.fault_every != 0) script.fault = Fault::kNone;
      if (fake_.running_.size() >= script.requests_max) {
        return Ended(QueueFull({.message = "full"}));
      }
      if (!fake_.running_.emplace(request->request_id(), Running()).second) {
        return Ended(DuplicateRequest(request->request_id()));
      }
      fake_.running_max_ = std::max<int>(fake_.running_max_, fake_.running_.size());
    }
    const grpc::Status status = Answer(*context, script, served, *writer);
    served.code = status.error_code();
    absl::MutexLock lock(&fake_.mutex_);
    fake_.running_.erase(request->request_id());
    fake_.served_.push_back(std::move(served));
    return status;
  }

  grpc::Status Cancel(grpc::ServerContext*, const v1::CancelRequest* request,
                      v1::CancelResponse* response) override {
    absl::MutexLock lock(&fake_.mutex_);
    ++fake_.cancels_;
    const auto running = fake_.running_.find(request->request_id());
    if (running != fake_.running_.end()) running->second.cancelled = true;
    response->set_found(running != fake_.running_.end());
    return grpc::Status::OK;
  }

  grpc::Status Detokenize(grpc::ServerContext*, const v1::DetokenizeRequest* request,
                          v1::DetokenizeResponse* response) override {
    for (const uint32_t id : request->token_ids()) {
      const auto* end = std::end(kSpecials);
      const bool special = std::find(std::begin(kSpecials), end, id) != end;
      if (special && request->skip_special()) continue;
      absl::StrAppend(response->mutable_text(), special ? "<" : "t", id);
    }
    return grpc::Status::OK;
  }

  grpc::Status GetModelInfo(grpc::ServerContext*, const v1::GetModelInfoRequest*,
                            v1::GetModelInfoResponse* response) override {
    response->set_model("fake");
    response->set_vocab_size(kVocabulary);
    response->set_context_tokens_max(4096);
    response->add_eos_token_ids(1);
    return grpc::Status::OK;
  }

 private:
  // Whether the call goes on at `time`.
  bool SleepUntil(grpc::ServerContext& context, const std::string& id, absl::Time time,
                  bool& by_id) {
    while (true) {
      if (context.IsCancelled()) return false;
      {
        absl::MutexLock lock(&fake_.mutex_);
        by_id = fake_.running_[id].cancelled;
      }
      const absl::Duration left = time - absl::Now();
      if (by_id || left <= absl::ZeroDuration()) return !by_id;
      absl::SleepFor(std::min(left, kLook));
    }
  }

  static uint32_t TokenAt(const v1::GenerateRequest& request, uint32_t index, Fault fault) {
    const auto& prompt = request.token_ids().ids();
    if (index == 1 && fault == Fault::kForeignToken) return 500;  // of no prompt
    const uint32_t shift = index == 1 && fault == Fault::kSwappedToken ? 1 : 0;
    return prompt.Get(static_cast<int>((index + shift) % prompt.size()));
  }

  static void Accept(const v1::GenerateRequest& request,
                     grpc::ServerWriter<v1::GenerateResponse>& writer) {
    v1::GenerateResponse accepted;
    accepted.mutable_accepted()->set_request_id(request.request_id());
    accepted.mutable_accepted()->set_prompt_tokens(request.token_ids().ids_size());
    writer.Write(accepted);
  }

  static void Finish(v1::FinishReason reason, uint32_t tokens, const ServedRequest& served,
                     grpc::ServerWriter<v1::GenerateResponse>& writer) {
    v1::GenerateResponse finished;
    finished.mutable_finished()->set_reason(reason);
    finished.mutable_finished()->mutable_usage()->set_completion_tokens(tokens);
    v1::Timing& timing = *finished.mutable_finished()->mutable_timing();
    *timing.mutable_prefill() = ToProto(served.deltas.front() - served.arrival);
    *timing.mutable_ttft() = timing.prefill();
    *timing.mutable_total() = ToProto(absl::Now() - served.arrival);
    writer.Write(finished);
  }

  grpc::Status Answer(grpc::ServerContext& context, const InferenceScript& script,
                      ServedRequest& served, grpc::ServerWriter<v1::GenerateResponse>& writer) {
    const v1::GenerateRequest& request = served.request;
    const uint32_t wanted = request.max_tokens() - (script.fault == Fault::kShort ? 1 : 0);
    if (script.fault != Fault::kAcceptedLate) Accept(request, writer);
    uint32_t sent = 0;
    for (absl::Time due = served.arrival + script.first_token; sent < wanted; due += script.gap) {
      bool by_id = false;
      if (!SleepUntil(context, request.request_id(), due, by_id)) {
        if (!by_id) return grpc::Status(grpc::StatusCode::CANCELLED, "gone");
        Finish(v1::FINISH_REASON_CANCELLED, sent, served, writer);
        return grpc::Status::OK;
      }
      if (sent > 0 && script.fault == Fault::kError) {
        return grpc::Status(grpc::StatusCode::INTERNAL, "broken");
      }
      if (sent > 0 && script.fault == Fault::kLost) return Ended(WorkerLost({.message = "gone"}));
      v1::GenerateResponse delta;
      const bool skip = sent > 0 && script.fault == Fault::kSkipIndex;
      delta.mutable_delta()->set_first_index(sent + (skip ? 1 : 0));
      for (int i = 0; i < script.delta_tokens && sent < wanted; ++i) {
        delta.mutable_delta()->add_token_ids(TokenAt(request, sent++, script.fault));
      }
      served.deltas.push_back(absl::Now());
      writer.Write(delta);
      if (script.fault == Fault::kRepeatIndex) writer.Write(delta);
      if (script.fault == Fault::kAcceptedLate && served.deltas.size() == 1) {
        Accept(request, writer);
      }
    }
    const uint32_t told = sent + (script.fault == Fault::kMiscount ? 1 : 0);
    if (script.fault != Fault::kNoFinished) {
      Finish(v1::FINISH_REASON_LENGTH, told, served, writer);
    }
    return grpc::Status::OK;
  }

  FakeInference& fake_;
};

FakeInference::FakeInference(const InferenceScript& script)
    : script_(script), service_(std::make_unique<Service>(*this)) {
  auto server = RpcServer::Create({.listen = "127.0.0.1:0", .services = {service_.get()}});
  CHECK(server.ok());
  server_ = *std::move(server);
}

FakeInference::~FakeInference() {
  server_.reset();
}

std::string FakeInference::target() const {
  return absl::StrCat("127.0.0.1:", server_->port());
}

void FakeInference::Set(const InferenceScript& script) {
  absl::MutexLock lock(&mutex_);
  script_ = script;
}

std::vector<ServedRequest> FakeInference::served() const {
  absl::MutexLock lock(&mutex_);
  return served_;
}

int FakeInference::running_max() const {
  absl::MutexLock lock(&mutex_);
  return running_max_;
}

int FakeInference::cancels() const {
  absl::MutexLock lock(&mutex_);
  return cancels_;
}

}  // namespace tandem
