// SPDX-License-Identifier: Apache-2.0
// AnswerServiceImpl: many answers on one stream, as commands of the loop. Thread-safe.
#pragma once

#include "services/decode/decode_loop.h"
#include "tandem/v1/answers.grpc.pb.h"

namespace tandem {

class AnswerServiceImpl final : public v1::AnswerService::CallbackService {
 public:
  // Borrows the loop. `tokens_max`: kept for a stream that is not read.
  AnswerServiceImpl(size_t tokens_max, DecodeLoop& loop) : tokens_max_(tokens_max), loop_(loop) {}

  grpc::ServerWriteReactor<v1::TokensResponse>* Tokens(grpc::CallbackServerContext* context,
                                                       const v1::TokensRequest* request) override;
  grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context,
                                   const v1::AnswerRequest* request,
                                   v1::AnswerResponse* response) override;

 private:
  const size_t tokens_max_;
  DecodeLoop& loop_;
};

}  // namespace tandem
