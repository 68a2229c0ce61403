// SPDX-License-Identifier: Apache-2.0
// GenerateReactor: one client's Generate stream: admission, tokens, a session and an answer a
// choice, deadline, heartbeats, and the one end.
//
// Made with new by the service, deletes itself when gRPC and every call of its sessions are done
// with it. All of its work runs on its strand; everything outside (gRPC, timer, Cancel) only posts.
// What the client does not read is bounded: a stream that falls further behind ends with
// SLOW_READER.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "grpcpp/alarm.h"
#include "services/router/answer/answer.h"
#include "services/router/answer/served_model.h"
#include "services/router/choice_report.h"
#include "services/router/keys/api_keys.h"
#include "services/router/request_table.h"
#include "services/router/request_validator.h"
#include "services/router/session.h"
#include "services/runtime/metrics/router_metrics.h"
#include "services/runtime/rpc/stream_writer.h"
#include "tandem/v1/config.pb.h"
#include "tandem/v1/inference.grpc.pb.h"

namespace tandem {

// What all requests share; outlives them.
struct RouterParts {
  const v1::RouterConfig& config;
  const ServedModel& model;
  WorkerTable& workers;
  RequestTable& requests;
  RouterMetrics& metrics;
  ApiKeys* keys = nullptr;  // null: whoever comes may ask

  // The limits of now: the context is the model's, cut to what a worker that is up can hold.
  RequestLimits Limits() const {
    const uint32_t workers_max = workers.ContextTokensMax();
    const uint32_t model_max = model.context_tokens_max();
    return {.model = model.name(),
            .vocab_size = model.vocab_size(),
            .context_tokens_max = workers_max == 0 ? model_max : std::min(model_max, workers_max),
            .logprobs_max = config.logprobs_max(),
            .choices_max = config.choices_max(),
            .max_tokens_default = config.max_tokens_default()};
  }
};

class GenerateReactor final : public StreamWriter<v1::GenerateResponse> {
 public:
  // `request` lives as long as the call.
  GenerateReactor(const RouterParts& parts, grpc::CallbackServerContext* context,
                  const v1::GenerateRequest* request);

 private:
  // One choice: its way, its text, its times.
  struct Choice {
    std::unique_ptr<Session> session;
    std::unique_ptr<Answer> answer;
    std::unique_ptr<ChoiceReport> report;
    uint32_t prefilled_tokens = 0;
    bool ended = false;
  };

  ~GenerateReactor() override = default;
  size_t Weight(const v1::GenerateResponse& message) const override;
  bool Coalesce(v1::GenerateResponse& last, v1::GenerateResponse& next) override;
  void OnWaited(absl::Duration waited) override {
    parts_.metrics.stream_backpressure.Increment(absl::ToDoubleSeconds(waited));
  }
  void OnCancelled() override;
  void OnFinished() override;

  // In the order of a request.
  void Begin();
  absl::Status Admit();
  absl::StatusOr<Prompt> Tokenize() const;
  absl::Status MakeChoices();
  absl::StatusOr<std::unique_ptr<Session>> MakeSession(uint32_t index,
                                                       const v1::SamplingParams& sampling);
  void OnSession(uint32_t index, SessionEvent event);
  void OnReserved(Choice& choice);
  void OnPrefilled(Choice& choice, const v1::PrefillDone& done);
  void OnGenerated(Choice& choice, const v1::DecodeServiceGenerateResponse& message);
  void OnEnded(uint32_t index, const absl::Status& status);
  // Tokens become text.
  template <typename Tokens>
  void Read(Choice& choice, const Tokens& tokens);
  // Writes what is due, and stops the session of an answer that is complete.
  void Deliver(Choice& choice);
  void Send(v1::GenerateResponse message, absl::Time now);
  void SendFinished(uint32_t index);

  // The first reason wins; every session stops.
  void EndAll(absl::Status status, v1::FinishReason reason);
  void MaybeClose();

  void ArmTimer();
  void OnTimer();
  void SendHeartbeat();
  void Log() const;

  const RouterParts& parts_;
  const v1::GenerateRequest& request_;
  const std::string authorization_;
  const absl::Time arrival_;
  const absl::Time deadline_;
  const TraceContext trace_;
  Strand strand_;
  std::string id_;
  std::string key_name_;  // of the API key; empty where none is wanted
  Prompt prompt_;
  uint32_t tokens_max_ = 0;
  std::vector<std::unique_ptr<Choice>> choices_;
  size_t reserved_ = 0;
  bool admitted_ = false;  // stands in the request table
  bool accepted_ = false;  // Accepted was sent
  bool closed_ = false;
  absl::Time tokenized_;
  absl::Time closed_at_;
  // Set once the request ends for all choices at once.
  std::optional<v1::FinishReason> end_reason_;
  absl::Status end_status_;
  std::unique_ptr<grpc::Alarm> timer_;
  absl::Time last_sent_;
  // Callbacks to come that are not the sessions': the timer, a cancel on its way. Others may add
  // while the request stands in the table.
  std::atomic<int> pending_{0};
};

}  // namespace tandem
