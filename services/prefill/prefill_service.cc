// SPDX-License-Identifier: Apache-2.0
#include "services/prefill/prefill_service.h"

#include <utility>

#include "services/runtime/rpc/status.h"

namespace tandem {

grpc::ServerWriteReactor<v1::PrefillResponse>* PrefillServiceImpl::Prefill(
    grpc::CallbackServerContext* /*context*/, const v1::PrefillRequest* request) {
  auto* stream = new PrefillStream([this](const PrefillStream* cancelled) {
    loop_.PostAlways(PrefillCancel{.stream = cancelled});
  });
  PrefillCommand command{.request = *request, .stream = stream, .arrived = Clock::Real().Now()};
  if (!loop_.Post(std::move(command))) {
    stream->Close(QueueFull({.message = "the prefill worker's queue is full"}));
  }
  return stream;
}

}  // namespace tandem
