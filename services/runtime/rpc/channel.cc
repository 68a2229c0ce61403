// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/rpc/channel.h"

#include "absl/time/clock.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"
#include "services/runtime/base/clock.h"

namespace tandem {
namespace {

// Not below the 10 s that our servers permit.
constexpr int kKeepaliveMs = 20'000;
constexpr int kKeepaliveTimeoutMs = 10'000;
constexpr int kReconnectMinMs = 100;
// What a process waits at most once the one that it needs has started: all of one machine start
// together, and a model takes seconds to load.
constexpr int kReconnectMaxMs = 250;
// gRPC takes its "minimum back-off" as the time that one attempt may last.
constexpr int kConnectTimeoutMs = 5'000;
// gRPC's own 30 s would be how long a worker that came back with another address stays unseen.
constexpr int kResolveMinMs = 1'000;

}  // namespace

Channel::Channel(const ChannelOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(options.message_bytes_max);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectMinMs);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectTimeoutMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMaxMs);
  arguments.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, kResolveMinMs);
  // A proxy from the environment must not come between two of our processes.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // gRPC's own second try of what no server has seen: while that waits for a connection, a call of
  // a message that is too large to be kept never ends once it is cancelled (1.51).
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  if (!options.server_name.empty()) arguments.SetSslTargetNameOverride(options.server_name);
  channel_ = grpc::CreateCustomChannel(
      options.endpoint,
      options.credentials != nullptr ? options.credentials : grpc::InsecureChannelCredentials(),
      arguments);
}

bool Channel::WaitForConnected(absl::Duration timeout) const {
  return channel_->WaitForConnected(absl::ToChronoTime(absl::Now() + timeout));
}

void SetDeadline(grpc::ClientContext& context, absl::Time deadline) {
  if (deadline == absl::InfiniteFuture()) return;
  const absl::Duration left = deadline - Clock::Real().Now();
  context.set_deadline(absl::ToChronoTime(absl::Now() + left));
}

absl::Time DeadlineOf(std::chrono::system_clock::time_point deadline) {
  if (deadline == std::chrono::system_clock::time_point::max()) return absl::InfiniteFuture();
  return Clock::Real().Now() + (absl::FromChrono(deadline) - absl::Now());
}

}  // namespace tandem
