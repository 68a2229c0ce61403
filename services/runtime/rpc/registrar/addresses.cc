// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/rpc/registrar/addresses.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <memory>
#include <set>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace tandem {

std::string HostOf(absl::string_view endpoint) {
  absl::string_view host = endpoint.substr(0, endpoint.rfind(':'));
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  return std::string(host);
}

absl::StatusOr<std::vector<std::string>> AddressesOf(const std::string& endpoint) {
  const std::string host = HostOf(endpoint);
  const std::string port = endpoint.substr(endpoint.rfind(':') + 1);
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  if (error != 0) {
    return absl::UnavailableError(absl::StrCat(host, " has no address: ", gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, &freeaddrinfo);
  std::set<std::string> out;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    char address[NI_MAXHOST] = {};
    if (getnameinfo(each->ai_addr, each->ai_addrlen, address, sizeof(address), nullptr, 0,
                    NI_NUMERICHOST) != 0) {
      continue;
    }
    out.insert(each->ai_family == AF_INET6 ? absl::StrCat("[", address, "]:", port)
                                           : absl::StrCat(address, ":", port));
  }
  return std::vector<std::string>(out.begin(), out.end());
}

}  // namespace tandem
