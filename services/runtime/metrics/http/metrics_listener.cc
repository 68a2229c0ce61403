// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/metrics/http/metrics_listener.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "services/runtime/base/thread.h"

namespace tandem {
namespace {

constexpr absl::Duration kKnocks = absl::Milliseconds(10);

// Connects, and lets go again; does not wait.
void Knock(const addrinfo& address) {
  const int fd = socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  (void)connect(fd, address.ai_addr, address.ai_addrlen);
  close(fd);
}

}  // namespace

std::unique_ptr<MetricsListener> MetricsListener::Create(const std::string& address) {
  absl::string_view host = absl::string_view(address).substr(0, address.rfind(':'));
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  try {  // the library throws; nothing past this function does
    return std::unique_ptr<MetricsListener>(new MetricsListener(
        std::string(host), std::make_unique<prometheus::Exposer>(address, /*num_threads=*/1)));
  } catch (const std::exception&) {
    return nullptr;
  }
}

MetricsListener::MetricsListener(std::string host, std::unique_ptr<prometheus::Exposer> exposer)
    : host_(std::move(host)), exposer_(std::move(exposer)) {}

// The library's thread looks every two seconds whether it is to end, or when somebody connects: so
// somebody does.
MetricsListener::~MetricsListener() {
  const addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
  addrinfo* found = nullptr;
  // To connect to the address that stands for all of them, Linux takes its own.
  (void)getaddrinfo(host_.c_str(), absl::StrCat(port()).c_str(), &hints, &found);
  std::atomic<bool> closed = false;
  {
    const Thread knocks("metrics-close", [&closed, found] {
      for (; found != nullptr && !closed; absl::SleepFor(kKnocks)) Knock(*found);
    });
    exposer_.reset();
    closed = true;
  }
  if (found != nullptr) freeaddrinfo(found);
}

void MetricsListener::Show(const std::weak_ptr<prometheus::Collectable>& series) {
  exposer_->RegisterCollectable(series);
}

int MetricsListener::port() const {
  return exposer_->GetListeningPorts().front();
}

}  // namespace tandem
