// SPDX-License-Identifier: Apache-2.0
// Numbers for people: as many digits as say something, thousands apart. Pure functions;
// thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace tandem {

// 1234567 → "1,234,567".
std::string CountText(uint64_t count);
// "0.042", "7.31", "48.2", "1,234": at least three digits.
std::string NumberText(double number);
// Milliseconds without the unit.
std::string MsText(absl::Duration duration);
// "850 ms", "12.4 s", "3 min 20 s", "2 h 5 min".
std::string DurationText(absl::Duration duration);
// 0.9712 → "97.1 %".
std::string PercentText(double share);
// "48 MiB".
std::string BytesText(uint64_t bytes);

}  // namespace tandem
