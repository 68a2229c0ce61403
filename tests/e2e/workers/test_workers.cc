// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/workers/test_workers.h"

#include <fstream>
#include <utility>

#include "absl/time/clock.h"
#include "nlohmann/json.hpp"
#include "services/runtime/base/check.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/engine/model_engine.h"
#include "services/runtime/rpc/status.h"
#include "services/runtime/transfer/wire.h"
#include "tests/e2e/ports/free_port.h"

namespace tandem {
namespace {

KvLayout LayoutOf(int pages, int slots) {
  auto layout = KvLayout::Create(TinyModel().config(), {.pages = pages, .slots = slots});
  CHECK(layout.ok());
  return *std::move(layout);
}

std::unique_ptr<Engine> MakeEngine(const StepLimits& limits) {
  auto engine = ModelEngine::Create({.config = TinyModel().config(),
                                     .weights = TinyModel().weights(),
                                     .kernels = kernels::kCpuKernels},
                                    limits);
  CHECK(engine.ok());
  return *std::move(engine);
}

std::unique_ptr<MetricsRegistry> MakeRegistry(ProcessRole role) {
  auto registry = MetricsRegistry::Create(
      {.role = role, .model_name = "tiny-v4", .listen = "", .version = "test"});
  CHECK(registry.ok());
  return *std::move(registry);
}

std::unique_ptr<RpcServer> Serve(std::vector<grpc::Service*> services) {
  auto server = RpcServer::Create({.listen = "127.0.0.1:0", .services = std::move(services)});
  CHECK(server.ok());
  return *std::move(server);
}

}  // namespace

const LoadedModel& TinyModel() {
  static const LoadedModel* const kModel = [] {
    auto loaded = LoadedModel::Load(
        {.folder = TANDEM_SOURCE_DIR "/deploy/models/tiny-v4", .kernels = kernels::kCpuKernels});
    CHECK(loaded.ok());
    return std::move(loaded)->release();
  }();
  return *kModel;
}

TestDecode::TestDecode(const Options& options)
    : options_(options),
      engine_(MakeEngine({.max_tokens_per_step = options.batch_max,
                          .max_chunks_per_step = options.batch_max,
                          .max_positions = options.pages * kPageTokens})),
      registry_(MakeRegistry(ProcessRole::kDecode)),
      metrics_(std::make_unique<DecodeMetrics>(*registry_)) {
  const KvLayout layout = LayoutOf(options.pages, options.slots);
  auto storage = options.shared ? KvStorage::CreateShared(layout, {&options.backend, 1})
                                : KvStorage::CreatePrivate(layout, {&options.backend, 1});
  CHECK(storage.ok());
  if (options.nccl != nullptr)
    nccl_ = std::make_unique<NcclPort>(*options.nccl, KvStorage::Backends(&options_.backend, 1));
  static uint64_t incarnation = 1000;
  loop_ = std::make_unique<DecodeLoop>(
      DecodeLoop::Options{.incarnation = ++incarnation,
                          .lease_seed = 1,
                          .lease_ttl = options.lease_ttl,
                          .batch_max = options.batch_max,
                          .context_tokens_max = options.pages * kPageTokens},
      DecodeLoop::Parts{.engine = *engine_,
                        .storage = *std::move(storage),
                        .watch = watch_,
                        .metrics = *metrics_,
                        .nccl = nccl_.get()});
  endpoint_ = absl::StrCat("127.0.0.1:", FreePort());
  service_ = std::make_unique<DecodeServiceImpl>(
      DecodeServiceImpl::Options{.endpoint = endpoint_, .lease_ttl = options.lease_ttl}, *loop_);
  answers_ = std::make_unique<AnswerServiceImpl>(size_t{4096}, *loop_);
  auto server = RpcServer::Create(
      {.listen = endpoint_, .services = {service_.get(), answers_.get(), &watch_}});
  CHECK(server.ok());
  server_ = *std::move(server);
  channel_ = std::make_unique<Channel>(ChannelOptions{.endpoint = endpoint_});
  stub_ = channel_->NewStub<v1::DecodeService>();
  answers_stub_ = channel_->NewStub<v1::AnswerService>();
  worker_stub_ = channel_->NewStub<v1::WorkerService>();
}

TestDecode::~TestDecode() {
  watch_.CloseAll();
  server_->Shutdown(absl::ZeroDuration());
}

v1::WatchResponse TestDecode::State() {
  grpc::ClientContext context;
  const auto reader = worker_stub_->Watch(&context, v1::WatchRequest());
  v1::WatchResponse state;
  // The first is what was published last; the one after it is new.
  CHECK(reader->Read(&state));
  CHECK(reader->Read(&state));
  context.TryCancel();
  while (reader->Read(&state)) {
  }
  (void)reader->Finish();
  return state;
}

bool TestDecode::AllFreeWithin(absl::Duration limit) {
  const absl::Time end = absl::Now() + limit;
  while (absl::Now() < end) {
    const v1::WatchResponse state = State();
    if (state.pages_free() == static_cast<uint32_t>(options_.pages) &&
        state.slots_free() == static_cast<uint32_t>(options_.slots)) {
      return true;
    }
  }
  return false;
}

TestPrefill::TestPrefill(const Options& options)
    : engine_(
          MakeEngine({.max_tokens_per_step = options.chunk_tokens,
                      .max_chunks_per_step = std::min(options.chunk_tokens, options.requests_max),
                      .max_positions = 8192})),
      registry_(MakeRegistry(ProcessRole::kPrefill)),
      metrics_(std::make_unique<PrefillMetrics>(*registry_)) {
  if (options.engine) engine_ = options.engine(std::move(engine_));
  const KvLayout layout = LayoutOf(options.staging_pages, options.staging_slots);
  auto storage = KvStorage::CreatePrivate(layout, {&options.backend, 1});
  CHECK(storage.ok());
  if (options.nccl != nullptr)
    nccl_ = std::make_unique<NcclPort>(*options.nccl, KvStorage::Backends(&options.backend, 1));
  loop_ = std::make_unique<PrefillLoop>(
      PrefillLoop::Options{
          .incarnation = 7,
          .admission = {.requests_max = options.requests_max,
                        .context_tokens_max = 8192,
                        .vocab_size = static_cast<uint32_t>(engine_->config().vocab_size),
                        .chunk_tokens = options.chunk_tokens},
          .preferred = options.preferred,
          .strict = options.strict,
          .link_timeout = options.link_timeout,
          .nccl = {.port = nccl_.get(), .limit = options.nccl_limit},
          .decode_workers_allowed = options.decode_workers_allowed},
      PrefillLoop::Parts{
          .engine = *engine_,
          .staging = {.id = 0,
                      .storage = *std::move(storage),
                      .pages = PagePool(options.staging_pages, options.staging_slots)},
          .watch = watch_,
          .metrics = *metrics_});
  service_ = std::make_unique<PrefillServiceImpl>(*loop_);
  server_ = Serve({service_.get(), &watch_});
  channel_ = std::make_unique<Channel>(
      ChannelOptions{.endpoint = absl::StrCat("127.0.0.1:", server_->port())});
  stub_ = channel_->NewStub<v1::PrefillService>();
}

TestPrefill::~TestPrefill() {
  watch_.CloseAll();
  server_->Shutdown(absl::ZeroDuration());
}

v1::SamplingParams Greedy() {
  v1::SamplingParams out;
  out.set_top_p(1);
  out.set_repetition_penalty(1);
  return out;
}

absl::StatusOr<v1::Reservation> Reserve(TestDecode& decode, int tokens) {
  grpc::ClientContext context;
  v1::ReserveRequest request;
  request.set_tokens(tokens);
  v1::ReserveResponse response;
  const grpc::Status status = decode.stub().Reserve(&context, request, &response);
  if (!status.ok()) return FromGrpcStatus(status);
  return response.reservation();
}

absl::Status Release(TestDecode& decode, const v1::Reservation& reservation) {
  grpc::ClientContext context;
  v1::ReleaseRequest request;
  *request.mutable_reservation() = reservation;
  v1::ReleaseResponse response;
  return FromGrpcStatus(decode.stub().Release(&context, request, &response));
}

absl::StatusOr<v1::PrefillDone> Prefill(TestPrefill& prefill, const Question& question,
                                        const v1::Reservation& where) {
  grpc::ClientContext context;
  v1::PrefillRequest request;
  request.mutable_token_ids()->Add(question.prompt.begin(), question.prompt.end());
  *request.mutable_sampling() = question.sampling;
  request.set_prompt_logprobs(question.prompt_logprobs);
  *request.mutable_reservation() = where;
  const auto reader = prefill.stub().Prefill(&context, request);
  v1::PrefillResponse response;
  std::optional<v1::PrefillDone> done;
  while (reader->Read(&response)) {
    if (response.has_done()) done = response.done();
  }
  const grpc::Status status = reader->Finish();
  if (!status.ok()) return FromGrpcStatus(status);
  CHECK(done.has_value());
  return *done;
}

v1::DecodeServiceGenerateRequest GenerateRequestOf(const Question& question,
                                                   const v1::Reservation& reservation,
                                                   uint32_t first_token) {
  v1::DecodeServiceGenerateRequest request;
  *request.mutable_reservation() = reservation;
  request.set_prompt_tokens(question.prompt.size());
  request.mutable_prompt_token_ids()->Add(question.prompt.begin(), question.prompt.end());
  request.set_first_token(first_token);
  *request.mutable_sampling() = question.sampling;
  request.set_max_tokens(question.max_tokens);
  request.mutable_stop_token_ids()->Add(question.stop_token_ids.begin(),
                                        question.stop_token_ids.end());
  return request;
}

Answer Ask(TestPrefill& prefill, TestDecode& decode, const Question& question) {
  const auto reservation =
      Reserve(decode, static_cast<int>(question.prompt.size()) + question.max_tokens);
  if (!reservation.ok()) return {.status = reservation.status()};
  const auto done = Prefill(prefill, question, *reservation);
  if (!done.ok()) return {.status = done.status()};
  Answer answer{
      .tokens = {static_cast<int32_t>(done->first().id())},
      .prompt_logprobs = {done->prompt_logprobs().begin(), done->prompt_logprobs().end()}};
  grpc::ClientContext context;
  const v1::DecodeServiceGenerateRequest request =
      GenerateRequestOf(question, *reservation, done->first().id());
  const auto reader = decode.stub().Generate(&context, request);
  v1::DecodeServiceGenerateResponse response;
  while (reader->Read(&response)) {
    for (const v1::SampledToken& token : response.tokens()) answer.tokens.push_back(token.id());
    answer.reason = response.reason();
  }
  answer.status = FromGrpcStatus(reader->Finish());
  return answer;
}

Golden TinyGolden(const std::string& name) {
  std::ifstream file(TANDEM_SOURCE_DIR "/tests/golden/model/golden_tiny.json");
  const nlohmann::json all = nlohmann::json::parse(file);
  const nlohmann::json& one = all.at("cases").at(name);
  Golden golden{.prompt = one.at("prompt").get<std::vector<int32_t>>(), .answer = {}};
  for (const auto& step : one.at("decode"))
    golden.answer.push_back(step.at("token").get<int32_t>());
  return golden;
}

SentPrompt::SentPrompt(TestPrefill& prefill, const Golden& golden, const v1::Reservation& where) {
  v1::PrefillRequest request;
  request.mutable_token_ids()->Add(golden.prompt.begin(), golden.prompt.end());
  *request.mutable_sampling() = Greedy();
  *request.mutable_reservation() = where;
  reader_ = prefill.stub().Prefill(&context_, request);
}

absl::Status SentPrompt::End() {
  v1::PrefillResponse response;
  while (reader_->Read(&response)) {
  }
  return FromGrpcStatus(reader_->Finish());
}

bool LoopAnswers(TestPrefill& prefill) {
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    SetDeadline(context, Clock::Real().Now() + absl::Seconds(30));
    const auto probe = prefill.stub().Prefill(&context, v1::PrefillRequest());
    if (probe->Finish().error_code() != grpc::StatusCode::INVALID_ARGUMENT) return false;
    absl::SleepFor(absl::Milliseconds(10));
  }
  return true;
}

}  // namespace tandem
