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

class ReleaseCall {
 public:
  static void Start(std::unique_ptr<Assignment> workers, const v1::Reservation& reservation) {
    v1::DecodeService::Stub& stub = workers->decode().decode();
    auto* call = new ReleaseCall(std::move(workers));
    *call->request_.mutable_reservation() = reservation;
    SetDeadline(call->context_, Clock::Real().Now() + kReleaseTimeout);
    call->Order();
    stub.async()->Release(&call->context_, &call->request_, &call->response_,
                          [call](const grpc::Status&) {
                            call->Order();
                            delete call;
                          });
  }

 private:
  explicit ReleaseCall(std::unique_ptr<Assignment> workers) : workers_(std::move(workers)) {}

  // gRPC hands the call from one thread to the other by means that TSan cannot see.
  void Order() { absl::MutexLock lock(&mutex_); }

  const std::unique_ptr<Assignment> workers_;  // destroyed last: their links outlive the call
  absl::Mutex mutex_;
  grpc::ClientContext context_;
  v1::ReleaseRequest request_;
  v1::ReleaseResponse response_;
};

}  // namespace

void GiveBack(std::unique_ptr<Assignment> workers, const v1::Reservation& reservation) {
  ReleaseCall::Start(std::move(workers), reservation);
}

}  // namespace tandem
