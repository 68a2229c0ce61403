// SPDX-License-Identifier: Apache-2.0
// JsonFields: reads an object of a file that nobody vouches for, field by field, and keeps the
// first fault: "client.cpu_cores: "many" is no number". A getter of a field that is absent or wrong
// notes that and gives a value that means nothing, so callers read on and ask once at the end.
// Borrows the JSON and the Status. One owner.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"

namespace tandem {

class JsonFields {
 public:
  // `path` is what messages call this object; empty = the file itself.
  JsonFields(const nlohmann::json& json, std::string path, absl::Status& first_fault);

  std::string Text(absl::string_view name);
  double Number(absl::string_view name);  // finite
  uint64_t Count(absl::string_view name);
  // Absent and null = nullopt.
  std::optional<double> OptionalNumber(absl::string_view name);
  // 0 … 10 years, to the microsecond.
  absl::Duration Seconds(absl::string_view name);
  JsonFields Object(absl::string_view name);
  // Calls `on_item` for each item of a list of objects.
  void Each(absl::string_view name, absl::FunctionRef<void(JsonFields)> on_item);
  // A list of whole numbers.
  std::vector<uint64_t> Counts(absl::string_view name);
  // A list of numbers from 0, with null for none.
  std::vector<std::optional<double>> Numbers(absl::string_view name);
  std::vector<std::string> Texts(absl::string_view name);
  // Names of the object's own fields.
  std::vector<std::string> Names() const;

  void Fault(absl::string_view name, absl::string_view what);

 private:
  const nlohmann::json& At(absl::string_view name);
  std::string PathOf(absl::string_view name) const;
  const nlohmann::json& List(absl::string_view name);
  void FaultOf(absl::string_view name, const nlohmann::json& value, absl::string_view wanted);

  const nlohmann::json& json_;
  const std::string path_;
  absl::Status& first_fault_;
};

}  // namespace tandem
