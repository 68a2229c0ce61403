// SPDX-License-Identifier: Apache-2.0
// PrefillServiceImpl: the RPC surface of a prefill worker: a call becomes an event of the loop and
// returns. Thread-safe.
#pragma once

#include "services/prefill/prefill_loop.h"
#include "tandem/v1/worker.grpc.pb.h"

namespace tandem {

class PrefillServiceImpl final : public v1::PrefillService::CallbackService {
 public:
  // Borrows the loop.
  explicit PrefillServiceImpl(PrefillLoop& loop) : loop_(loop) {}

  grpc::ServerWriteReactor<v1::PrefillResponse>* Prefill(
      grpc::CallbackServerContext* context, const v1::PrefillRequest* request) override;

 private:
  PrefillLoop& loop_;
};

}  // namespace tandem
