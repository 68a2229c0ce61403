// SPDX-License-Identifier: Apache-2.0
// Flags: --name VALUE, --name=VALUE and --switch arguments of the command line tool. An unknown
// flag, a missing or malformed value is an error that names the flag. One use, one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tandem {

struct FlagSpec {
  std::string name;   // without the dashes
  std::string value;  // what the help calls its value; empty = a switch
  std::string help;
  bool repeated = false;
};

class Flags {
 public:
  // `arguments` without program and verb.
  static absl::StatusOr<Flags> Parse(const std::vector<FlagSpec>& specs,
                                     const std::vector<std::string>& arguments);

  bool Has(absl::string_view name) const;
  // The value, or empty.
  std::string Text(absl::string_view name) const;
  std::vector<std::string> Texts(absl::string_view name) const;
  // Absent = nullopt. INVALID_ARGUMENT for what is no such number; NaN and infinities are numbers.
  absl::StatusOr<std::optional<float>> Float(absl::string_view name) const;
  absl::StatusOr<std::optional<uint64_t>> Unsigned(absl::string_view name) const;
  absl::StatusOr<std::optional<uint32_t>> Count(absl::string_view name) const;

  static std::string Help(const std::vector<FlagSpec>& specs);

 private:
  std::map<std::string, std::vector<std::string>, std::less<>> values_;
};

}  // namespace tandem
