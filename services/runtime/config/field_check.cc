// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/config/field_check.h"

#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "services/runtime/config/duration.h"

namespace tandem {
namespace {

bool IsHost(absl::string_view host) {
  if (host.empty()) return false;
  if (host.front() == '[') return host.size() > 2 && host.back() == ']';
  // A second colon would be an IPv6 address without brackets, or a URI.
  for (const char c : host) {
    if (c <= ' ' || c == ':' || c == '/' || c == '"' || c == '\x7f') return false;
  }
  return true;
}

}  // namespace

void FieldCheck::Fail(absl::string_view field, absl::string_view what) {
  if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat(prefix_, field, ": ", what));
}

void FieldCheck::InRange(absl::string_view field, uint64_t value, Range range) {
  if (value >= range.min && value <= range.max) return;
  Fail(field, absl::StrCat(value, " is outside of ", range.min, " to ", range.max));
}

void FieldCheck::NotEmpty(absl::string_view field, absl::string_view value) {
  if (value.empty()) Fail(field, "is required");
}

void FieldCheck::Positive(absl::string_view field, const google::protobuf::Duration& value) {
  const absl::Duration duration = FromProto(value);
  const absl::Duration max = absl::Hours(24) * 365;
  if (duration > absl::ZeroDuration() && duration <= max) return;
  Fail(field, absl::StrCat(absl::FormatDuration(duration), " is not above 0 and at most a year"));
}

void FieldCheck::Rising(absl::string_view field,
                        const google::protobuf::RepeatedField<double>& values) {
  constexpr int kMost = 64;
  if (values.size() > kMost) {
    Fail(field, absl::StrCat("at most ", kMost, " bounds, got ", values.size()));
  }
  double before = 0;
  for (const double value : values) {
    // Written so that NaN fails.
    if (!(value > before) || !std::isfinite(value)) {
      return Fail(field, absl::StrCat(value, " is not finite and above ", before));
    }
    before = value;
  }
}

void FieldCheck::UpTo(absl::string_view field, const google::protobuf::Duration& value,
                      absl::Duration max) {
  const absl::Duration duration = FromProto(value);
  if (duration >= absl::ZeroDuration() && duration <= max) return;
  Fail(field, absl::StrCat(absl::FormatDuration(duration), " is outside of 0 to ",
                           absl::FormatDuration(max)));
}

void FieldCheck::Endpoint(absl::string_view field, absl::string_view value) {
  HostPort(field, value, /*port_min=*/1);
}

void FieldCheck::Listen(absl::string_view field, absl::string_view value) {
  HostPort(field, value, /*port_min=*/0);
}

void FieldCheck::EndpointPattern(absl::string_view field, absl::string_view value) {
  absl::string_view host = value;
  const bool any_port = absl::ConsumeSuffix(&host, ":*");
  // A host is named, not matched.
  if (absl::StrContains(host, '*'))
    return Fail(field, absl::StrCat("\"", value, "\" has a * that is no port"));
  if (any_port && IsHost(host)) return;
  Endpoint(field, value);
}

void FieldCheck::HostPort(absl::string_view field, absl::string_view value, int port_min) {
  if (value.empty()) return NotEmpty(field, value);
  const size_t colon = value.rfind(':');
  int port = 0;
  if (colon == absl::string_view::npos || !IsHost(value.substr(0, colon)) ||
      !absl::SimpleAtoi(value.substr(colon + 1), &port)) {
    return Fail(field, absl::StrCat("\"", value, "\" is not host:port"));
  }
  if (port < port_min || port > 65535) {
    Fail(field, absl::StrCat("port ", port, " is outside of ", port_min, " to 65535"));
  }
}

}  // namespace tandem
