// SPDX-License-Identifier: Apache-2.0
#include "services/tools/flags.h"

#include <algorithm>
#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace tandem {
namespace {

constexpr size_t kHelpColumn = 27;
constexpr size_t kHelpWidth = 70;

// Lines after the first begin below it.
std::string Wrapped(absl::string_view text) {
  std::string out;
  size_t width = 0;
  for (const absl::string_view word : absl::StrSplit(text, ' ')) {
    if (width > 0 && width + 1 + word.size() > kHelpWidth) {
      absl::StrAppend(&out, "\n", std::string(kHelpColumn + 2, ' '));
      width = 0;
    }
    absl::StrAppend(&out, width > 0 ? " " : "", word);
    width += word.size() + (width > 0 ? 1 : 0);
  }
  return out;
}

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
    // "…" takes three bytes and one column.
    const size_t more = absl::StrReplaceAll(left, {{"…", "."}}).size();
    const std::string gap(more < kHelpColumn ? kHelpColumn - more : 1, ' ');
    absl::StrAppend(&out, "  ", left, gap, Wrapped(spec.help), "\n");
  }
  return out;
}

}  // namespace tandem
