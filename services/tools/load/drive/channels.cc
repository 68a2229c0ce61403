// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/drive/channels.h"

#include <algorithm>

#include "services/runtime/base/check.h"
#include "services/runtime/base/clock.h"

namespace tandem {

Channels::Channels(const Connection& connection, uint32_t count) {
  CHECK_GT(count, 0U);
  for (uint32_t i = 0; i < count; ++i) {
    channels_.emplace_back(connection.channel);
    stubs_.push_back(channels_.back().NewStub<v1::InferenceService>());
  }
}

void Channels::Connect(absl::Duration timeout) const {
  const absl::Time end = Clock::Real().Now() + timeout;
  for (const Channel& channel : channels_) {
    const absl::Duration left = end - Clock::Real().Now();
    (void)channel.WaitForConnected(std::max(left, absl::ZeroDuration()));
  }
}

}  // namespace tandem
