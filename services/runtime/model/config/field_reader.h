// SPDX-License-Identifier: Apache-2.0
// FieldReader: reads the fields of one JSON object and checks each against its limits as it is
// read. The first fault is kept in status() and names file, field, limit and value; after a fault
// every read returns a harmless value, so callers read everything and ask once. A dot in a field's
// name steps into an object. Not thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace tandem {

struct IntLimits {
  int64_t min = 0;
  int64_t max = 0;
  int64_t multiple_of = 1;
};

struct NumberLimits {
  double min = 0;
  double max = 0;
};

struct ListLimits {
  int length = 0;            // at least; entries beyond are dropped
  std::vector<int> allowed;  // every kept entry is one of these
};

// The text of a file of at most 16 MiB. NOT_FOUND when there is none.
absl::StatusOr<std::string> ReadTextFile(const std::string& path);

class FieldReader {
 public:
  // `file` is the name that errors carry.
  static absl::StatusOr<FieldReader> Parse(absl::string_view file, absl::string_view text);

  bool Has(absl::string_view field) const;
  int64_t Int(absl::string_view field, const IntLimits& limits);
  double Number(absl::string_view field, const NumberLimits& limits);
  std::vector<int> IntList(absl::string_view field, const ListLimits& limits);
  void MustBe(absl::string_view field, const nlohmann::json& value);
  // As MustBe, but the field may be missing.
  void MayOnlyBe(absl::string_view field, const nlohmann::json& value);

  const absl::Status& status() const { return status_; }

 private:
  FieldReader(absl::string_view file, nlohmann::json object);
  const nlohmann::json* Find(absl::string_view field) const;  // null when missing
  const nlohmann::json* Require(absl::string_view field);     // as Find; missing is a fault
  void Fault(absl::string_view field, absl::string_view limit, const nlohmann::json& value);

  std::string file_;
  nlohmann::json object_;
  absl::Status status_;
};

}  // namespace tandem
