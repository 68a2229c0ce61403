// SPDX-License-Identifier: Apache-2.0
// Ends a streamed answer at the first stop string, which is not shown.
//
// The stop string that is complete first ends the text; of those complete at the same byte, the
// longest. Only text that may be the start of a stop string is held back. Results do not depend on
// how the text is cut; linear time. One object a stream.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/runtime/text/chat/multi_match.h"

namespace tandem {

inline constexpr size_t kMaxStopStrings = 64;
inline constexpr size_t kMaxStopStringBytes = 1024;

class StopStrings final {
 public:
  // INVALID_ARGUMENT for an empty string or one past a limit above.
  static absl::StatusOr<StopStrings> Create(std::vector<std::string> strings);

  // The part of the text so far that may be shown and was not yet. After a stop: nothing.
  std::string Append(absl::string_view text);

  // At the end of a stream without stop: what was held back. After a stop: nothing.
  std::string Flush();

  // The stop string met; empty before.
  absl::string_view stopped_by() const { return stopped_by_; }
  bool stopped() const { return !stopped_by_.empty(); }

 private:
  explicit StopStrings(std::unique_ptr<const MultiMatch> strings)
      : strings_(std::move(strings)), stream_(*strings_) {}

  std::unique_ptr<const MultiMatch> strings_;
  MultiMatchStream stream_;
  std::string stopped_by_;
};

}  // namespace tandem
