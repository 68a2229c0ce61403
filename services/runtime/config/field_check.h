// SPDX-License-Identifier: Apache-2.0
// FieldCheck: the limits of a config, one line a field. Keeps the first error, which names field,
// limit and value. Not thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/repeated_field.h"

namespace tandem {

class FieldCheck {
 public:
  // `prefix` stands before every field's name: "worker." and the like.
  explicit FieldCheck(std::string prefix = "") : prefix_(std::move(prefix)) {}

  struct Range {
    uint64_t min = 0;
    uint64_t max = 0;
  };
  void InRange(absl::string_view field, uint64_t value, Range range);
  void NotEmpty(absl::string_view field, absl::string_view value);
  // Above zero, at most a year, well-formed.
  void Positive(absl::string_view field, const google::protobuf::Duration& value);
  // From zero to `max`, well-formed.
  void UpTo(absl::string_view field, const google::protobuf::Duration& value, absl::Duration max);
  // Finite, above zero, each above the one before, at most 64; none is fine.
  void Rising(absl::string_view field, const google::protobuf::RepeatedField<double>& values);
  // host:port or [v6]:port with a port to connect to: 1 to 65535.
  void Endpoint(absl::string_view field, absl::string_view value);
  // As Endpoint; port 0 = any free one.
  void Listen(absl::string_view field, absl::string_view value);
  // As Endpoint, or host:* for any port.
  void EndpointPattern(absl::string_view field, absl::string_view value);
  // For what is checked elsewhere.
  void Fail(absl::string_view field, absl::string_view what);

  const absl::Status& status() const { return status_; }

 private:
  void HostPort(absl::string_view field, absl::string_view value, int port_min);

  const std::string prefix_;
  absl::Status status_;
};

}  // namespace tandem
