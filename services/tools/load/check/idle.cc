// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/check/idle.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/runtime/base/clock.h"

namespace tandem {
namespace {

constexpr absl::Duration kPause = absl::Milliseconds(100);

// A series of which every sample is 0 at rest, but those with label `but`.
struct AtRest {
  absl::string_view name;
  absl::string_view label = "";
  absl::string_view but = "";
};
constexpr AtRest kAtRest[] = {{.name = "tandem_requests_inflight"},
                              {.name = "tandem_queue_depth"},
                              {.name = "tandem_kv_leases"},
                              {.name = "tandem_kv_blocks", .label = "state", .but = "free"}};

const AtRest* Looked(const ScrapedSample& sample) {
  for (const AtRest& series : kAtRest) {
    if (sample.name != series.name) continue;
    const auto label = sample.labels.find(std::string(series.label));
    if (label != sample.labels.end() && label->second == series.but) return nullptr;
    return &series;
  }
  return nullptr;
}

std::string Printed(const ScrapedSample& sample) {
  std::string labels;
  for (const auto& [key, value] : sample.labels) {
    if (key == "role" || key == "model_name") continue;
    absl::StrAppend(&labels, labels.empty() ? "" : ",", key, "=\"", value, "\"");
  }
  return absl::StrCat(sample.name, labels.empty() ? "" : absl::StrCat("{", labels, "}"), " is ",
                      sample.value);
}

std::vector<std::string> LookAt(const MetricsUrl& url) {
  const auto text = HttpGet(url, absl::Seconds(5));
  if (!text.ok()) return {std::string(text.status().message())};
  std::vector<std::string> busy = BusySeries(ParseSamples(*text));
  for (std::string& line : busy) line = absl::StrCat(url.host, ":", url.port, ": ", line);
  return busy;
}

}  // namespace

std::vector<std::string> BusySeries(const std::vector<ScrapedSample>& samples) {
  std::vector<std::string> busy;
  bool any = false;
  for (const ScrapedSample& sample : samples) {
    if (Looked(sample) == nullptr) continue;
    any = true;
    if (sample.value != 0) busy.push_back(Printed(sample));
  }
  if (!any) busy.push_back("no tandem_ series that tells of requests, queues or memory");
  return busy;
}

std::vector<std::string> CheckIdle(const std::vector<MetricsUrl>& urls, absl::Duration timeout) {
  const absl::Time end = Clock::Real().Now() + timeout;
  while (true) {
    std::vector<std::string> busy;
    for (const MetricsUrl& url : urls) {
      for (std::string& line : LookAt(url)) busy.push_back(std::move(line));
    }
    if (busy.empty() || Clock::Real().Now() >= end) return busy;
    absl::SleepFor(kPause);
  }
}

}  // namespace tandem
