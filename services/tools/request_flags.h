// SPDX-License-Identifier: Apache-2.0
// The flags that generate and chat share, and the request made of them. Pure but for the files that
// they name.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/runtime/rpc/channel.h"
#include "services/tools/flags.h"
#include "tandem/v1/inference.pb.h"

namespace tandem {

// --target, --timeout and how tokens are chosen.
std::vector<FlagSpec> CommonFlags();
// What the prompt is, and what else is asked for.
std::vector<FlagSpec> GenerateFlags();

// Sampling, lengths and stops; limits are the server's affair.
absl::Status ApplyCommonFlags(const Flags& flags, v1::GenerateRequest& request);
// The whole request, exactly one prompt.
absl::StatusOr<v1::GenerateRequest> MakeRequest(const Flags& flags);

// host:port of --target, or the default.
std::string TargetOf(const Flags& flags);
// --target, --ca, --cert, --key, --server-name and --api-key-file: how a server is reached.
std::vector<FlagSpec> ConnectionFlags();
// A connection to --target, and the key that its calls show. INVALID_ARGUMENT or NOT_FOUND names
// the flag.
struct Connection {
  ChannelOptions channel;
  std::string authorization;  // empty: none
  bool tls = false;

  // Once a call, before it begins.
  void Authorize(grpc::ClientContext& context) const;
};
absl::StatusOr<Connection> ConnectionOf(const Flags& flags);

// From now; InfiniteFuture without --timeout.
absl::StatusOr<absl::Time> DeadlineOf(const Flags& flags);

// A JSON array of {"role", "content", "reasoning"?, "tool_calls"?, "tool_call_id"?} or an object
// with "messages" and perhaps "tools" and "response_format".
absl::StatusOr<v1::Chat> ChatFromJson(const std::string& text);

}  // namespace tandem
