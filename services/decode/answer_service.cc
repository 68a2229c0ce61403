// SPDX-License-Identifier: Apache-2.0
#include "services/decode/answer_service.h"

#include <utility>

#include "services/decode/answers/answer_call.h"
#include "services/runtime/base/random.h"
#include "services/runtime/rpc/trace/trace_context.h"

namespace tandem {

grpc::ServerWriteReactor<v1::TokensResponse>* AnswerServiceImpl::Tokens(
    grpc::CallbackServerContext* /*context*/, const v1::TokensRequest* /*request*/) {
  // By a name that no other caller guesses.
  auto* stream = new TokenStream(RandomId(), tokens_max_, [this](uint64_t lost) {
    (void)loop_.PostAlways(TokensLostCommand{.stream = lost});
  });
  if (!loop_.PostAlways(TokensOpenedCommand{.stream = stream})) stream->Close(LoopGone());
  return stream;
}

grpc::ServerUnaryReactor* AnswerServiceImpl::Answer(grpc::CallbackServerContext* context,
                                                    const v1::AnswerRequest* request,
                                                    v1::AnswerResponse* response) {
  auto* call = new AnswerCall(
      {.stream = request->stream(), .answer = request->answer()}, *response,
      RequestLine(request->request().request_id(), TraceOf(context->client_metadata()).id()),
      [this](const AnswerSink* cancelled) {
        (void)loop_.PostAlways(CancelCommand{.sink = cancelled});
      });
  // Admitted by its reservation: the queue's bound is not for it.
  if (!loop_.PostAlways(GenerateCommand{.request = request->request(), .sink = call})) {
    call->Close(LoopGone());
  }
  return call;
}

}  // namespace tandem
