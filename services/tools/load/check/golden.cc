// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/check/golden.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/json.h"
#include "services/runtime/base/status_macros.h"
#include "services/tools/read_file.h"

namespace tandem {
namespace {

using nlohmann::json;

bool IsId(const json& value) {
  return value.is_number_unsigned() && value.get<uint64_t>() <= UINT32_MAX;
}

bool AreIds(const json& list) {
  return list.is_array() && !list.empty() && std::all_of(list.begin(), list.end(), IsId);
}

// [[id, logprob], [id, logprob], …]: whether the best one leads by no more than kGoldenLead.
absl::StatusOr<bool> Undecided(const json& top) {
  const auto is_pair = [](const json& pair) {
    return pair.is_array() && pair.size() == 2 && pair[1].is_number();
  };
  if (!top.is_array() || !std::all_of(top.begin(), top.end(), is_pair)) {
    return absl::InvalidArgumentError("decode[].top is no list of [id, logprob]");
  }
  return top.size() >= 2 && top[0][1].get<double>() - top[1][1].get<double>() <= kGoldenLead;
}

absl::StatusOr<std::vector<GoldenToken>> AnswerOf(const json& golden) {
  std::vector<GoldenToken> answer;
  const json tokens = golden.value("tokens", json());
  if (AreIds(tokens)) {
    for (const json& id : tokens) answer.push_back({.id = id.get<uint32_t>()});
    return answer;
  }
  const json decode = golden.value("decode", json());
  if (!decode.is_array() || decode.empty()) {
    return absl::InvalidArgumentError("neither tokens nor decode has an answer");
  }
  for (const json& step : decode) {
    if (!step.is_object() || !IsId(step.value("token", json()))) {
      return absl::InvalidArgumentError("decode[].token is no token id");
    }
    GoldenToken token = {.id = step["token"].get<uint32_t>()};
    ASSIGN_OR_RETURN(token.undecided, Undecided(step.value("top", json::array())));
    answer.push_back(token);
  }
  return answer;
}

absl::StatusOr<Golden> GoldenOf(const std::string& name, const json& in) {
  if (!in.is_object()) return absl::InvalidArgumentError("no JSON object");
  Golden golden = {.name = name};
  const json prompt = in.value("prompt", json());
  if (!AreIds(prompt)) return absl::InvalidArgumentError("prompt is no list of token ids");
  golden.prompt = prompt.get<std::vector<uint32_t>>();
  ASSIGN_OR_RETURN(golden.answer, AnswerOf(in));
  return golden;
}

}  // namespace

absl::StatusOr<std::vector<Golden>> ParseGoldens(absl::string_view file, absl::string_view text) {
  const json root = ParseFileJson(text);
  const json cases = root.is_object() ? root.value("cases", json()) : json();
  if (!cases.is_object() || cases.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": no JSON object with cases"));
  }
  std::vector<Golden> goldens;
  for (const auto& [name, in] : cases.items()) {
    auto golden = GoldenOf(name, in);
    if (!golden.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(file, " case ", name, ": ", golden.status().message()));
    }
    goldens.push_back(*std::move(golden));
  }
  return goldens;
}

absl::StatusOr<std::vector<Golden>> ReadGoldens(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return ParseGoldens(path, text);
}

}  // namespace tandem
