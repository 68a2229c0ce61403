// SPDX-License-Identifier: Apache-2.0
// gRPC's credentials of one side of a connection, from a config's Tls; without one, plain text.
//
// The files are looked at first (pem_files.h), and read again within kTlsReload of a change: a
// handshake that begins after that uses the new ones, connections that stand go on. A change that
// is no pair is kept out until it is one. Thread-safe.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/server_credentials.h"
#include "tandem/v1/config.pb.h"

namespace tandem {

inline constexpr absl::Duration kTlsReload = absl::Seconds(2);

using ServerCredentials = decltype(grpc::InsecureServerCredentials());
using ChannelCredentials = decltype(grpc::InsecureChannelCredentials());

// With `tls->ca_file`, clients must show a certificate that it has signed. Null: plain text. Errors
// name `field`.
absl::StatusOr<ServerCredentials> MakeServerCredentials(absl::string_view field,
                                                        const v1::Tls* tls);

// Of a config with `listen` and `tls`.
template <typename Config>
absl::StatusOr<ServerCredentials> ListenCredentials(absl::string_view field, const Config& config) {
  return MakeServerCredentials(field, config.has_tls() ? &config.tls() : nullptr);
}

// The server's certificate must be signed by `ca_file`, or by the system's authorities, and carry
// the endpoint's name.
absl::StatusOr<ChannelCredentials> MakeChannelCredentials(absl::string_view field,
                                                          const v1::Tls* tls);

}  // namespace tandem
