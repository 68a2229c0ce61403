// SPDX-License-Identifier: Apache-2.0
// What a router and the workers that register with it agree on. The version is that of worker.proto
// and registry.proto: it rises when one side would misread the other; a field that may be absent
// does not raise it.
#pragma once

#include <cstdint>

namespace tandem {

inline constexpr uint32_t kWorkerProtocolVersion = 1;
// A worker is forgotten when so many beats in a row did not come.
inline constexpr int kBeatsInTtl = 5;

}  // namespace tandem
