// SPDX-License-Identifier: Apache-2.0
// Twin: what one event feeds: a native series and its vLLM aliases, where a process shows them. An
// alias is never counted anywhere else, so the two cannot drift apart. Thread-safe; borrows the
// handles, which live as long as the registry.
#pragma once

#include <initializer_list>

#include "absl/container/inlined_vector.h"
#include "prometheus/counter.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"

namespace tandem {

template <typename Metric>
class Twin {
 public:
  // Null handles are series that this process does not show.
  Twin(std::initializer_list<Metric*> handles) {
    for (Metric* handle : handles) {
      if (handle != nullptr) handles_.push_back(handle);
    }
  }

 protected:
  absl::InlinedVector<Metric*, 2> handles_;
};

class TwinCounter : public Twin<prometheus::Counter> {
 public:
  using Twin::Twin;
  void Increment(double by = 1) {
    for (prometheus::Counter* handle : handles_) handle->Increment(by);
  }
};

class TwinGauge : public Twin<prometheus::Gauge> {
 public:
  using Twin::Twin;
  void Set(double value) {
    for (prometheus::Gauge* handle : handles_) handle->Set(value);
  }
};

class TwinHistogram : public Twin<prometheus::Histogram> {
 public:
  using Twin::Twin;
  void Observe(double value) {
    for (prometheus::Histogram* handle : handles_) handle->Observe(value);
  }
};

}  // namespace tandem
