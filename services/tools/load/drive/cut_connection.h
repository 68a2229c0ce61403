// SPDX-License-Identifier: Apache-2.0
// CutConnection: a connection for one client that will vanish: the socket is ours, so that it can
// be shut without a word of HTTP/2, as when a machine dies. Thread-safe.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "tandem/v1/inference.grpc.pb.h"

namespace tandem {

// A resolved host:port, so that opening a connection never waits for a name server.
class Address {
 public:
  static absl::StatusOr<Address> Resolve(const std::string& target);

  int family() const { return family_; }
  const std::string& bytes() const { return bytes_; }  // of a sockaddr

 private:
  int family_ = 0;
  std::string bytes_;
};

class CutConnection {
 public:
  // Does not wait for the peer: one that is not there shows in the call.
  static absl::StatusOr<std::unique_ptr<CutConnection>> Open(const Address& address);
  ~CutConnection();
  CutConnection(const CutConnection&) = delete;
  CutConnection& operator=(const CutConnection&) = delete;

  v1::InferenceService::Stub& stub() { return *stub_; }
  // Calls on it end with UNAVAILABLE.
  void Cut();

 private:
  explicit CutConnection(int fd);

  const int fd_;  // a second name of gRPC's socket, which gRPC closes when it likes
  std::unique_ptr<v1::InferenceService::Stub> stub_;
};

}  // namespace tandem
