// SPDX-License-Identifier: Apache-2.0
// The /metrics of a process, fetched and read as far as a load test needs it: over plain HTTP, no
// TLS, numeric or resolvable host. Blocking; thread-safe.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace tandem {

// Where to fetch: "host:port", "http://host:port" or "http://host:port/path"; path /metrics where
// none is given. INVALID_ARGUMENT for anything else.
struct MetricsUrl {
  std::string host;
  std::string port;
  std::string path;
};
absl::StatusOr<MetricsUrl> ParseMetricsUrl(absl::string_view text);

// The body of a 200; UNAVAILABLE says what came instead, DEADLINE_EXCEEDED that nothing did.
absl::StatusOr<std::string> HttpGet(const MetricsUrl& url, absl::Duration timeout);

struct ScrapedSample {
  std::string name;
  std::map<std::string, std::string> labels;
  double value = 0;
};
// Lines of the text format; what is no sample is passed over.
std::vector<ScrapedSample> ParseSamples(absl::string_view text);

}  // namespace tandem
