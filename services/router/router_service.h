// SPDX-License-Identifier: Apache-2.0
// RouterService: the public gRPC surface. Generate is handed to a reactor; the rest is answered at
// once. Thread-safe.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "services/router/generate_reactor.h"
#include "tandem/v1/inference.grpc.pb.h"

namespace tandem {

class RouterService final : public v1::InferenceService::CallbackService {
 public:
  // `parts` outlives the service and every call.
  explicit RouterService(const RouterParts& parts) : parts_(parts) {}

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(
      grpc::CallbackServerContext* context, const v1::GenerateRequest* request) override;
  grpc::ServerUnaryReactor* Cancel(grpc::CallbackServerContext* context,
                                   const v1::CancelRequest* request,
                                   v1::CancelResponse* response) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const v1::DetokenizeRequest* request,
                                       v1::DetokenizeResponse* response) override;
  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* context,
                                         const v1::GetModelInfoRequest* request,
                                         v1::GetModelInfoResponse* response) override;

 private:
  // Whether the caller may ask at all, and by which API key, by name; empty where none is wanted.
  // Only Generate counts against its rate.
  absl::StatusOr<std::string> Identify(const grpc::CallbackServerContext& context) const;

  const RouterParts& parts_;
};

}  // namespace tandem
