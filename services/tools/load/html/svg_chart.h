// SPDX-License-Identifier: Apache-2.0
// Charts as inline SVG: lines over one list of x values, and stacked bars. Colours are classes
// s0 … s5 of the page's style, so light and dark come from there; what the pointer reads at an x
// stands in data-x and data-text for the page's script, and is not needed to understand the chart.
// Pure; thread-safe.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace tandem {

enum class XScale : uint8_t {
  kLinear,
  kNines,  // x is a share: 0, 90 %, 99 %, 99.9 % stand equally far apart
};

struct Series {
  std::string name;
  std::vector<std::optional<double>> values;  // one an x; a gap where absent
};

struct LineChart {
  std::string title;
  std::string x_label;
  std::string y_label;
  std::vector<double> xs;
  std::vector<std::string> x_names;  // what the pointer reads at each x
  std::vector<Series> series;        // at most six
  XScale x_scale = XScale::kLinear;
  bool logarithmic = false;  // y; zeros are left out
  bool dots = false;         // few points that each mean something
};
// A <figure>. Without any value it says so.
std::string ToSvg(const LineChart& chart);

struct BarPart {
  std::string name;
  double value = 0;
};
struct Bar {
  std::string name;
  std::vector<BarPart> parts;  // at most six, the same names in every bar
};
struct BarChart {
  std::string title;
  std::string unit;
  std::vector<Bar> bars;  // each is drawn to its own scale, so that parts can be told apart
};
std::string ToSvg(const BarChart& chart);

}  // namespace tandem
