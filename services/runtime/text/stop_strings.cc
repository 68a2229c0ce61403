// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/text/stop_strings.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace tandem {

absl::StatusOr<StopStrings> StopStrings::Create(std::vector<std::string> strings) {
  if (strings.size() > kMaxStopStrings) {
    return absl::InvalidArgumentError(
        absl::StrCat("stop: ", strings.size(), " strings; the limit is ", kMaxStopStrings));
  }
  for (size_t i = 0; i < strings.size(); ++i) {
    if (strings[i].empty() || strings[i].size() > kMaxStopStringBytes) {
      return absl::InvalidArgumentError(absl::StrCat(
          "stop[", i, "]: ", strings[i].size(), " bytes; expected 1 to ", kMaxStopStringBytes));
    }
  }
  return StopStrings(std::make_unique<const MultiMatch>(std::move(strings)));
}

std::string StopStrings::Append(absl::string_view text) {
  std::string shown;
  if (stopped()) return shown;
  const MultiMatchStream::Step step = stream_.Read(text, &shown);
  if (step.match.has_value()) stopped_by_ = strings_->string(*step.match);
  return shown;
}

std::string StopStrings::Flush() {
  std::string shown;
  stream_.Flush(&shown);
  return shown;
}

}  // namespace tandem
