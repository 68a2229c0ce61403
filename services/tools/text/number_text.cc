// SPDX-License-Identifier: Apache-2.0
#include "services/tools/text/number_text.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tandem {

std::string CountText(uint64_t count) {
  std::string text = absl::StrCat(count);
  for (size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, 1, ',');
  return text;
}

std::string NumberText(double number) {
  if (number < 0) return absl::StrCat("-", NumberText(-number));
  if (!std::isfinite(number)) return "∞";
  if (number == 0) return "0";
  if (number < 0.9995) return absl::StrFormat("%.3f", number);
  if (number < 9.995) return absl::StrFormat("%.2f", number);
  if (number < 99.95) return absl::StrFormat("%.1f", number);
  return CountText(static_cast<uint64_t>(std::llround(number)));
}

std::string MsText(absl::Duration duration) {
  return NumberText(absl::ToDoubleMilliseconds(duration));
}

std::string DurationText(absl::Duration duration) {
  const double seconds = absl::ToDoubleSeconds(duration);
  if (seconds < 1) return absl::StrCat(MsText(duration), " ms");
  if (seconds < 119.95) return absl::StrFormat("%.1f s", seconds);
  const int64_t whole = std::llround(seconds);
  if (whole < 3600) return absl::StrFormat("%d min %d s", whole / 60, whole % 60);
  return absl::StrFormat("%d h %d min", whole / 3600, whole % 3600 / 60);
}

std::string PercentText(double share) {
  const double percent = share * 100;
  // 99.97 % is not all of them, and 0.03 % is not none.
  if (percent > 99.9 && percent < 100) return absl::StrFormat("%.2f %%", std::min(percent, 99.99));
  if (percent > 0 && percent < 0.1) return absl::StrFormat("%.2f %%", std::max(percent, 0.01));
  return absl::StrFormat("%.1f %%", percent);
}

std::string BytesText(uint64_t bytes) {
  const double mib = static_cast<double>(bytes) / (1 << 20);
  if (mib < 1024) return absl::StrCat(NumberText(mib), " MiB");
  return absl::StrCat(NumberText(mib / 1024), " GiB");
}

}  // namespace tandem
