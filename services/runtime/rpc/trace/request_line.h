// SPDX-License-Identifier: Apache-2.0
// RequestLine: the one log line of a worker's call, event `request`: its id, the trace that it
// belongs to (no field without one), how it ended and how long it took. One owner.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace tandem {

class RequestLine {
 public:
  // Time counts from here.
  RequestLine(absl::string_view request_id, std::string trace_id);

  void Write(absl::StatusCode code) const;

 private:
  std::string request_id_;
  std::string trace_id_;
  absl::Time begin_;
};

}  // namespace tandem
