// SPDX-License-Identifier: Apache-2.0
#include "services/tools/flags.h"

#include <algorithm>
#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace tandem {
namespace {

const FlagSpec* Find(const std::vector<FlagSpec>& specs, absl::string_view name) {
  const auto it = std::find_if(specs.begin(), specs.end(),
                               [name](const FlagSpec& spec) { return spec.name == name; });
  return it == specs.end() ? nullptr : &*it;
}

template <typename Number>
absl::StatusOr<std::optional<Number>> WholeNumber(const Flags& flags, absl::string_view name) {
  if (!flags.Has(name)) return std::optional<Number>();
  Number value = 0;
  if (absl::SimpleAtoi(flags.Text(name), &value)) return std::optional<Number>(value);
  return absl::InvalidArgumentError(absl::StrCat("--", name, ": \"", flags.Text(name),
                                                 "\" is no whole number from 0 to ",
                                                 std::numeric_limits<Number>::max()));
}

}  // namespace

absl::StatusOr<Flags> Flags::Parse(const std::vector<FlagSpec>& specs,
                                   const std::vector<std::string>& arguments) {
  Flags flags;
  for (size_t i = 0; i < arguments.size(); ++i) {
    absl::string_view name = arguments[i];
    const bool dashed = absl::ConsumePrefix(&name, "--");
    const size_t equals = name.find('=');
    const std::string key(name.substr(0, equals));
    const FlagSpec* spec = dashed ? Find(specs, key) : nullptr;
    if (spec == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("unknown argument \"", arguments[i], "\""));
    }
    auto& values = flags.values_[key];
    if (!values.empty() && !spec->repeated) {
      return absl::InvalidArgumentError(absl::StrCat("--", key, " is given twice"));
    }
    const bool inline_value = equals != absl::string_view::npos;
    if (spec->value.empty()) {
      if (inline_value)
        return absl::InvalidArgumentError(absl::StrCat("--", key, " takes no value"));
      values.push_back("");
    } else if (inline_value) {
      values.push_back(std::string(name.substr(equals + 1)));
    } else if (i + 1 < arguments.size()) {
      values.push_back(arguments[++i]);
    } else {
      return absl::InvalidArgumentError(absl::StrCat("--", key, " needs a value"));
    }
  }
  return flags;
}

bool Flags::Has(absl::string_view name) const {
  return values_.find(name) != values_.end();
}

std::vector<std::string> Flags::Texts(absl::string_view name) const {
  const auto it = values_.find(name);
  return it == values_.end() ? std::vector<std::string>() : it->second;
}

std::string Flags::Text(absl::string_view name) const {
  const std::vector<std::string> all = Texts(name);
  return all.empty() ? "" : all.front();
}

absl::StatusOr<std::optional<float>> Flags::Float(absl::string_view name) const {
  if (!Has(name)) return std::optional<float>();
  float value = 0;
  if (absl::SimpleAtof(Text(name), &value)) return std::optional<float>(value);
  return absl::InvalidArgumentError(
      absl::StrCat("--", name, ": \"", Text(name), "\" is no number"));
}

absl::StatusOr<std::optional<uint64_t>> Flags::Unsigned(absl::string_view name) const {
  return WholeNumber<uint64_t>(*this, name);
}

absl::StatusOr<std::optional<uint32_t>> Flags::Count(absl::string_view name) const {
  return WholeNumber<uint32_t>(*this, name);
}

std::string Flags::Help(const std::vector<FlagSpec>& specs) {
  std::string out;
  for (const FlagSpec& spec : specs) {
    const std::string left =
        absl::StrCat("--", spec.name, spec.value.empty() ? "" : " ", spec.value);
    absl::StrAppend(&out, absl::StrFormat("  %-26s %s\n", left, spec.help));
  }
  return out;
}

}  // namespace tandem
