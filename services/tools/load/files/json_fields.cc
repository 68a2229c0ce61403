// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/files/json_fields.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

using Json = nlohmann::json;

constexpr size_t kShownMax = 60;                    // bytes of a wrong value in a message
constexpr double kSecondsMax = 10 * 365 * 86400.0;  // ten years

const Json& Null() {
  static const Json null;
  return null;
}

std::string Shown(const Json& value) {
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
  if (text.size() > kShownMax) text = text.substr(0, kShownMax) + "…";
  return text;
}

bool IsFinite(const Json& value) {
  return value.is_number() && std::isfinite(value.get<double>());
}

bool IsCount(const Json& value) {
  return value.is_number_unsigned() || (value.is_number_integer() && value.get<int64_t>() >= 0);
}

}  // namespace

JsonFields::JsonFields(const Json& json, std::string path, absl::Status& first_fault)
    : json_(json), path_(std::move(path)), first_fault_(first_fault) {
  if (!json_.is_object()) FaultOf("", json_, "an object");
}

std::string JsonFields::PathOf(absl::string_view name) const {
  if (name.empty()) return path_.empty() ? "the file" : path_;
  return absl::StrCat(path_, path_.empty() ? "" : ".", name);
}

void JsonFields::Fault(absl::string_view name, absl::string_view what) {
  if (!first_fault_.ok()) return;
  first_fault_ = absl::InvalidArgumentError(absl::StrCat(PathOf(name), ": ", what));
}

void JsonFields::FaultOf(absl::string_view name, const Json& value, absl::string_view wanted) {
  if (value.is_null()) {
    Fault(name, absl::StrCat("is missing, wanted ", wanted));
  } else {
    Fault(name, absl::StrCat(Shown(value), " is not ", wanted));
  }
}

const Json& JsonFields::At(absl::string_view name) {
  if (!json_.is_object()) return Null();
  const auto it = json_.find(std::string(name));
  return it == json_.end() ? Null() : *it;
}

const Json& JsonFields::List(absl::string_view name) {
  const Json& value = At(name);
  if (!value.is_array()) FaultOf(name, value, "a list");
  return value.is_array() ? value : Null();
}

std::string JsonFields::Text(absl::string_view name) {
  const Json& value = At(name);
  if (value.is_string()) return value.get<std::string>();
  FaultOf(name, value, "a text");
  return "";
}

double JsonFields::Number(absl::string_view name) {
  const Json& value = At(name);
  if (IsFinite(value)) return value.get<double>();
  FaultOf(name, value, "a number");
  return 0;
}

std::optional<double> JsonFields::OptionalNumber(absl::string_view name) {
  if (At(name).is_null()) return std::nullopt;
  return Number(name);
}

uint64_t JsonFields::Count(absl::string_view name) {
  const Json& value = At(name);
  if (IsCount(value)) return value.get<uint64_t>();
  FaultOf(name, value, "a whole number from 0");
  return 0;
}

absl::Duration JsonFields::Seconds(absl::string_view name) {
  const Json& value = At(name);
  if (IsFinite(value) && value.get<double>() >= 0 && value.get<double>() <= kSecondsMax) {
    return absl::Microseconds(std::round(value.get<double>() * 1e6));
  }
  FaultOf(name, value, "a number of seconds from 0 to ten years");
  return absl::ZeroDuration();
}

JsonFields JsonFields::Object(absl::string_view name) {
  return JsonFields(At(name), PathOf(name), first_fault_);
}

void JsonFields::Each(absl::string_view name, absl::FunctionRef<void(JsonFields)> on_item) {
  size_t i = 0;
  for (const Json& item : List(name)) {
    on_item(JsonFields(item, absl::StrCat(PathOf(name), "[", i++, "]"), first_fault_));
  }
}

std::vector<uint64_t> JsonFields::Counts(absl::string_view name) {
  std::vector<uint64_t> out;
  for (const Json& item : List(name)) {
    const std::string place = absl::StrCat(name, "[", out.size(), "]");
    if (!IsCount(item)) FaultOf(place, item, "a whole number from 0");
    out.push_back(IsCount(item) ? item.get<uint64_t>() : 0);
  }
  return out;
}

std::vector<std::optional<double>> JsonFields::Numbers(absl::string_view name) {
  std::vector<std::optional<double>> out;
  for (const Json& item : List(name)) {
    const bool good = IsFinite(item) && item.get<double>() >= 0;
    const std::string place = absl::StrCat(name, "[", out.size(), "]");
    if (!good && !item.is_null()) FaultOf(place, item, "a number from 0, or null");
    out.push_back(good ? std::optional<double>(item.get<double>()) : std::nullopt);
  }
  return out;
}

std::vector<std::string> JsonFields::Texts(absl::string_view name) {
  std::vector<std::string> out;
  for (const Json& item : List(name)) {
    const std::string place = absl::StrCat(name, "[", out.size(), "]");
    if (!item.is_string()) FaultOf(place, item, "a text");
    out.push_back(item.is_string() ? item.get<std::string>() : "");
  }
  return out;
}

std::vector<std::string> JsonFields::Names() const {
  std::vector<std::string> names;
  if (!json_.is_object()) return names;
  for (const auto& [name, value] : json_.items()) names.push_back(name);
  return names;
}

}  // namespace tandem
