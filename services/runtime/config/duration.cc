// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/config/duration.h"

#include <algorithm>
#include <cstdint>

namespace tandem {
namespace {

// The limit that duration.proto states: about 10,000 years.
constexpr int64_t kSecondsMax = 315'576'000'000;

}  // namespace

google::protobuf::Duration ToProto(absl::Duration duration) {
  const absl::Duration limit = absl::Seconds(kSecondsMax);
  duration = std::clamp(duration, -limit, limit);
  absl::Duration rest;
  google::protobuf::Duration out;
  out.set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &rest));
  out.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(rest)));
  return out;
}

absl::Duration FromProto(const google::protobuf::Duration& duration) {
  return absl::Seconds(std::clamp(duration.seconds(), -kSecondsMax, kSecondsMax)) +
         absl::Nanoseconds(duration.nanos());
}

}  // namespace tandem
