// SPDX-License-Identifier: Apache-2.0
// google.protobuf.Duration <-> absl::Duration. Pure; thread-safe. Out-of-range values saturate.
#pragma once

#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"

namespace tandem {

google::protobuf::Duration ToProto(absl::Duration duration);
absl::Duration FromProto(const google::protobuf::Duration& duration);

}  // namespace tandem
