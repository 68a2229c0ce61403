// SPDX-License-Identifier: Apache-2.0
// DecodeServiceImpl: the RPC surface of a decode worker: each call becomes a command of the loop
// and returns. Thread-safe.
#pragma once

#include <atomic>
#include <string>

#include "services/decode/decode_loop.h"
#include "tandem/v1/worker.grpc.pb.h"

namespace tandem {

class DecodeServiceImpl final : public v1::DecodeService::CallbackService {
 public:
  struct Options {
    std::string endpoint;  // under which prefill workers reach this one
    absl::Duration lease_ttl;
    size_t stream_tokens_max = 4096;
  };
  // Borrows the loop.
  DecodeServiceImpl(const Options& options, DecodeLoop& loop) : options_(options), loop_(loop) {}

  grpc::ServerUnaryReactor* Reserve(grpc::CallbackServerContext* context,
                                    const v1::ReserveRequest* request,
                                    v1::ReserveResponse* response) override;
  grpc::ServerUnaryReactor* Release(grpc::CallbackServerContext* context,
                                    const v1::ReleaseRequest* request,
                                    v1::ReleaseResponse* response) override;
  grpc::ServerWriteReactor<v1::DecodeServiceGenerateResponse>* Generate(
      grpc::CallbackServerContext* context,
      const v1::DecodeServiceGenerateRequest* request) override;
  grpc::ServerBidiReactor<v1::LinkRequest, v1::LinkResponse>* Link(
      grpc::CallbackServerContext* context) override;
  grpc::ServerReadReactor<v1::WriteKvRequest>* WriteKv(grpc::CallbackServerContext* context,
                                                       v1::WriteKvResponse* response) override;

 private:
  const Options options_;
  DecodeLoop& loop_;
  std::atomic<LinkId> next_link_ = 1;
};

}  // namespace tandem
