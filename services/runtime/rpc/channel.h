// SPDX-License-Identifier: Apache-2.0
// Channel: a connection to one endpoint, kept alive by pings, with bounded messages and a reconnect
// pause of at most 0.3 s; a name is looked up again when its address does not answer. Every Channel
// has connections of its own. Thread-safe; stubs outlive it.
#pragma once

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/generic/generic_stub.h"
#include "services/runtime/rpc/tls/credentials.h"

namespace tandem {

struct ChannelOptions {
  std::string endpoint;                      // host:port
  int message_bytes_max = 64 << 20;          // received, one message
  ChannelCredentials credentials = nullptr;  // null = plain text
  std::string server_name;  // what the server's certificate must carry; empty = the endpoint's host
};

class Channel {
 public:
  // Connects lazily: a wrong endpoint shows in the first call.
  explicit Channel(const ChannelOptions& options);

  // Service: InferenceService and the like.
  template <typename Service>
  std::unique_ptr<typename Service::Stub> NewStub() const {
    return Service::NewStub(channel_);
  }

  // For methods without generated code.
  std::unique_ptr<grpc::GenericStub> NewGenericStub() const {
    return std::make_unique<grpc::GenericStub>(channel_);
  }

  // False when the endpoint was not reached in time.
  bool WaitForConnected(absl::Duration timeout) const;

 private:
  decltype(grpc::CreateChannel(std::string(), nullptr)) channel_;
};

// The call ends with DEADLINE_EXCEEDED at `deadline`. InfiniteFuture = none.
void SetDeadline(grpc::ClientContext& context, absl::Time deadline);

// The caller's deadline, on the base of Clock::Real(); InfiniteFuture = none.
absl::Time DeadlineOf(std::chrono::system_clock::time_point deadline);

}  // namespace tandem
