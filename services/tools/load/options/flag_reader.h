// SPDX-License-Identifier: Apache-2.0
// FlagReader: numbers and times of flags with their limits. The first flag that is wrong makes the
// status; values read after it mean nothing. One use, one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/tools/flags.h"

namespace tandem {

class FlagReader {
 public:
  explicit FlagReader(const Flags& flags) : flags_(flags) {}

  struct WholeLimits {
    uint64_t low = 0;
    uint64_t high = UINT64_MAX;
  };
  std::optional<uint64_t> Whole(absl::string_view name, WholeLimits limits);
  struct Limits {
    double low = 0;
    double high = 0;
  };
  std::optional<double> Number(absl::string_view name, Limits limits);
  struct TimeLimits {
    absl::Duration low;
    absl::Duration high = absl::Hours(24 * 30);
  };
  std::optional<absl::Duration> Time(absl::string_view name, TimeLimits limits);

  // --name: message.
  void Wrong(absl::string_view name, const std::string& message);
  // As Wrong, for what makes its own message.
  void Keep(const absl::Status& status) { status_.Update(status); }

  bool Has(absl::string_view name) const { return flags_.Has(name); }
  std::string Text(absl::string_view name) const { return flags_.Text(name); }
  const Flags& flags() const { return flags_; }
  const absl::Status& status() const { return status_; }

  // The same for a piece of a flag's value.
  double Piece(absl::string_view name, absl::string_view text, Limits limits);

 private:
  const Flags& flags_;
  absl::Status status_;
};

}  // namespace tandem
