// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/model/config/field_reader.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "services/runtime/base/json.h"

namespace tandem {
namespace {

using Json = nlohmann::json;

constexpr std::streamoff kMaxTextBytes = 16 << 20;

// A value as it goes into an error line: one line, short, valid UTF-8.
std::string Shown(const Json& value) {
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
  if (text.size() > 60) text = absl::StrCat(text.substr(0, 57), "...");
  return text;
}

}  // namespace

absl::StatusOr<std::string> ReadTextFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) return absl::NotFoundError(absl::StrCat(path, ": cannot be opened"));
  const std::streamoff size = in.tellg();
  if (size < 0 || size > kMaxTextBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": must be a file of at most ", kMaxTextBytes, " bytes, got ", size));
  }
  std::string text(static_cast<size_t>(size), '\0');
  in.seekg(0);
  if (!in.read(text.data(), size))
    return absl::DataLossError(absl::StrCat(path, ": cannot be read"));
  return text;
}

FieldReader::FieldReader(absl::string_view file, Json object)
    : file_(file), object_(std::move(object)) {}

absl::StatusOr<FieldReader> FieldReader::Parse(absl::string_view file, absl::string_view text) {
  Json object = ParseFileJson(text);
  if (!object.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(
        file, ": must be one JSON object, got ",
        object.is_discarded() ? "text that is not JSON, or too deep" : object.type_name()));
  }
  return FieldReader(file, std::move(object));
}

const Json* FieldReader::Find(absl::string_view field) const {
  const Json* at = &object_;
  for (absl::string_view step : absl::StrSplit(field, '.')) {
    if (!at->is_object()) return nullptr;
    const auto it = at->find(std::string(step));
    if (it == at->end()) return nullptr;
    at = &*it;
  }
  return at;
}

const Json* FieldReader::Require(absl::string_view field) {
  const Json* value = Find(field);
  if (value == nullptr && status_.ok()) {
    status_ = absl::InvalidArgumentError(absl::StrCat(file_, ": ", field, " is missing"));
  }
  return value;
}

void FieldReader::Fault(absl::string_view field, absl::string_view limit, const Json& value) {
  if (!status_.ok()) return;
  status_ = absl::InvalidArgumentError(
      absl::StrCat(file_, ": ", field, " must be ", limit, ", got ", Shown(value)));
}

bool FieldReader::Has(absl::string_view field) const {
  return Find(field) != nullptr;
}

int64_t FieldReader::Int(absl::string_view field, const IntLimits& limits) {
  const Json* value = Require(field);
  if (value == nullptr) return limits.min;
  const bool fits = value->is_number_integer() &&
                    (!value->is_number_unsigned() ||
                     value->get<uint64_t>() <= uint64_t{std::numeric_limits<int64_t>::max()});
  const int64_t got = fits ? value->get<int64_t>() : 0;
  if (fits && got >= limits.min && got <= limits.max && got % limits.multiple_of == 0) return got;
  Fault(field,
        absl::StrCat(
            "an integer from ", limits.min, " to ", limits.max,
            limits.multiple_of == 1 ? "" : absl::StrCat(", a multiple of ", limits.multiple_of)),
        *value);
  return limits.min;
}

double FieldReader::Number(absl::string_view field, const NumberLimits& limits) {
  const Json* value = Require(field);
  if (value == nullptr) return limits.min;
  const double got = value->is_number() ? value->get<double>() : 0;
  if (value->is_number() && got >= limits.min && got <= limits.max) return got;
  Fault(field, absl::StrCat("a number from ", limits.min, " to ", limits.max), *value);
  return limits.min;
}

std::vector<int> FieldReader::IntList(absl::string_view field, const ListLimits& limits) {
  const Json* value = Require(field);
  if (value == nullptr) return {};
  if (!value->is_array() || value->size() < static_cast<size_t>(limits.length)) {
    Fault(field, absl::StrCat("a list of at least ", limits.length, " integers"), *value);
    return {};
  }
  std::vector<int> out;
  for (int i = 0; i < limits.length; ++i) {
    const Json& entry = (*value)[i];
    const auto match = std::find_if(limits.allowed.begin(), limits.allowed.end(), [&](int allowed) {
      return entry.is_number_integer() && entry == allowed;
    });
    if (match == limits.allowed.end()) {
      Fault(absl::StrCat(field, "[", i, "]"),
            absl::StrCat("one of ", absl::StrJoin(limits.allowed, ", ")), entry);
      return {};
    }
    out.push_back(*match);
  }
  return out;
}

void FieldReader::MustBe(absl::string_view field, const Json& value) {
  const Json* got = Require(field);
  if (got != nullptr && *got != value) Fault(field, Shown(value), *got);
}

void FieldReader::MayOnlyBe(absl::string_view field, const Json& value) {
  if (Has(field)) MustBe(field, value);
}

}  // namespace tandem
