// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/report/live_view.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "services/tools/text/number_text.h"

namespace tandem {
namespace {

constexpr absl::Duration kRateWindow = absl::Seconds(4);
constexpr absl::Duration kRedraw = absl::Milliseconds(250);
constexpr absl::Duration kLineEvery = absl::Seconds(5);
constexpr int kBarColumns = 30;
constexpr int kColumnsElse = 100;
constexpr size_t kErrorsShown = 4;

std::string Repeat(absl::string_view glyph, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) absl::StrAppend(&out, glyph);
  return out;
}

// A line that wraps would leave a piece behind at the next drawing.
std::string Cut(const std::string& line, int columns) {
  int glyphs = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    const bool starts = (static_cast<unsigned char>(line[i]) & 0xC0) != 0x80;
    if (starts && ++glyphs > columns) return line.substr(0, i);
  }
  return line;
}

std::string Percentiles(absl::string_view name, const LatencyHistogram& histogram) {
  if (histogram.empty()) return absl::StrCat(name, " –");
  return absl::StrCat(name, " p50 ", MsText(histogram.Quantile(0.5)), " p99 ",
                      MsText(histogram.Quantile(0.99)), " ms");
}

std::string Errors(const LoadSnapshot& snapshot) {
  std::vector<std::string> parts;
  for (const ErrorCount& row : snapshot.errors) {
    if (parts.size() == kErrorsShown) {
      parts.push_back("…");
      break;
    }
    const std::string& name = row.reason.empty() ? row.code : row.reason;
    parts.push_back(absl::StrCat(name, " ", CountText(row.count)));
  }
  return absl::StrJoin(parts, ", ");
}

}  // namespace

LiveText::LiveText(LiveGoal goal) : goal_(std::move(goal)) {}

LiveText::Rates LiveText::RatesAt(const LoadSnapshot& snapshot) {
  if (marks_.empty()) marks_.push_back({});
  marks_.push_back({.at = snapshot.at, .tokens = snapshot.tokens, .ended = snapshot.ended});
  while (marks_.size() > 2 && snapshot.at - marks_[1].at >= kRateWindow) marks_.pop_front();
  const Mark& from = marks_.front();
  const double seconds = absl::ToDoubleSeconds(snapshot.at - from.at);
  if (seconds <= 0) return {};
  return {.requests = static_cast<double>(snapshot.ended - from.ended) / seconds,
          .tokens = static_cast<double>(snapshot.tokens - from.tokens) / seconds};
}

std::optional<double> LiveText::ProgressAt(const LoadSnapshot& snapshot) const {
  double share = 0;
  if (goal_.requests && *goal_.requests > 0) {
    share = static_cast<double>(snapshot.ended) / static_cast<double>(*goal_.requests);
  } else if (goal_.duration && *goal_.duration > absl::ZeroDuration()) {
    share = absl::FDivDuration(snapshot.at, *goal_.duration);
  } else {
    return std::nullopt;
  }
  return std::clamp(share, 0.0, 1.0);
}

std::string LiveText::BarLine(const LoadSnapshot& snapshot, int columns) const {
  std::string line = absl::StrCat(goal_.label, "  ");
  const std::optional<double> progress = ProgressAt(snapshot);
  if (progress) {
    const int width = std::clamp(columns - 60, 5, kBarColumns);
    const int full = static_cast<int>(*progress * width);
    absl::StrAppend(&line, Repeat("█", full), Repeat("░", width - full),
                    absl::StrFormat(" %3.0f %%  ", *progress * 100));
  }
  absl::StrAppend(&line, DurationText(snapshot.at));
  if (!progress) return line;
  if (*progress == 1) return absl::StrCat(line, ", waiting for the last answers");
  // The first answers say little of the pace.
  if (*progress < 0.01) return line;
  return absl::StrCat(line, ", ", DurationText(snapshot.at * (1 / *progress - 1)), " left");
}

std::vector<std::string> LiveText::Lines(const LoadSnapshot& snapshot, int columns) {
  const Rates rates = RatesAt(snapshot);
  std::vector<std::string> lines = {
      BarLine(snapshot, columns),
      absl::StrCat("  running ", CountText(snapshot.running), "   sent ", CountText(snapshot.sent),
                   "   done ", CountText(snapshot.completed), "   failed ",
                   CountText(snapshot.failed)),
      absl::StrCat("  ", NumberText(rates.requests), " req/s   ", NumberText(rates.tokens),
                   " tokens/s"),
      absl::StrCat("  ", Percentiles("TTFT", snapshot.ttft), "   ",
                   Percentiles("TPOT", snapshot.tpot))};
  if (!snapshot.errors.empty()) lines.push_back(absl::StrCat("  errors: ", Errors(snapshot)));
  if (snapshot.failed_checks > 0) {
    lines.push_back(absl::StrCat("  FAILED CHECKS: ", CountText(snapshot.failed_checks)));
  }
  for (std::string& line : lines) line = Cut(line, columns);
  return lines;
}

std::string LiveText::Line(const LoadSnapshot& snapshot) {
  const Rates rates = RatesAt(snapshot);
  std::string line =
      absl::StrCat(goal_.label, " ", DurationText(snapshot.at), ": running ", snapshot.running,
                   ", done ", snapshot.completed, ", failed ", snapshot.failed, ", ",
                   NumberText(rates.requests), " req/s, ", NumberText(rates.tokens), " tokens/s, ",
                   Percentiles("TTFT", snapshot.ttft), ", ", Percentiles("TPOT", snapshot.tpot));
  if (!snapshot.errors.empty()) absl::StrAppend(&line, ", errors: ", Errors(snapshot));
  if (snapshot.failed_checks > 0) {
    absl::StrAppend(&line, ", FAILED CHECKS: ", snapshot.failed_checks);
  }
  return line;
}

LiveScreen StderrScreen() {
  winsize size = {};
  const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return {.out = std::cerr,
          .terminal = isatty(STDERR_FILENO) == 1,
          .columns = known ? size.ws_col : kColumnsElse};
}

LiveView::LiveView(const LiveScreen& screen, LiveGoal goal)
    : screen_(screen), text_(std::move(goal)) {}

LiveView::~LiveView() {
  if (drawn_ > 0) Draw({});
}

absl::Duration LiveView::interval() const {
  return screen_.terminal ? kRedraw : kLineEvery;
}

void LiveView::Show(const LoadSnapshot& snapshot) {
  if (screen_.terminal) {
    Draw(text_.Lines(snapshot, screen_.columns));
  } else {
    screen_.out << text_.Line(snapshot) << std::endl;
  }
}

// Up to where the view began, then each line over the old one; lines that are left over go.
void LiveView::Draw(const std::vector<std::string>& lines) {
  std::string out;
  if (drawn_ > 0) absl::StrAppend(&out, "\x1b[", drawn_, "A");
  for (const std::string& line : lines) absl::StrAppend(&out, "\r\x1b[2K", line, "\n");
  absl::StrAppend(&out, "\r\x1b[J");
  screen_.out << out << std::flush;
  drawn_ = lines.size();
}

}  // namespace tandem
