// SPDX-License-Identifier: Apache-2.0
#include "services/router/router_service.h"

#include <string>
#include <vector>

#include "services/router/request_validator.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/rpc/status.h"

namespace tandem {
namespace {

grpc::ServerUnaryReactor* Answered(grpc::CallbackServerContext* context,
                                   const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

absl::Status TokenizeInto(const ServedModel& model, const v1::TokenizeRequest& request,
                          v1::TokenizeResponse& response) {
  RETURN_IF_ERROR(ValidateTokenize(request));
  const auto prompt = request.has_text() ? model.FromText(request.text())
                                         : model.FromChat({.chat = request.chat(),
                                                           .thinking = request.thinking(),
                                                           .effort = request.reasoning_effort()});
  if (!prompt.ok()) return prompt.status();
  response.set_text(prompt->text);
  response.mutable_token_ids()->Add(prompt->token_ids.begin(), prompt->token_ids.end());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> RouterService::Identify(
    const grpc::CallbackServerContext& context) const {
  std::string key;
  if (parts_.keys != nullptr) RETURN_IF_ERROR(parts_.keys->Identify(AuthorizationOf(context), key));
  return key;
}

grpc::ServerWriteReactor<v1::GenerateResponse>* RouterService::Generate(
    grpc::CallbackServerContext* context, const v1::GenerateRequest* request) {
  return new GenerateReactor(parts_, context, request);
}

grpc::ServerUnaryReactor* RouterService::Cancel(grpc::CallbackServerContext* context,
                                                const v1::CancelRequest* request,
                                                v1::CancelResponse* response) {
  const absl::StatusOr<std::string> key = Identify(*context);
  if (!key.ok()) return Answered(context, key.status());
  if (request->request_id().empty())
    return Answered(context, InvalidField("request_id", "is required"));
  response->set_found(parts_.requests.Cancel({.key = *key, .id = request->request_id()}));
  return Answered(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* RouterService::Tokenize(grpc::CallbackServerContext* context,
                                                  const v1::TokenizeRequest* request,
                                                  v1::TokenizeResponse* response) {
  absl::Status status = Identify(*context).status();
  if (status.ok()) status = TokenizeInto(parts_.model, *request, *response);
  return Answered(context, status);
}

grpc::ServerUnaryReactor* RouterService::Detokenize(grpc::CallbackServerContext* context,
                                                    const v1::DetokenizeRequest* request,
                                                    v1::DetokenizeResponse* response) {
  absl::Status valid = Identify(*context).status();
  valid.Update(ValidateDetokenize(*request, parts_.Limits()));
  valid.Update(parts_.model.NeedTokenizer("token_ids"));
  if (!valid.ok()) return Answered(context, valid);
  const std::vector<int32_t> ids(request->token_ids().begin(), request->token_ids().end());
  response->set_text(
      parts_.model.tokenizer()->Decode(ids, {.skip_special = request->skip_special()}));
  return Answered(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* RouterService::GetModelInfo(grpc::CallbackServerContext* context,
                                                      const v1::GetModelInfoRequest*,
                                                      v1::GetModelInfoResponse* response) {
  if (const auto key = Identify(*context); !key.ok()) return Answered(context, key.status());
  const RequestLimits limits = parts_.Limits();
  response->set_model(limits.model);
  response->set_vocab_size(limits.vocab_size);
  response->set_context_tokens_max(limits.context_tokens_max);
  response->set_logprobs_max(limits.logprobs_max);
  response->set_choices_max(limits.choices_max);
  response->set_max_tokens_default(limits.max_tokens_default);
  response->add_eos_token_ids(parts_.model.eos_token_id());
  return Answered(context, absl::OkStatus());
}

}  // namespace tandem
