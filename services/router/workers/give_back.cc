// SPDX-License-Identifier: Apache-2.0
#include "services/router/workers/give_back.h"

#include <utility>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/rpc/channel.h"

namespace tandem {
namespace {

constexpr absl::Duration kReleaseTimeout = absl::Seconds(5);

// Lives until the worker has answered.
struct ReleaseCall {
  // gRPC hands the call from one thread to the other by means that TSan cannot see.
  void Order() { absl::MutexLock lock(&mutex); }

  const std::unique_ptr<Assignment> workers;  // destroyed last: their links outlive the call
  absl::Mutex mutex;
  grpc::ClientContext context;
  v1::ReleaseRequest request;
  v1::ReleaseResponse response;
};

}  // namespace

void GiveBack(std::unique_ptr<Assignment> workers, const v1::Reservation& reservation) {
  v1::DecodeService::Stub& stub = workers->decode().decode();
  auto* call = new ReleaseCall{.workers = std::move(workers)};
  *call->request.mutable_reservation() = reservation;
  SetDeadline(call->context, Clock::Real().Now() + kReleaseTimeout);
  call->Order();
  stub.async()->Release(&call->context, &call->request, &call->response,
                        [call](const grpc::Status&) {
                          call->Order();
                          delete call;
                        });
}

}  // namespace tandem
