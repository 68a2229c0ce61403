// SPDX-License-Identifier: Apache-2.0
// MetricsListener: HTTP /metrics at one address, from its construction to its end, which waits for
// no scraper. Thread-safe.
#pragma once

#include <memory>
#include <string>

#include "prometheus/exposer.h"

namespace tandem {

class MetricsListener {
 public:
  // `address` is host:port, port 0 = any free one. Null: it cannot be bound.
  static std::unique_ptr<MetricsListener> Create(const std::string& address);
  ~MetricsListener();
  MetricsListener(const MetricsListener&) = delete;
  MetricsListener& operator=(const MetricsListener&) = delete;

  // What it answers with from now on, while `series` lives.
  void Show(const std::weak_ptr<prometheus::Collectable>& series);
  int port() const;

 private:
  MetricsListener(std::string host, std::unique_ptr<prometheus::Exposer> exposer);

  const std::string host_;
  std::unique_ptr<prometheus::Exposer> exposer_;
};

}  // namespace tandem
