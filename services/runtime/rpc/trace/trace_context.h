// SPDX-License-Identifier: Apache-2.0
// W3C trace context (traceparent, tracestate) of a call: read from its metadata, checked, and
// carried on as it came, since Tandem adds no span of its own. What is malformed is as good as
// absent, and never fails a request. Pure but for SetTrace; thread-safe.
#pragma once

#include <map>
#include <string>

#include "absl/strings/string_view.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/string_ref.h"

namespace tandem {

struct TraceContext {
  std::string parent;  // traceparent; empty = none
  std::string state;   // tracestate; empty = none

  // 32 hex digits; empty = none.
  std::string id() const { return parent.empty() ? "" : parent.substr(3, 32); }
};

// `metadata` as a server context's client_metadata() gives it.
TraceContext TraceOf(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata);

// The call that begins with `context` belongs to the trace. Nothing without one.
void SetTrace(const TraceContext& trace, grpc::ClientContext& context);

}  // namespace tandem
