// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/metrics/registry.h"

#include <map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "prometheus/registry.h"
#include "prometheus/text_serializer.h"
#include "services/runtime/base/check.h"
#include "services/runtime/metrics/http/metrics_listener.h"

namespace tandem {
namespace {

// The registry behind a hook that brings ageing values up to date.
class ScrapedRegistry final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override {
    absl::MutexLock lock(&mutex_);
    for (const auto& [owner, update] : updates_) update();
    return registry_.Collect();
  }
  void OnScrape(const void* owner, std::function<void()> update) {
    absl::MutexLock lock(&mutex_);
    updates_.emplace(owner, std::move(update));
  }
  void RemoveOnScrape(const void* owner) {
    absl::MutexLock lock(&mutex_);
    updates_.erase(owner);
  }
  prometheus::Registry& registry() { return registry_; }

 private:
  prometheus::Registry registry_;
  mutable absl::Mutex mutex_;
  std::multimap<const void*, std::function<void()>> updates_ ABSL_GUARDED_BY(mutex_);
};

const char* NameOf(ProcessRole role) {
  switch (role) {
    case ProcessRole::kRouter:
      return "router";
    case ProcessRole::kPrefill:
      return "prefill";
    case ProcessRole::kDecode:
      return "decode";
  }
  return "";
}

bool Owns(ProcessRole role, series::Owner owner) {
  switch (owner) {
    case series::Owner::kRouter:
      return role == ProcessRole::kRouter;
    case series::Owner::kPrefill:
      return role == ProcessRole::kPrefill;
    case series::Owner::kDecode:
      return role == ProcessRole::kDecode;
    case series::Owner::kWorkers:
      return role != ProcessRole::kRouter;
    case series::Owner::kAll:
      return true;
  }
  return false;
}

// `make` is one of prometheus-cpp's builders.
template <typename Builder>
auto& Register(Builder make, const series::Series& series, const prometheus::Labels& labels,
               prometheus::Registry& registry) {
  return make.Name(series.name).Help(series.help).Labels(labels).Register(registry);
}

std::span<const double> Either(const google::protobuf::RepeatedField<double>& own,
                               std::span<const double> usual) {
  return own.empty() ? usual : std::span<const double>(own.data(), own.size());
}

prometheus::Histogram::BucketBoundaries Bounds(std::span<const double> bounds) {
  return {bounds.begin(), bounds.end()};
}

}  // namespace

struct MetricsRegistry::Impl {
  ProcessRole role;
  v1::MetricsCompat compat;
  v1::HistogramBounds bounds;
  prometheus::Labels labels;
  prometheus::Labels alias_labels;
  // Exposer wants to watch it by weak pointer; nobody else shares it.
  decltype(std::make_shared<ScrapedRegistry>()) scraped = std::make_shared<ScrapedRegistry>();
  std::unique_ptr<MetricsListener> listener;
};

absl::StatusOr<std::unique_ptr<MetricsRegistry>> MetricsRegistry::Create(
    const MetricsOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->role = options.role;
  impl->compat = options.compat;
  impl->bounds = options.bounds;
  impl->labels = {{"role", NameOf(options.role)}, {"model_name", options.model_name}};
  impl->alias_labels = {{"model_name", options.model_name}, {"engine", "0"}};
  if (!options.listen.empty()) {
    impl->listener = MetricsListener::Create(options.listen);
    if (impl->listener == nullptr) {
      return absl::UnavailableError(absl::StrCat("metrics_listen: ", options.listen,
                                                 " cannot be bound: it is in use, or is no "
                                                 "address of this machine"));
    }
    impl->listener->Show(impl->scraped);
  }
  std::unique_ptr<MetricsRegistry> registry(new MetricsRegistry(std::move(impl)));
  registry->Gauges(series::kBuildInfo).Add({{"version", options.version}}).Set(1);
  registry->Gauges(series::kConfigInfo).Add({{"hash", options.config_hash}}).Set(1);
  return registry;
}

MetricsRegistry::MetricsRegistry(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MetricsRegistry::~MetricsRegistry() = default;

ProcessRole MetricsRegistry::role() const {
  return impl_->role;
}

std::span<const double> MetricsRegistry::TtftBounds() const {
  return Either(impl_->bounds.ttft(), series::kTtftBounds);
}
std::span<const double> MetricsRegistry::TokenBounds() const {
  return Either(impl_->bounds.tpot(), series::kTokenBounds);
}
std::span<const double> MetricsRegistry::E2eBounds() const {
  return Either(impl_->bounds.e2e(), series::kTtftBounds);
}
std::span<const double> MetricsRegistry::StageBounds() const {
  return Either(impl_->bounds.stage(), series::kStageBounds);
}

prometheus::Family<prometheus::Counter>& MetricsRegistry::Counters(const series::Series& series) {
  CHECK(Owns(impl_->role, series.owner));
  return Register(prometheus::BuildCounter(), series, impl_->labels, impl_->scraped->registry());
}

prometheus::Family<prometheus::Gauge>& MetricsRegistry::Gauges(const series::Series& series) {
  CHECK(Owns(impl_->role, series.owner));
  return Register(prometheus::BuildGauge(), series, impl_->labels, impl_->scraped->registry());
}

prometheus::Histogram& MetricsRegistry::Histogram(const HistogramSpec& spec) {
  CHECK(Owns(impl_->role, spec.series.owner));
  return Register(prometheus::BuildHistogram(), spec.series, impl_->labels,
                  impl_->scraped->registry())
      .Add(spec.labels, Bounds(spec.bounds));
}

bool MetricsRegistry::Shows(const series::Series& alias) const {
  const bool any =
      impl_->compat == v1::METRICS_COMPAT_VLLM || impl_->compat == v1::METRICS_COMPAT_VLLM_LEGACY;
  return any && Owns(impl_->role, alias.owner);
}

bool MetricsRegistry::ShowsLegacy() const {
  return impl_->compat == v1::METRICS_COMPAT_VLLM_LEGACY;
}

prometheus::Counter* MetricsRegistry::AliasCounter(const series::Series& series,
                                                   const prometheus::Labels& labels) {
  if (!Shows(series)) return nullptr;
  return &Register(prometheus::BuildCounter(), series, impl_->alias_labels,
                   impl_->scraped->registry())
              .Add(labels);
}

prometheus::Gauge* MetricsRegistry::AliasGauge(const series::Series& series,
                                               const prometheus::Labels& labels) {
  if (!Shows(series)) return nullptr;
  return &Register(prometheus::BuildGauge(), series, impl_->alias_labels,
                   impl_->scraped->registry())
              .Add(labels);
}

prometheus::Histogram* MetricsRegistry::AliasHistogram(const HistogramSpec& spec) {
  if (!Shows(spec.series)) return nullptr;
  return &Register(prometheus::BuildHistogram(), spec.series, impl_->alias_labels,
                   impl_->scraped->registry())
              .Add(spec.labels, Bounds(spec.bounds));
}

void MetricsRegistry::OnScrape(const void* owner, std::function<void()> update) {
  impl_->scraped->OnScrape(owner, std::move(update));
}

void MetricsRegistry::RemoveOnScrape(const void* owner) {
  impl_->scraped->RemoveOnScrape(owner);
}

int MetricsRegistry::port() const {
  return impl_->listener == nullptr ? 0 : impl_->listener->port();
}

std::string MetricsRegistry::Text() const {
  return prometheus::TextSerializer().Serialize(impl_->scraped->Collect());
}

}  // namespace tandem
