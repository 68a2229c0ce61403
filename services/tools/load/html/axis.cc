// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/html/axis.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/tools/text/number_text.h"

namespace tandem {
namespace {

constexpr double kTicksWanted = 5;
constexpr double kNinesMost = 6;

// The step of 1, 2 or 5 times a power of ten that gives about kTicksWanted of them.
double StepFor(double span) {
  const double rough = span / kTicksWanted;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough * 0.999) return factor * power;
  }
  return 10 * power;
}

// Whole numbers without decimals, small ones with what they need.
std::string TickText(double value) {
  const double size = std::abs(value);
  if (size >= 1000) return absl::StrCat(value < 0 ? "-" : "", CountText(std::llround(size)));
  return absl::StrFormat("%.3g", size < 1e-12 ? 0 : value);
}

}  // namespace

Axis Axis::Linear(double least, double most) {
  const double low = std::min(least, 0.0);
  const double high = most > low ? most : low + 1;
  const double step = StepFor(high - low);
  Axis axis(Kind::kLinear, std::floor(low / step) * step, std::ceil(high / step - 1e-9) * step);
  const auto count = static_cast<int>(std::llround((axis.end_ - axis.begin_) / step));
  for (int i = 0; i <= count; ++i) {
    const double value = axis.begin_ + i * step;
    axis.ticks_.push_back({.value = value, .text = TickText(value)});
  }
  return axis;
}

Axis Axis::Logarithmic(double least, double most) {
  std::vector<double> marks;
  for (double power = std::pow(10, std::floor(std::log10(least))); power <= most * 10;
       power *= 10) {
    for (const double factor : {1.0, 2.0, 5.0}) marks.push_back(factor * power);
  }
  const auto above = std::upper_bound(marks.begin(), marks.end(), least);
  const auto first = above == marks.begin() ? above : above - 1;
  auto last = std::lower_bound(first, marks.end(), most);
  if (last == first) ++last;
  Axis axis(Kind::kLogarithmic, std::log10(*first), std::log10(*last));
  const bool decades = last - first > 9;
  for (auto mark = first; mark <= last; ++mark) {
    const double power = std::log10(*mark);
    if (decades && std::abs(power - std::round(power)) > 1e-6) continue;
    axis.ticks_.push_back({.value = *mark, .text = TickText(*mark)});
  }
  return axis;
}

Axis Axis::Nines(double nines) {
  const double end = std::clamp(nines, 1.0, kNinesMost);
  Axis axis(Kind::kNines, 0, end);
  axis.ticks_ = {{.value = 0, .text = "0"}, {.value = 0.5, .text = "50 %"}};
  std::string text = "90";
  for (int i = 1; i <= end + 1e-9; ++i) {
    axis.ticks_.push_back({.value = 1 - std::pow(10, -i), .text = text + " %"});
    text = i == 1 ? "99" : i == 2 ? "99.9" : text + "9";
  }
  return axis;
}

double Axis::Raw(double value) const {
  switch (kind_) {
    case Kind::kLogarithmic:
      return std::log10(value);
    case Kind::kNines:
      return -std::log10(std::max(1 - value, 1e-9));
    case Kind::kLinear:
      break;
  }
  return value;
}

double Axis::PlaceOf(double value) const {
  return std::clamp((Raw(value) - begin_) / (end_ - begin_), 0.0, 1.0);
}

}  // namespace tandem
