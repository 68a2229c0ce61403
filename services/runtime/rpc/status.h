// SPDX-License-Identifier: Apache-2.0
// Errors that cross a process boundary: absl::Status inside, grpc::Status with google.rpc details
// on the wire.
//
// A detail is a payload of the absl::Status under its type URL, so that it survives every hop: a
// worker's error reaches the client as the worker made it. The reasons are closed
// (proto/README.md): one builder each, and no other way to make one. Pure functions; thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"
#include "grpcpp/support/status.h"

namespace tandem {

// Domain of every ErrorInfo.
inline constexpr absl::string_view kErrorDomain = "inference.tandem";

// One field that a request has wrong. `description` names the limit and the value.
struct FieldViolation {
  std::string field;
  std::string description;
};

// INVALID_ARGUMENT INVALID_FIELD with BadRequest. At least one violation.
absl::Status InvalidFields(const std::vector<FieldViolation>& violations);
absl::Status InvalidField(absl::string_view field, absl::string_view description);

struct PromptLength {
  uint64_t limit = 0;  // tokens
  uint64_t got = 0;    // tokens
  // Which field of which worker sets the limit, where it is not the model's context.
  absl::string_view of = {};
};
// INVALID_ARGUMENT PROMPT_TOO_LONG with metadata {limit, got}.
absl::Status PromptTooLong(const PromptLength& length);

absl::Status DuplicateRequest(absl::string_view request_id);

// What the caller may do after a passing failure, and when.
struct Retry {
  std::string message;
  absl::Duration after = absl::Seconds(1);
};
absl::Status QueueFull(const Retry& retry);    // RESOURCE_EXHAUSTED
absl::Status KvBudget(const Retry& retry);     // RESOURCE_EXHAUSTED
absl::Status SlowReader(const Retry& retry);   // RESOURCE_EXHAUSTED
absl::Status RateLimited(const Retry& retry);  // RESOURCE_EXHAUSTED
absl::Status NoWorker(const Retry& retry);     // UNAVAILABLE
absl::Status WorkerLost(const Retry& retry);   // UNAVAILABLE
absl::Status Draining(const Retry& retry);     // UNAVAILABLE

absl::Status DeadlinePassed(absl::string_view stage);         // DEADLINE_EXCEEDED
absl::Status LayoutMismatch(absl::string_view both_sides);    // FAILED_PRECONDITION
absl::Status VersionMismatch(absl::string_view both_sides);   // FAILED_PRECONDITION
absl::Status ChannelDowngrade(absl::string_view both_sides);  // FAILED_PRECONDITION
absl::Status EndpointNotAllowed(absl::string_view endpoint);  // PERMISSION_DENIED
absl::Status ApiKeyWrong(absl::string_view why);              // UNAUTHENTICATED
absl::Status LeaseLost(absl::string_view message);            // ABORTED

// "QUEUE_FULL" and the like; empty without ErrorInfo.
std::string ReasonOf(const absl::Status& status);

// The details of a status; absent ones are empty messages.
struct ErrorDetails {
  google::rpc::ErrorInfo info;
  google::rpc::BadRequest bad_request;
  google::rpc::RetryInfo retry;
};
ErrorDetails DetailsOf(const absl::Status& status);

grpc::Status ToGrpcStatus(const absl::Status& status);
absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace tandem
