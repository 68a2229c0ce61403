// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/plan/lengths.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/runtime/base/status_macros.h"
#include "services/tools/read_file.h"

namespace tandem {
namespace {

constexpr double kSigmaMax = 10;

absl::StatusOr<uint32_t> ParseTokens(absl::string_view text) {
  uint32_t tokens = 0;
  if (absl::SimpleAtoi(text, &tokens) && tokens >= 1 && tokens <= kLengthMax) return tokens;
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is no number of tokens from 1 to ", kLengthMax));
}

absl::StatusOr<double> ParseAbove0(absl::string_view name, absl::string_view text, double max) {
  double value = 0;
  if (absl::SimpleAtod(text, &value) && value > 0 && value <= max) return value;
  return absl::InvalidArgumentError(
      absl::StrCat(name, " \"", text, "\" is no number above 0 up to ", max));
}

}  // namespace

absl::StatusOr<Lengths> Lengths::Parse(absl::string_view flag, absl::string_view text) {
  const auto parse = [](absl::string_view rest) -> absl::StatusOr<Lengths> {
    if (absl::ConsumePrefix(&rest, "lognormal:")) return ParseLogNormal(rest);
    if (absl::ConsumePrefix(&rest, "file:")) return ReadHistogram(std::string(rest));
    const size_t dots = rest.find("..");
    if (dots == absl::string_view::npos) {
      ASSIGN_OR_RETURN(const uint32_t tokens, ParseTokens(rest));
      return Fixed(tokens);
    }
    ASSIGN_OR_RETURN(const uint32_t low, ParseTokens(rest.substr(0, dots)));
    ASSIGN_OR_RETURN(const uint32_t high, ParseTokens(rest.substr(dots + 2)));
    if (low <= high) return Lengths(Uniform{.low = low, .high = high});
    return absl::InvalidArgumentError(absl::StrCat(low, " is above ", high));
  };
  absl::StatusOr<Lengths> lengths = parse(text);
  if (lengths.ok()) return lengths;
  return absl::InvalidArgumentError(absl::StrCat("--", flag, ": ", lengths.status().message()));
}

absl::StatusOr<Lengths> Lengths::ParseLogNormal(absl::string_view text) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, ',');
  if (parts.size() != 3) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"lognormal:", text, "\" is not lognormal:MEAN,SIGMA,MAX"));
  }
  ASSIGN_OR_RETURN(const double mean, ParseAbove0("MEAN", parts[0], kLengthMax));
  ASSIGN_OR_RETURN(const double sigma, ParseAbove0("SIGMA", parts[1], kSigmaMax));
  ASSIGN_OR_RETURN(const uint32_t max, ParseTokens(parts[2]));
  return Lengths(LogNormal{.mu = std::log(mean) - sigma * sigma / 2, .sigma = sigma, .max = max});
}

absl::StatusOr<Lengths> Lengths::ReadHistogram(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  Histogram histogram;
  double sum = 0;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    const std::vector<absl::string_view> parts =
        absl::StrSplit(line, absl::ByAnyChar(", \t\r"), absl::SkipEmpty());
    if (parts.empty() || parts[0].front() == '#') continue;
    const auto tokens = ParseTokens(parts[0]);
    double weight = 0;
    const bool weighed = parts.size() == 2 && absl::SimpleAtod(parts[1], &weight) && weight >= 0 &&
                         std::isfinite(weight);
    if (!tokens.ok() || !weighed) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, " line ", number, ": \"", line, "\" is not LENGTH WEIGHT, with a length from 1 to ",
          kLengthMax, " and a weight of 0 or more"));
    }
    sum += weight;
    histogram.tokens.push_back(*tokens);
    histogram.cumulated.push_back(sum);
  }
  if (sum > 0) return Lengths(std::move(histogram));
  return absl::InvalidArgumentError(absl::StrCat(path, ": no length has a weight above 0"));
}

uint32_t Lengths::Draw(Random& random) const {
  if (const auto* uniform = std::get_if<Uniform>(&shape_)) {
    if (uniform->low == uniform->high) return uniform->low;
    return uniform->low +
           static_cast<uint32_t>(random.Below(uint64_t{uniform->high} - uniform->low + 1));
  }
  if (const auto* normal = std::get_if<LogNormal>(&shape_)) {
    const double tokens = std::exp(normal->mu + normal->sigma * random.Normal());
    return static_cast<uint32_t>(std::clamp<double>(std::round(tokens), 1, normal->max));
  }
  const Histogram& histogram = std::get<Histogram>(shape_);
  const double at = random.Unit() * histogram.cumulated.back();
  const auto it = std::upper_bound(histogram.cumulated.begin(), histogram.cumulated.end(), at);
  return histogram
      .tokens[std::min<size_t>(it - histogram.cumulated.begin(), histogram.tokens.size() - 1)];
}

uint32_t Lengths::max() const {
  if (const auto* uniform = std::get_if<Uniform>(&shape_)) return uniform->high;
  if (const auto* normal = std::get_if<LogNormal>(&shape_)) return normal->max;
  const Histogram& histogram = std::get<Histogram>(shape_);
  return *std::max_element(histogram.tokens.begin(), histogram.tokens.end());
}

}  // namespace tandem
