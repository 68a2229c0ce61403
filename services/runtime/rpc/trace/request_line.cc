// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/rpc/trace/request_line.h"

#include <utility>

#include "services/runtime/base/clock.h"
#include "services/runtime/base/log.h"

namespace tandem {

RequestLine::RequestLine(absl::string_view request_id, std::string trace_id)
    : request_id_(request_id), trace_id_(std::move(trace_id)), begin_(Clock::Real().Now()) {}

void RequestLine::Write(absl::StatusCode code) const {
  LogInfo("request", {{"id", request_id_},
                      OptionalField("trace_id", trace_id_),
                      {"code", absl::StatusCodeToString(code)},
                      {"seconds", absl::ToDoubleSeconds(Clock::Real().Now() - begin_)}});
}

}  // namespace tandem
