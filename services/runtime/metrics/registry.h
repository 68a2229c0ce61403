// SPDX-License-Identifier: Apache-2.0
// MetricsRegistry: the series of one process and the HTTP server that shows them at /metrics.
// Thread-safe. Handles (Counter&, Family&…) live as long as the registry. A series that another
// role owns is a bug: the process ends.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "prometheus/counter.h"
#include "prometheus/family.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "services/runtime/metrics/series.h"
#include "tandem/v1/config.pb.h"

namespace tandem {

enum class ProcessRole { kRouter, kPrefill, kDecode };

struct MetricsOptions {
  ProcessRole role = ProcessRole::kRouter;
  std::string model_name;
  std::string listen;  // host:port, port 0 = any free one; empty = no HTTP
  std::string version;
  std::string config_hash;  // of the effective configuration
  // What of vllm_series.h is shown as well.
  v1::MetricsCompat compat = v1::METRICS_COMPAT_NONE;
  v1::HistogramBounds bounds;  // instead of series.h's
};

class MetricsRegistry {
 public:
  // UNAVAILABLE names the address that cannot be bound.
  static absl::StatusOr<std::unique_ptr<MetricsRegistry>> Create(const MetricsOptions& options);
  ~MetricsRegistry();
  MetricsRegistry(const MetricsRegistry&) = delete;
  MetricsRegistry& operator=(const MetricsRegistry&) = delete;

  prometheus::Family<prometheus::Counter>& Counters(const series::Series& series);
  prometheus::Family<prometheus::Gauge>& Gauges(const series::Series& series);

  // The config's, else series.h's. They live as long as the registry.
  std::span<const double> TtftBounds() const;
  std::span<const double> TokenBounds() const;
  std::span<const double> E2eBounds() const;
  std::span<const double> StageBounds() const;

  struct HistogramSpec {
    const series::Series& series;
    std::span<const double> bounds;
    prometheus::Labels labels = {};
  };
  prometheus::Histogram& Histogram(const HistogramSpec& spec);
  // tandem_stage_seconds of one stage.
  prometheus::Histogram& Stage(const std::string& stage) {
    return Histogram(
        {.series = series::kStage, .bounds = StageBounds(), .labels = {{"stage", stage}}});
  }

  // Aliases: null where they are not shown, or where this role owns none of that name.
  prometheus::Counter* AliasCounter(const series::Series& series,
                                    const prometheus::Labels& labels = {});
  prometheus::Gauge* AliasGauge(const series::Series& series,
                                const prometheus::Labels& labels = {});
  prometheus::Histogram* AliasHistogram(const HistogramSpec& spec);
  // The same for names that vLLM has given up.
  prometheus::Gauge* LegacyGauge(const series::Series& series) {
    return ShowsLegacy() ? AliasGauge(series) : nullptr;
  }
  prometheus::Histogram* LegacyHistogram(const HistogramSpec& spec) {
    return ShowsLegacy() ? AliasHistogram(spec) : nullptr;
  }

  // Runs before every scrape, on its thread, until RemoveOnScrape: for values that age. `owner`
  // names the hooks of one object, whose destructor removes them; a scrape that runs is waited for.
  void OnScrape(const void* owner, std::function<void()> update);
  void RemoveOnScrape(const void* owner);

  ProcessRole role() const;

  // The bound port of /metrics; 0 = none.
  int port() const;

  // What a scrape would show.
  std::string Text() const;

 private:
  struct Impl;
  bool Shows(const series::Series& alias) const;
  bool ShowsLegacy() const;
  explicit MetricsRegistry(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace tandem
