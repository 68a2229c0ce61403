// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/machine/ports.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace tandem {
namespace {

absl::Status TryBind(const addrinfo& address, const std::string& name) {
  const int fd = socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return absl::UnavailableError(absl::StrCat(name, ": ", std::strerror(errno)));
  absl::Cleanup close_it = [fd] { close(fd); };
  // As a server does: connections that just ended do not hold a port.
  const int on = 1;
  (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, address.ai_addr, address.ai_addrlen) == 0 && listen(fd, 1) == 0) {
    return absl::OkStatus();
  }
  return absl::UnavailableError(absl::StrCat(name, ": ", std::strerror(errno)));
}

}  // namespace

absl::Status CanListen(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat(address, ": is no host:port"));
  }
  absl::string_view host = absl::string_view(address).substr(0, colon);
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  addrinfo hints = {};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const std::string name(host), port = address.substr(colon + 1);
  if (const int error = getaddrinfo(name.c_str(), port.c_str(), &hints, &found); error != 0) {
    return absl::InvalidArgumentError(absl::StrCat(address, ": ", gai_strerror(error)));
  }
  absl::Cleanup free_it = [found] { freeaddrinfo(found); };
  return TryBind(*found, address);
}

}  // namespace tandem
