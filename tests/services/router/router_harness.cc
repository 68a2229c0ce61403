// SPDX-License-Identifier: Apache-2.0
#include "tests/services/router/router_harness.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/config/service_config.h"
#include "services/runtime/rpc/status.h"

namespace tandem {
namespace {

constexpr absl::string_view kModelDir = TANDEM_SOURCE_DIR "/deploy/models/tiny-v4";

template <typename T, typename Field>
void Append(std::vector<T>& to, const Field& from) {
  to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

Outcome::Joined Outcome::Choice(uint32_t choice) const {
  Joined out;
  for (const v1::GenerateResponse& event : events) {
    if (event.has_finished() && event.finished().choice() == choice) {
      out.finished.push_back(event.finished());
    }
    if (!event.has_delta() || event.delta().choice() != choice) continue;
    const v1::Delta& delta = event.delta();
    if (delta.first_index() != out.token_ids.size()) out.gaps = true;
    out.text += delta.text();
    out.reasoning += delta.reasoning();
    Append(out.token_ids, delta.token_ids());
    Append(out.logprobs, delta.logprobs());
    Append(out.top, delta.top());
    Append(out.tool_calls, delta.tool_calls());
    Append(out.prompt_logprobs, delta.prompt_logprobs());
  }
  return out;
}

RouterHarness::RouterHarness(v1::RouterConfig config, FakeWorkerOptions decode, std::string key)
    : key_(std::move(key)) {
  auto model = ServedModel::Load(std::string(kModelDir), "tiny-v4");
  CHECK(model.ok());
  model_ = *std::move(model);
  prefill_ =
      std::make_unique<FakeWorker>(stage_, FakeWorkerOptions{.role = v1::WORKER_ROLE_PREFILL});
  decode.role = v1::WORKER_ROLE_DECODE;
  decode_ = std::make_unique<FakeWorker>(stage_, decode);
  config.set_listen("127.0.0.1:0");
  config.set_model_dir(std::string(kModelDir));
  config.add_prefill_workers(prefill_->endpoint());
  config.add_decode_workers(decode_->endpoint());
  ApplyDefaults(config);
  auto router = Router::Create(config);
  CHECK(router.ok());
  router_ = *std::move(router);
  channel_ = std::make_unique<Channel>(
      ChannelOptions{.endpoint = absl::StrCat("127.0.0.1:", router_->port())});
  WaitForWorkers();
}

std::unique_ptr<v1::InferenceService::Stub> RouterHarness::Client() const {
  return channel_->NewStub<v1::InferenceService>();
}

// The context shrinks to the workers' once one is known.
void RouterHarness::WaitForWorkers() const {
  for (int i = 0; i < 1000; ++i) {
    grpc::ClientContext context;
    ShowKey(key_, context);
    v1::GetModelInfoResponse info;
    CHECK(Client()->GetModelInfo(&context, {}, &info).ok());
    if (info.context_tokens_max() == 4096 && router_->serving()) return;
    absl::SleepFor(absl::Milliseconds(10));
  }
  CHECK(false);
}

std::vector<uint32_t> RouterHarness::Script(absl::string_view text) const {
  const auto prompt = model_->FromText(text);
  CHECK(prompt.ok());
  std::vector<uint32_t> tokens = prompt->token_ids;
  tokens.push_back(model_->eos_token_id());
  return tokens;
}

Outcome RouterHarness::Generate(const v1::GenerateRequest& request, absl::Duration timeout,
                                const std::string& key) const {
  grpc::ClientContext context;
  ShowKey(key.empty() ? key_ : key, context);
  SetDeadline(context, Clock::Real().Now() + timeout);
  const auto stub = Client();
  const auto reader = stub->Generate(&context, request);
  Outcome out;
  v1::GenerateResponse event;
  while (reader->Read(&event)) out.events.push_back(event);
  out.status = FromGrpcStatus(reader->Finish());
  return out;
}

double MetricOf(const Router& router, const std::string& name, const std::string& label) {
  double sum = 0;
  const std::string text = router.MetricsText();
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::StartsWith(line, name + "{") || !absl::StrContains(line, label)) continue;
    double value = 0;
    CHECK(absl::SimpleAtod(line.substr(line.rfind(' ') + 1), &value));
    sum += value;
  }
  return sum;
}

bool Becomes(const Router& router, const WantedMetric& wanted) {
  const absl::Time end = absl::Now() + absl::Seconds(10);
  while (MetricOf(router, wanted.name, wanted.label) != wanted.value) {
    if (absl::Now() > end) return false;
    absl::SleepFor(absl::Milliseconds(5));
  }
  return true;
}

void ShowKey(const std::string& key, grpc::ClientContext& context) {
  if (!key.empty()) context.AddMetadata("authorization", absl::StrCat("Bearer ", key));
}

v1::GenerateRequest TextRequest(const std::string& text) {
  v1::GenerateRequest request;
  request.set_text(text);
  request.mutable_sampling()->set_temperature(0);
  request.set_max_tokens(100);
  return request;
}

v1::GenerateRequest ChatRequest(const std::string& question) {
  v1::GenerateRequest request;
  auto* message = request.mutable_chat()->add_messages();
  message->set_role("user");
  message->set_content(question);
  return request;
}

}  // namespace tandem
