// SPDX-License-Identifier: Apache-2.0
#include "services/prefill/prefill_service.h"

#include <utility>

#include "services/runtime/rpc/status.h"
#include "services/runtime/rpc/trace/trace_context.h"

namespace tandem {

grpc::ServerWriteReactor<v1::PrefillResponse>* PrefillServiceImpl::Prefill(
    grpc::CallbackServerContext* context, const v1::PrefillRequest* request) {
  RequestLine line(request->request_id(), TraceOf(context->client_metadata()).id());
  auto* stream = new PrefillStream(std::move(line), [this](const PrefillStream* cancelled) {
    loop_.PostAlways(PrefillCancel{.stream = cancelled});
  });
  PrefillCommand command{.request = *request, .stream = stream, .arrived = Clock::Real().Now()};
  if (!loop_.Post(std::move(command))) {
    stream->Close(QueueFull({.message = "the prefill worker's queue is full"}));
  }
  return stream;
}

}  // namespace tandem
