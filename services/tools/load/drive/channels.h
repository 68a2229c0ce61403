// SPDX-License-Identifier: Apache-2.0
// Channels: the connections that share a load, taken in turn. Connected before a run begins, or its
// first requests would tell how long that takes. Next is for one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "services/runtime/rpc/channel.h"
#include "services/tools/request_flags.h"
#include "tandem/v1/inference.grpc.pb.h"

namespace tandem {

class Channels {
 public:
  // At least one.
  Channels(const Connection& connection, uint32_t count);

  // Waits so long at most, in all; what is not there then shows in the calls.
  void Connect(absl::Duration timeout) const;
  v1::InferenceService::Stub& Next() { return *stubs_[next_++ % stubs_.size()]; }

 private:
  std::vector<Channel> channels_;
  std::vector<std::unique_ptr<v1::InferenceService::Stub>> stubs_;
  size_t next_ = 0;
};

}  // namespace tandem
