// SPDX-License-Identifier: Apache-2.0
// LoadResult: everything that a run of `tandem load` found. Made by Recorder::Finish, read by the
// files and reports. Plain values; knows nothing of the driver's options.
//
// "Measured" requests are honest ones that are no warm-up. Latencies are of measured requests that
// completed (status OK), throughput of measured requests over `duration`.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "services/tools/load/result/latency_histogram.h"
#include "services/tools/load/result/request_record.h"

namespace tandem {

// One histogram a definition; README.md of services/tools/load tells them in words.
struct Latencies {
  LatencyHistogram accept;          // sent → accepted
  LatencyHistogram ttft;            // sent → first token
  LatencyHistogram ttft_corrected;  // scheduled → first token
  LatencyHistogram tpot;            // (last token - first token) / (tokens - 1), of ≥ 2 tokens
  LatencyHistogram tpot_e2e;        // e2e / tokens
  LatencyHistogram token_gap;       // a chunk of k tokens after gap g is k gaps of g / k
  LatencyHistogram chunk_gap;       // and one chunk gap of g
  LatencyHistogram e2e;             // sent → end
  LatencyHistogram e2e_corrected;   // scheduled → end
  // The server's own account, from Timing.
  LatencyHistogram tokenize;
  LatencyHistogram reserve;
  LatencyHistogram prefill_queue;
  LatencyHistogram prefill;
  LatencyHistogram kv_transfer;
  LatencyHistogram decode;
  LatencyHistogram server_ttft;
  LatencyHistogram server_total;

  friend bool operator==(const Latencies&, const Latencies&) = default;
};

// For whoever goes over all of them: files, tables, plots.
struct LatencyField {
  absl::string_view name;  // in files
  absl::string_view text;  // for people
  LatencyHistogram Latencies::*histogram;
};
// What the client saw, in the order above.
absl::Span<const LatencyField> ClientLatencies();
// tokenize … decode, in the order in which a request passes them.
absl::Span<const LatencyField> StageLatencies();
// server_ttft and server_total.
absl::Span<const LatencyField> ServerLatencies();

// What is told of a histogram, in milliseconds: mean stddev min p50 p90 p95 p99 p99.9 max.
struct LatencyStat {
  absl::string_view name;
  double (*milliseconds)(const LatencyHistogram& histogram);
};
absl::Span<const LatencyStat> LatencyStats();

// Limits that a request keeps or not. Absent = not asked for. TTFT and e2e count from the schedule.
struct Slo {
  std::optional<absl::Duration> ttft;
  std::optional<absl::Duration> tpot;
  std::optional<absl::Duration> e2e;
  bool Any() const { return ttft || tpot || e2e; }
  friend bool operator==(const Slo&, const Slo&) = default;
};

// What became of the requests of one kind, warm-up left out.
struct KindCount {
  uint64_t requests = 0;
  uint64_t completed = 0;
  uint64_t checks = 0;
  uint64_t checks_failed = 0;
  friend bool operator==(const KindCount&, const KindCount&) = default;
};

struct Counts {
  uint64_t completed = 0;      // measured, status OK
  uint64_t failed = 0;         // measured, any other status
  uint64_t good = 0;           // completed inside the SLO; without an SLO = completed
  uint64_t warm_up = 0;        // ended, not measured
  uint64_t prompt_tokens = 0;  // of completed
  uint64_t tokens = 0;         // written, of completed
  uint64_t tokens_lost = 0;    // written, of failed
  uint64_t tokens_wanted = 0;  // of completed
  std::array<KindCount, kRequestKinds> kinds;
  friend bool operator==(const Counts&, const Counts&) = default;
};

// Measured requests that failed with one status; by falling count.
struct ErrorCount {
  std::string code;    // "RESOURCE_EXHAUSTED"
  std::string reason;  // "QUEUE_FULL"; may be empty
  uint64_t count = 0;
  friend bool operator==(const ErrorCount&, const ErrorCount&) = default;
};

// A name and how often; by falling count.
struct NameCount {
  std::string name;
  uint64_t count = 0;
  friend bool operator==(const NameCount&, const NameCount&) = default;
};

// What the client itself took: a run whose client was short of time measures the client.
struct ClientCost {
  double cpu_cores = 0;  // user + system time over wall time
  uint64_t rss_bytes_max = 0;
  LatencyHistogram send_lag;  // sent - scheduled, of measured requests
  friend bool operator==(const ClientCost&, const ClientCost&) = default;
};

// One step of the timeline, all requests, warm-up and nasty ones included.
struct TimelinePoint {
  absl::Duration start;  // since the run's start
  uint64_t sent = 0;
  uint64_t finished = 0;  // with status OK
  uint64_t errors = 0;    // of honest requests
  uint64_t tokens = 0;
  uint64_t running = 0;  // at the step's end
  // Of what arrived in the step; absent when nothing did.
  std::optional<absl::Duration> ttft_p50;
  std::optional<absl::Duration> ttft_p99;
  std::optional<absl::Duration> gap_p50;
  friend bool operator==(const TimelinePoint&, const TimelinePoint&) = default;
};

using NameValues = std::map<std::string, std::string>;

struct LoadResult {
  // Filled by the driver after Finish.
  std::string label;                    // what reports call the run: "rate 8"
  std::optional<double> rate_offered;   // requests/s; open loop
  std::optional<uint32_t> concurrency;  // closed loop
  std::string model;
  NameValues options;                 // as given or defaulted
  NameValues environment;             // target, version, host, …
  std::vector<std::string> problems;  // what checks after the run found, a line each

  // Filled by Recorder::Finish.
  absl::Time started;
  absl::Duration measured_from;  // first measured schedule, since the run's start
  absl::Duration duration;       // from there to the last measured end
  Counts counts;
  std::vector<ErrorCount> errors;
  std::vector<NameCount> finish_reasons;  // of completed
  std::vector<NameCount> failed_checks;   // of all kinds
  Slo slo;
  uint64_t tokens_per_second_max = 0;  // output, in one second of the run's clock
  uint64_t concurrency_max = 0;
  Latencies latencies;
  ClientCost client;
  absl::Duration timeline_step;  // 1 s; doubled for every time the run outgrew 2048 points
  std::vector<TimelinePoint> timeline;

  friend bool operator==(const LoadResult&, const LoadResult&) = default;
};

// What follows from the above. All zero for a run without duration.
struct Throughput {
  double requests = 0;       // completed a second
  double prompt_tokens = 0;  // a second
  double tokens = 0;         // output, a second
  double total_tokens = 0;   // a second
  double goodput = 0;        // good requests a second
  double good_share = 0;     // of measured requests, 0 … 1
  double error_share = 0;    // of measured requests, 0 … 1
};
Throughput ThroughputOf(const LoadResult& result);

// Whether a run has a use for a time: in a closed loop nothing is scheduled, and what is corrected
// for it says the same again.
bool Applies(const LoadResult& result, const LatencyField& field);

// Whether the run is an error for CI: a failed check or a problem. Failed requests are results.
bool HasFailedChecks(const LoadResult& result);

// "cancel", "slow_read", ….
absl::string_view NameOf(RequestKind kind);

}  // namespace tandem
