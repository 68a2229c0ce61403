// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/check/scrape.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/base/status_macros.h"

namespace tandem {
namespace {

constexpr size_t kAnswerBytesMax = 64 << 20;

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

absl::Status SystemError(absl::string_view what) {
  return absl::UnavailableError(absl::StrCat(what, ": ", std::strerror(errno)));
}

// Until the socket can be read or written.
absl::Status Await(int fd, short events, absl::Time deadline) {
  const absl::Duration left = std::max(absl::ZeroDuration(), deadline - Clock::Real().Now());
  pollfd wanted = {.fd = fd, .events = events};
  if (poll(&wanted, 1, static_cast<int>(absl::ToInt64Milliseconds(left))) > 0) {
    return absl::OkStatus();
  }
  return absl::DeadlineExceededError("no answer in time");
}

absl::Status ConnectTo(const Socket& socket, const addrinfo& address, absl::Time deadline) {
  if (socket.fd() < 0) return SystemError("socket");
  if (connect(socket.fd(), address.ai_addr, address.ai_addrlen) == 0) return absl::OkStatus();
  if (errno != EINPROGRESS) return SystemError("connect");
  RETURN_IF_ERROR(Await(socket.fd(), POLLOUT, deadline));
  int error = 0;
  socklen_t size = sizeof(error);
  (void)getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error == 0) return absl::OkStatus();
  errno = error;
  return SystemError("connect");
}

absl::StatusOr<std::string> Exchange(const Socket& socket, absl::string_view request,
                                     absl::Time deadline) {
  while (!request.empty()) {
    RETURN_IF_ERROR(Await(socket.fd(), POLLOUT, deadline));
    const ssize_t sent = send(socket.fd(), request.data(), request.size(), MSG_NOSIGNAL);
    if (sent < 0) return SystemError("send");
    request.remove_prefix(sent);
  }
  std::string answer;
  while (answer.size() < kAnswerBytesMax) {
    RETURN_IF_ERROR(Await(socket.fd(), POLLIN, deadline));
    char piece[1 << 14];
    const ssize_t size = recv(socket.fd(), piece, sizeof(piece), 0);
    if (size < 0) return SystemError("receive");
    if (size == 0) return answer;
    answer.append(piece, size);
  }
  return absl::UnavailableError(absl::StrCat("an answer of more than ", kAnswerBytesMax, " bytes"));
}

absl::StatusOr<std::string> Fetch(const MetricsUrl& url, absl::Time deadline) {
  const addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  addrinfo* found = nullptr;
  const int error = getaddrinfo(url.host.c_str(), url.port.c_str(), &hints, &found);
  if (error != 0) return absl::UnavailableError(gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, &freeaddrinfo);
  // The protocol without chunks: the answer ends with the connection.
  const std::string request =
      absl::StrCat("GET ", url.path, " HTTP/1.0\r\nHost: ", url.host, "\r\n\r\n");
  absl::Status last = absl::UnavailableError("no address");
  for (const addrinfo* address = addresses.get(); address != nullptr; address = address->ai_next) {
    const Socket socket(
        ::socket(address->ai_family, address->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    last = ConnectTo(socket, *address, deadline);
    if (last.ok()) return Exchange(socket, request, deadline);
  }
  return last;
}

// key="value",…; escapes are kept as they are written.
std::map<std::string, std::string> LabelsOf(absl::string_view text) {
  std::map<std::string, std::string> labels;
  while (!text.empty()) {
    const size_t equals = text.find("=\"");
    if (equals == absl::string_view::npos) break;
    size_t end = equals + 2;
    while (end < text.size() && text[end] != '"') end += text[end] == '\\' ? 2 : 1;
    if (end >= text.size()) break;
    labels.emplace(text.substr(0, equals), text.substr(equals + 2, end - equals - 2));
    text.remove_prefix(end + 1);
    absl::ConsumePrefix(&text, ",");
  }
  return labels;
}

}  // namespace

absl::StatusOr<MetricsUrl> ParseMetricsUrl(absl::string_view text) {
  absl::string_view rest = text;
  absl::ConsumePrefix(&rest, "http://");
  const size_t slash = std::min(rest.find('/'), rest.size());
  const absl::string_view authority = rest.substr(0, slash);
  const size_t colon = authority.rfind(':');
  uint32_t port = 0;
  if (colon == absl::string_view::npos || colon == 0 ||
      !absl::SimpleAtoi(authority.substr(colon + 1), &port) || port < 1 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" is neither HOST:PORT nor http://HOST:PORT/PATH"));
  }
  absl::string_view host = authority.substr(0, colon);
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  return MetricsUrl{.host = std::string(host),
                    .port = absl::StrCat(port),
                    .path = slash == rest.size() ? "/metrics" : std::string(rest.substr(slash))};
}

absl::StatusOr<std::string> HttpGet(const MetricsUrl& url, absl::Duration timeout) {
  const auto named = [&url](const absl::Status& status) {
    return absl::Status(status.code(), absl::StrCat("http://", url.host, ":", url.port, url.path,
                                                    ": ", status.message()));
  };
  const auto answer = Fetch(url, Clock::Real().Now() + timeout);
  if (!answer.ok()) return named(answer.status());
  const std::string first = answer->substr(0, answer->find("\r\n"));
  const size_t body = answer->find("\r\n\r\n");
  if (first.find(" 200 ") == std::string::npos || body == std::string::npos) {
    return named(absl::UnavailableError(absl::StrCat("\"", first.substr(0, 80), "\"")));
  }
  return answer->substr(body + 4);
}

std::vector<ScrapedSample> ParseSamples(absl::string_view text) {
  std::vector<ScrapedSample> samples;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (line.empty() || line.front() == '#') continue;
    const size_t brace = line.find('{');
    const size_t close = line.rfind('}');
    const size_t space = line.find(' ', close == absl::string_view::npos ? 0 : close);
    if (space == absl::string_view::npos) continue;
    ScrapedSample sample;
    sample.name = std::string(line.substr(0, std::min(brace, space)));
    if (brace < close && close != absl::string_view::npos) {
      sample.labels = LabelsOf(line.substr(brace + 1, close - brace - 1));
    }
    const std::vector<absl::string_view> rest =
        absl::StrSplit(line.substr(space), ' ', absl::SkipEmpty());
    if (!rest.empty() && absl::SimpleAtod(rest[0], &sample.value)) {
      samples.push_back(std::move(sample));
    }
  }
  return samples;
}

}  // namespace tandem
