// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/drive/cut_connection.h"

#include <fcntl.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "grpcpp/create_channel_posix.h"
#include "grpcpp/support/channel_arguments.h"

namespace tandem {

absl::StatusOr<Address> Address::Resolve(const std::string& target) {
  const size_t colon = target.rfind(':');
  if (colon == std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat("\"", target, "\" is not HOST:PORT"));
  }
  std::string host = target.substr(0, colon);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  const addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), target.substr(colon + 1).c_str(), &hints, &found);
  if (error != 0) {
    return absl::UnavailableError(absl::StrCat(target, ": ", gai_strerror(error)));
  }
  Address address;
  address.family_ = found->ai_family;
  address.bytes_.assign(reinterpret_cast<const char*>(found->ai_addr), found->ai_addrlen);
  freeaddrinfo(found);
  return address;
}

absl::StatusOr<std::unique_ptr<CutConnection>> CutConnection::Open(const Address& address) {
  const int fd = socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return absl::UnavailableError(absl::StrCat("socket: ", std::strerror(errno)));
  const auto* to = reinterpret_cast<const sockaddr*>(address.bytes().data());
  if (connect(fd, to, static_cast<socklen_t>(address.bytes().size())) != 0 &&
      errno != EINPROGRESS) {
    const int error = errno;
    close(fd);
    return absl::UnavailableError(absl::StrCat("connect: ", std::strerror(error)));
  }
  return std::unique_ptr<CutConnection>(new CutConnection(fd));
}

CutConnection::CutConnection(int fd) : fd_(fcntl(fd, F_DUPFD_CLOEXEC, 0)) {
  stub_ = v1::InferenceService::NewStub(
      grpc::CreateCustomInsecureChannelFromFd("cut", fd, grpc::ChannelArguments()));
}

CutConnection::~CutConnection() {
  if (fd_ >= 0) close(fd_);
}

void CutConnection::Cut() {
  (void)shutdown(fd_, SHUT_RDWR);
}

}  // namespace tandem
