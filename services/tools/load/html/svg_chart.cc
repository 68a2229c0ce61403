// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/html/svg_chart.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "services/tools/load/html/axis.h"
#include "services/tools/load/html/html_text.h"
#include "services/tools/text/number_text.h"

namespace tandem {
namespace {

// Units of the viewBox; the page scales it to the column's width.
constexpr double kWidth = 560;
constexpr double kHeight = 246;
constexpr double kLeft = 52;
constexpr double kRight = 548;
constexpr double kTop = 28;
constexpr double kBottom = 206;
constexpr double kXTickText = 16;  // below the plot
constexpr double kXLabel = 34;

std::string Pixel(double value) {
  return absl::StrFormat("%.1f", value);
}

std::string Legend(const std::vector<std::string>& names) {
  std::string out = "<div class=\"legend\">";
  for (size_t i = 0; i < names.size(); ++i) {
    absl::StrAppend(&out, "<span><i class=\"s", i, "\"></i>", HtmlEscaped(names[i]), "</span>");
  }
  return out + "</div>\n";
}

// A JSON list in an attribute.
std::string ListAttribute(const std::vector<std::string>& texts) {
  std::vector<std::string> items;
  for (const std::string& text : texts) {
    const std::string plain =
        absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", "\\n"}, {"\t", " "}});
    items.push_back(absl::StrCat("\"", plain, "\""));
  }
  return HtmlEscaped(absl::StrCat("[", absl::StrJoin(items, ","), "]"));
}

bool Shown(const LineChart& chart, const std::optional<double>& value) {
  return value && (!chart.logarithmic || *value > 0);
}

struct Axes {
  Axis x;
  Axis y;
  double X(double value) const { return kLeft + x.PlaceOf(value) * (kRight - kLeft); }
  double Y(double value) const { return kBottom - y.PlaceOf(value) * (kBottom - kTop); }
};

std::optional<Axes> AxesOf(const LineChart& chart) {
  double least = INFINITY;
  double most = -INFINITY;
  for (const Series& series : chart.series) {
    for (const std::optional<double>& value : series.values) {
      if (!Shown(chart, value)) continue;
      least = std::min(least, *value);
      most = std::max(most, *value);
    }
  }
  if (least > most || chart.xs.empty()) return std::nullopt;
  const auto [x_least, x_most] = std::minmax_element(chart.xs.begin(), chart.xs.end());
  return Axes{.x = chart.x_scale == XScale::kNines ? Axis::Nines(-std::log10(1 - *x_most))
                                                   : Axis::Linear(*x_least, *x_most),
              .y = chart.logarithmic ? Axis::Logarithmic(least, most) : Axis::Linear(least, most)};
}

std::string Grid(const LineChart& chart, const Axes& axes) {
  std::string out = "<g class=\"grid\">";
  for (const Tick& tick : axes.y.ticks()) {
    const std::string y = Pixel(axes.Y(tick.value));
    absl::StrAppend(&out, "<line x1=\"", Pixel(kLeft), "\" x2=\"", Pixel(kRight), "\" y1=\"", y,
                    "\" y2=\"", y, "\"/><text class=\"y\" x=\"", Pixel(kLeft - 6), "\" y=\"", y,
                    "\">", HtmlEscaped(tick.text), "</text>");
  }
  for (const Tick& tick : axes.x.ticks()) {
    absl::StrAppend(&out, "<text class=\"x\" x=\"", Pixel(axes.X(tick.value)), "\" y=\"",
                    Pixel(kBottom + kXTickText), "\">", HtmlEscaped(tick.text), "</text>");
  }
  absl::StrAppend(&out, "<text class=\"x label\" x=\"", Pixel((kLeft + kRight) / 2), "\" y=\"",
                  Pixel(kBottom + kXLabel), "\">", HtmlEscaped(chart.x_label),
                  "</text><text class=\"label\" x=\"4\" y=\"10\">", HtmlEscaped(chart.y_label),
                  "</text></g>\n");
  return out;
}

std::string Line(const LineChart& chart, const Axes& axes, size_t index) {
  std::string path;
  std::string dots;
  bool pen_down = false;
  const std::vector<std::optional<double>>& values = chart.series[index].values;
  for (size_t i = 0; i < chart.xs.size() && i < values.size(); ++i) {
    if (!Shown(chart, values[i])) {
      pen_down = false;
      continue;
    }
    const std::string x = Pixel(axes.X(chart.xs[i]));
    const std::string y = Pixel(axes.Y(*values[i]));
    absl::StrAppend(&path, pen_down ? "L" : "M", x, " ", y);
    pen_down = true;
    // A point between two gaps has no line to show it.
    const bool next = i + 1 < values.size() && Shown(chart, values[i + 1]);
    const bool before = i > 0 && Shown(chart, values[i - 1]);
    if (chart.dots || (!next && !before)) {
      absl::StrAppend(&dots, "<circle cx=\"", x, "\" cy=\"", y, "\" r=\"3\"/>");
    }
  }
  return absl::StrCat("<g class=\"s", index, "\"><path d=\"", path, "\"/>", dots, "</g>\n");
}

// What the pointer reads at each x.
std::vector<std::string> Readings(const LineChart& chart) {
  std::vector<std::string> out;
  for (size_t i = 0; i < chart.xs.size(); ++i) {
    std::string text = i < chart.x_names.size() ? chart.x_names[i] : NumberText(chart.xs[i]);
    for (const Series& series : chart.series) {
      if (i >= series.values.size() || !series.values[i]) continue;
      absl::StrAppend(&text, "\n", series.name, "  ", NumberText(*series.values[i]));
    }
    out.push_back(std::move(text));
  }
  return out;
}

std::string Caption(const std::string& title) {
  return absl::StrCat("<figcaption>", HtmlEscaped(title), "</figcaption>\n");
}

constexpr double kBarHeight = 26;
constexpr double kBarStep = 58;

std::string BarSvg(const Bar& bar, double y, const std::string& unit) {
  double total = 0;
  for (const BarPart& part : bar.parts) total += part.value;
  std::string out =
      absl::StrCat("<text class=\"name\" x=\"0\" y=\"", Pixel(y + 12), "\">", HtmlEscaped(bar.name),
                   "</text><text class=\"y\" x=\"", Pixel(kWidth), "\" y=\"", Pixel(y + 8), "\">",
                   HtmlEscaped(absl::StrCat(NumberText(total), " ", unit)), "</text>\n");
  double x = 0;
  for (size_t i = 0; i < bar.parts.size() && total > 0; ++i) {
    const BarPart& part = bar.parts[i];
    const double width = kWidth * part.value / total;
    absl::StrAppend(&out, "<rect class=\"s", i, "\" x=\"", Pixel(x), "\" y=\"", Pixel(y + 18),
                    "\" width=\"", Pixel(width), "\" height=\"", Pixel(kBarHeight), "\"><title>",
                    HtmlEscaped(absl::StrCat(part.name, ": ", NumberText(part.value), " ", unit)),
                    "</title></rect>\n");
    const std::string share = PercentText(part.value / total);
    // Seven units a letter; a text that does not fit is in the table below.
    if (width > 7.0 * static_cast<double>(share.size())) {
      absl::StrAppend(&out, "<text class=\"in\" x=\"", Pixel(x + width / 2), "\" y=\"",
                      Pixel(y + 18 + kBarHeight / 2), "\">", share, "</text>\n");
    }
    x += width;
  }
  return out;
}

}  // namespace

std::string ToSvg(const LineChart& chart) {
  const std::optional<Axes> axes = AxesOf(chart);
  if (!axes) {
    return absl::StrCat("<figure class=\"chart\">", Caption(chart.title),
                        "<p class=\"none\">nothing to show</p></figure>\n");
  }
  std::vector<std::string> names;
  for (const Series& series : chart.series) names.push_back(series.name);
  std::vector<std::string> pixels;
  for (const double x : chart.xs) pixels.push_back(Pixel(axes->X(x)));
  std::string out =
      absl::StrCat("<figure class=\"chart\" data-x=\"", ListAttribute(pixels), "\" data-text=\"",
                   ListAttribute(Readings(chart)), "\">", Caption(chart.title), Legend(names));
  absl::StrAppend(&out, "<svg viewBox=\"0 0 ", kWidth, " ", kHeight,
                  "\" role=\"img\" aria-label=\"",
                  HtmlEscaped(absl::StrCat(chart.title, ", ", absl::StrJoin(names, ", "))), "\">\n",
                  Grid(chart, *axes), "<g class=\"lines\">");
  for (size_t i = 0; i < chart.series.size(); ++i) absl::StrAppend(&out, Line(chart, *axes, i));
  absl::StrAppend(&out, "</g><line class=\"cursor\" y1=\"", Pixel(kTop), "\" y2=\"", Pixel(kBottom),
                  "\"/></svg></figure>\n");
  return out;
}

std::string ToSvg(const BarChart& chart) {
  std::vector<std::string> names;
  if (!chart.bars.empty()) {
    for (const BarPart& part : chart.bars.front().parts) names.push_back(part.name);
  }
  const double height = kBarStep * static_cast<double>(chart.bars.size());
  std::string out = absl::StrCat(
      "<figure class=\"chart bars\">", Caption(chart.title), Legend(names), "<svg viewBox=\"0 0 ",
      kWidth, " ", height, "\" role=\"img\" aria-label=\"", HtmlEscaped(chart.title), "\">\n");
  double y = 0;
  for (const Bar& bar : chart.bars) {
    absl::StrAppend(&out, BarSvg(bar, y, chart.unit));
    y += kBarStep;
  }
  return absl::StrCat(out, "</svg></figure>\n");
}

}  // namespace tandem
