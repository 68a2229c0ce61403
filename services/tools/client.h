// SPDX-License-Identifier: Apache-2.0
// One call to a router, and how its end is told to a person. Blocking; one thread a call.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/client_context.h"
#include "services/tools/request_flags.h"
#include "tandem/v1/inference.grpc.pb.h"

namespace tandem {

struct GenerateCall {
  v1::InferenceService::Stub& stub;
  const v1::GenerateRequest& request;
  grpc::ClientContext& context;  // its TryCancel, from any thread, ends the call
  std::function<void(const v1::GenerateResponse&)> on_event;
};
absl::Status Generate(const GenerateCall& call);

// "error: RESOURCE_EXHAUSTED (QUEUE_FULL): …" with fields, metadata and when to try again; lines
// for stderr.
std::string DescribeError(const absl::Status& status);

// grpc.health.v1: whether `service` says SERVING; empty = the process's own.
struct HealthQuestion {
  const Connection& connection;
  std::string service;
  absl::Time deadline;
};
absl::StatusOr<bool> IsServing(const HealthQuestion& question);

// "stop", "length", ….
std::string NameOf(v1::FinishReason reason);

// "stop; 12 prompt tokens, 34 written; TTFT 0.120 s, TPOT 8.1 ms, 123.4 tokens/s".
std::string Summary(const v1::Finished& finished);

}  // namespace tandem
