// SPDX-License-Identifier: Apache-2.0
// Goal: the view says how far the run is and how it goes, fits the terminal, and leaves nothing
// behind. Method: snapshots of the test's own; a terminal of a few lines plays the escape
// sequences.
#include "services/tools/load/report/live_view.h"

#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

LoadSnapshot At(int seconds) {
  LoadSnapshot snapshot;
  snapshot.at = absl::Seconds(seconds);
  snapshot.sent = static_cast<uint64_t>(seconds * 20 + 7);
  snapshot.ended = static_cast<uint64_t>(seconds * 20);
  snapshot.completed = snapshot.ended;
  snapshot.running = 7;
  snapshot.tokens = static_cast<uint64_t>(seconds * 500);
  snapshot.ttft.Record(absl::Milliseconds(120), 9);
  snapshot.tpot.Record(absl::Milliseconds(25), 9);
  return snapshot;
}

size_t Columns(const std::string& line) {
  size_t columns = 0;
  for (const char c : line) columns += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return columns;
}

TEST(LiveTextTest, TellsProgressRatesAndPercentiles) {
  LiveText text({.label = "rate 20", .requests = std::nullopt, .duration = absl::Seconds(40)});
  text.Lines(At(9), 100);
  const auto lines = text.Lines(At(10), 100);
  ASSERT_EQ(lines.size(), 4);
  EXPECT_THAT(lines[0], HasSubstr("rate 20"));
  EXPECT_THAT(lines[0], HasSubstr("25 %"));
  EXPECT_THAT(lines[0], HasSubstr("10.0 s, 30.0 s left"));
  EXPECT_THAT(lines[1], HasSubstr("running 7   sent 207   done 200   failed 0"));
  EXPECT_THAT(lines[2], HasSubstr("20.0 req/s   500 tokens/s"));
  EXPECT_THAT(lines[3], HasSubstr("TTFT p50 120 p99 120 ms"));
}

TEST(LiveTextTest, RequestsAreAGoalAsWellAndNoGoalHasNoBar) {
  LiveText counted({.label = "", .requests = 400, .duration = std::nullopt});
  EXPECT_THAT(counted.Lines(At(10), 100)[0], HasSubstr("50 %"));
  EXPECT_THAT(counted.Lines(At(20), 100)[0], HasSubstr("100 %"));
  EXPECT_THAT(counted.Lines(At(21), 100)[0], HasSubstr("waiting for the last answers"));
  LiveText endless({.label = "soak", .requests = std::nullopt, .duration = std::nullopt});
  EXPECT_THAT(endless.Lines(At(10), 100)[0], Not(HasSubstr("%")));
}

TEST(LiveTextTest, RatesAreOfTheLastSeconds) {
  LiveText text({});
  for (int second = 1; second <= 10; ++second) text.Lines(At(second), 100);
  LoadSnapshot stalled = At(10);
  for (int second = 11; second <= 15; ++second) {
    stalled.at = absl::Seconds(second);
    text.Lines(stalled, 100);
  }
  stalled.at = absl::Seconds(16);
  EXPECT_THAT(text.Line(stalled), HasSubstr(" 0 req/s, 0 tokens/s"));
}

TEST(LiveTextTest, ErrorsAndFailedChecksAreSeen) {
  LoadSnapshot snapshot = At(5);
  snapshot.errors = {{.code = "RESOURCE_EXHAUSTED", .reason = "QUEUE_FULL", .count = 1200},
                     {.code = "UNAVAILABLE", .reason = "", .count = 3}};
  snapshot.failed_checks = 2;
  LiveText text({});
  const auto lines = text.Lines(snapshot, 100);
  ASSERT_EQ(lines.size(), 6);
  EXPECT_EQ(lines[4], "  errors: QUEUE_FULL 1,200, UNAVAILABLE 3");
  EXPECT_EQ(lines[5], "  FAILED CHECKS: 2");
  EXPECT_THAT(text.Line(snapshot), HasSubstr("FAILED CHECKS: 2"));
}

TEST(LiveTextTest, NoLineIsWiderThanTheTerminal) {
  for (const int columns : {1, 20, 61, 80, 200}) {
    LiveText text({.label = "rate 20", .requests = 400, .duration = std::nullopt});
    for (const std::string& line : text.Lines(At(10), columns)) {
      EXPECT_LE(Columns(line), static_cast<size_t>(columns)) << line;
    }
  }
}

// What stands on a terminal after the output: knows what the view uses.
std::vector<std::string> Played(const std::string& output) {
  std::vector<std::string> screen(1);
  size_t row = 0;
  for (size_t i = 0; i < output.size(); ++i) {
    if (output[i] == '\n') {
      if (++row == screen.size()) screen.emplace_back();
    } else if (output[i] == '\x1b') {
      const size_t end = output.find_first_of("AJK", i);
      const int count = end == i + 2 ? 1 : std::stoi(output.substr(i + 2, end - i - 2));
      if (output[end] == 'A') row -= static_cast<size_t>(count);
      if (output[end] == 'K') screen[row].clear();
      if (output[end] == 'J') screen.resize(row + 1);
      if (output[end] == 'J') screen[row].clear();
      i = end;
    } else if (output[i] != '\r') {
      screen[row] += output[i];
    }
  }
  return screen;
}

TEST(LiveViewTest, DrawsInPlaceAndGoesAway) {
  std::ostringstream out;
  {
    LiveView view({.out = out, .terminal = true, .columns = 90}, {.label = "rate 20"});
    EXPECT_EQ(view.interval(), absl::Milliseconds(250));
    LoadSnapshot with_errors = At(1);
    with_errors.errors = {{.code = "UNAVAILABLE", .reason = "", .count = 1}};
    view.Show(with_errors);
    EXPECT_EQ(Played(out.str()).size(), 6);  // five lines and the one below
    view.Show(At(2));
    const auto screen = Played(out.str());
    ASSERT_EQ(screen.size(), 5);
    EXPECT_THAT(screen[0], HasSubstr("2.0 s"));
    EXPECT_THAT(screen[1], HasSubstr("sent 47"));
  }
  EXPECT_THAT(Played(out.str()), ElementsAre(IsEmpty()));
}

TEST(LiveViewTest, ElsewhereWritesLinesWithoutEscapes) {
  std::ostringstream out;
  {
    LiveView view({.out = out, .terminal = false, .columns = 90}, {.label = "rate 20"});
    EXPECT_EQ(view.interval(), absl::Seconds(5));
    view.Show(At(5));
    view.Show(At(10));
  }
  EXPECT_THAT(out.str(), Not(HasSubstr("\x1b")));
  EXPECT_THAT(out.str(), HasSubstr("rate 20 5.0 s: running 7, done 100, failed 0, 20.0 req/s"));
}

}  // namespace
}  // namespace tandem
