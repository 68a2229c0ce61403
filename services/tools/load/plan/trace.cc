// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/plan/trace.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/runtime/base/json.h"
#include "services/runtime/base/status_macros.h"
#include "services/tools/load/plan/lengths.h"
#include "services/tools/read_file.h"

namespace tandem {
namespace {

using nlohmann::json;

constexpr double kTimestampMax = 1e12;  // ms
constexpr size_t kShownBytes = 40;

absl::Status Wrong(absl::string_view field, const json& object, const std::string& limit) {
  const auto it = object.find(field);
  const std::string value = it == object.end() ? "absent" : it->dump();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", value.substr(0, kShownBytes), ", not ", limit));
}

absl::StatusOr<uint64_t> Whole(absl::string_view field, const json& object, uint64_t low,
                               uint64_t high) {
  const auto it = object.find(field);
  if (it != object.end() && it->is_number_unsigned()) {
    const auto value = it->get<uint64_t>();
    if (value >= low && value <= high) return value;
  }
  return Wrong(field, object, absl::StrCat("a whole number from ", low, " to ", high));
}

absl::StatusOr<TraceLine> ParseLine(absl::string_view text) {
  const json object = ParseFileJson(text);
  if (!object.is_object()) return absl::InvalidArgumentError("no JSON object");
  TraceLine line;
  const auto at = object.find("timestamp");
  if (at == object.end() || !at->is_number() || !(at->get<double>() >= 0) ||
      at->get<double>() > kTimestampMax) {
    return Wrong("timestamp", object, absl::StrCat("a number from 0 to ", kTimestampMax, " ms"));
  }
  line.at = absl::Milliseconds(at->get<double>());
  ASSIGN_OR_RETURN(line.prompt_tokens, Whole("input_length", object, 1, kLengthMax));
  ASSIGN_OR_RETURN(line.output_tokens, Whole("output_length", object, 1, kLengthMax));
  if (object.contains("group")) {
    ASSIGN_OR_RETURN(line.group, Whole("group", object, 0, UINT32_MAX));
  }
  if (!object.contains("hash_ids")) return line;
  const json& ids = object["hash_ids"];
  const auto is_id = [](const json& id) { return id.is_number_unsigned(); };
  if (!ids.is_array() || !std::all_of(ids.begin(), ids.end(), is_id)) {
    return Wrong("hash_ids", object, "a list of whole numbers");
  }
  line.blocks = ids.get<std::vector<uint64_t>>();
  return line;
}

}  // namespace

absl::StatusOr<std::vector<TraceLine>> ParseTrace(absl::string_view name, absl::string_view text) {
  std::vector<TraceLine> lines;
  absl::Duration first;
  int number = 0;
  for (absl::string_view piece : absl::StrSplit(text, '\n')) {
    ++number;
    if (absl::StripAsciiWhitespace(piece).empty()) continue;
    auto line = ParseLine(piece);
    if (line.ok() && !lines.empty() && line->at < first + lines.back().at) {
      line = absl::InvalidArgumentError("timestamp is before that of the line above");
    }
    if (!line.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, " line ", number, ": ", line.status().message()));
    }
    if (lines.empty()) first = line->at;
    line->at -= first;
    lines.push_back(*std::move(line));
  }
  if (lines.empty()) return absl::InvalidArgumentError(absl::StrCat(name, ": no request"));
  return lines;
}

absl::StatusOr<std::vector<TraceLine>> ReadTrace(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return ParseTrace(path, text);
}

}  // namespace tandem
