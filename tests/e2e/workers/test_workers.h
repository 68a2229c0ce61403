// SPDX-License-Identifier: Apache-2.0
// A decode and a prefill worker in this process, on tiny-v4, with real gRPC between them: what
// main() builds, without a main().
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "services/decode/answer_service.h"
#include "services/decode/decode_service.h"
#include "services/prefill/prefill_service.h"
#include "services/runtime/loader/loaded_model.h"
#include "services/runtime/rpc/channel.h"
#include "services/runtime/rpc/server.h"

namespace tandem {

// Loaded once a test binary.
const LoadedModel& TinyModel();

class TestDecode {
 public:
  struct Options {
    int pages = 64;
    int slots = 8;
    int batch_max = 8;
    absl::Duration lease_ttl = absl::Seconds(60);
    bool shared = true;
    kernels::Backend* backend = &kernels::HostBackend();  // of the pool
    Nccl* nccl = nullptr;
  };
  explicit TestDecode(const Options& options);
  ~TestDecode();

  v1::DecodeService::Stub& stub() { return *stub_; }
  v1::AnswerService::Stub& answers() { return *answers_stub_; }
  DecodeLoop& loop() { return *loop_; }
  const std::string& endpoint() const { return endpoint_; }
  // Newest state from Watch.
  v1::WatchResponse State();
  // What a watcher that comes now is told first.
  v1::WatchResponse Published() const { return watch_.state(); }
  // True once all memory is free.
  bool AllFreeWithin(absl::Duration limit);

 private:
  const Options options_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<MetricsRegistry> registry_;
  std::unique_ptr<DecodeMetrics> metrics_;
  WatchService watch_;
  std::unique_ptr<NcclPort> nccl_;
  std::unique_ptr<DecodeLoop> loop_;
  std::unique_ptr<DecodeServiceImpl> service_;
  std::unique_ptr<AnswerServiceImpl> answers_;
  std::unique_ptr<RpcServer> server_;
  std::string endpoint_;
  std::unique_ptr<Channel> channel_;
  std::unique_ptr<v1::DecodeService::Stub> stub_;
  std::unique_ptr<v1::AnswerService::Stub> answers_stub_;
  std::unique_ptr<v1::WorkerService::Stub> worker_stub_;
};

class TestPrefill {
 public:
  struct Options {
    int chunk_tokens = 64;
    int requests_max = 32;
    int staging_pages = 16;
    int staging_slots = 4;
    v1::KvChannelKind preferred = v1::KV_CHANNEL_KIND_SHARED;
    bool strict = false;
    absl::Duration link_timeout = absl::Seconds(20);
    std::vector<std::string> decode_workers_allowed = {};
    kernels::Backend* backend = &kernels::HostBackend();  // of the staging pool
    Nccl* nccl = nullptr;
    absl::Duration nccl_limit = absl::Seconds(10);
    // Makes another of the engine.
    std::function<std::unique_ptr<Engine>(std::unique_ptr<Engine>)> engine = nullptr;
  };
  explicit TestPrefill(const Options& options);
  ~TestPrefill();

  v1::PrefillService::Stub& stub() { return *stub_; }
  PrefillLoop& loop() { return *loop_; }
  std::string Metrics() const { return registry_->Text(); }

 private:
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<MetricsRegistry> registry_;
  std::unique_ptr<PrefillMetrics> metrics_;
  WatchService watch_;
  std::unique_ptr<NcclPort> nccl_;
  std::unique_ptr<PrefillLoop> loop_;
  std::unique_ptr<PrefillServiceImpl> service_;
  std::unique_ptr<RpcServer> server_;
  std::unique_ptr<Channel> channel_;
  std::unique_ptr<v1::PrefillService::Stub> stub_;
};

// The way of a request as the router goes it, synchronously.
struct Answer {
  absl::Status status;
  std::vector<int32_t> tokens;
  std::vector<float> prompt_logprobs;
  v1::FinishReason reason = v1::FINISH_REASON_UNSPECIFIED;
};
struct Question {
  std::vector<int32_t> prompt;
  int max_tokens = 16;
  bool prompt_logprobs = false;
  v1::SamplingParams sampling;
  std::vector<uint32_t> stop_token_ids;
};
v1::SamplingParams Greedy();
absl::StatusOr<v1::Reservation> Reserve(TestDecode& decode, int tokens);
absl::Status Release(TestDecode& decode, const v1::Reservation& reservation);
absl::StatusOr<v1::PrefillDone> Prefill(TestPrefill& prefill, const Question& question,
                                        const v1::Reservation& where);
// What comes after Prefill.
v1::DecodeServiceGenerateRequest GenerateRequestOf(const Question& question,
                                                   const v1::Reservation& reservation,
                                                   uint32_t first_token);
Answer Ask(TestPrefill& prefill, TestDecode& decode, const Question& question);

// Prompt and greedy answer of a golden of tiny-v4.
struct Golden {
  std::vector<int32_t> prompt;
  std::vector<int32_t> answer;
};
Golden TinyGolden(const std::string& name);

// A golden's prompt that is sent, to be cancelled or to end.
class SentPrompt {
 public:
  SentPrompt(TestPrefill& prefill, const Golden& golden, const v1::Reservation& where);
  void Cancel() { context_.TryCancel(); }
  absl::Status End();

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::PrefillResponse>> reader_;
};

// Whether the prefill loop answers, again and again: what ended a prompt reaches it at its leisure.
bool LoopAnswers(TestPrefill& prefill);

}  // namespace tandem
