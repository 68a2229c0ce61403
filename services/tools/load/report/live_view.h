// SPDX-License-Identifier: Apache-2.0
// The view while a run is on. LiveText makes the text of a snapshot; LiveView draws it: on a
// terminal in place, four times a second, elsewhere a line every five seconds.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "services/tools/load/result/recorder.h"

namespace tandem {

// What the run is heading for; the first goal that is there makes the progress bar.
struct LiveGoal {
  std::string label;                       // "rate 20"
  std::optional<uint64_t> requests;        // to be sent, warm-up included
  std::optional<absl::Duration> duration;  // of the sending
};

// Rates are of the last seconds, percentiles and counts of the whole run. One owner.
class LiveText {
 public:
  explicit LiveText(LiveGoal goal);

  // Snapshots by rising time; each is shown once.
  std::vector<std::string> Lines(const LoadSnapshot& snapshot, int columns);
  std::string Line(const LoadSnapshot& snapshot);

 private:
  struct Mark {
    absl::Duration at;
    uint64_t tokens = 0;
    uint64_t ended = 0;
  };
  struct Rates {
    double requests = 0;
    double tokens = 0;
  };
  Rates RatesAt(const LoadSnapshot& snapshot);
  // 0 … 1; absent without a goal.
  std::optional<double> ProgressAt(const LoadSnapshot& snapshot) const;
  std::string BarLine(const LoadSnapshot& snapshot, int columns) const;

  const LiveGoal goal_;
  std::deque<Mark> marks_;
};

// Where a view is drawn.
struct LiveScreen {
  std::ostream& out;
  bool terminal = false;  // draw in place
  int columns = 100;
};
// stderr, as wide as its terminal is now.
LiveScreen StderrScreen();

// One thread at a time; nobody else writes to the screen while it lives.
class LiveView {
 public:
  LiveView(const LiveScreen& screen, LiveGoal goal);
  // On a terminal takes the view away, so that the result can stand in its place.
  ~LiveView();
  LiveView(const LiveView&) = delete;
  LiveView& operator=(const LiveView&) = delete;

  // How often to call Show.
  absl::Duration interval() const;
  void Show(const LoadSnapshot& snapshot);

 private:
  void Draw(const std::vector<std::string>& lines);

  const LiveScreen screen_;
  LiveText text_;
  size_t drawn_ = 0;  // lines that stand on the terminal
};

}  // namespace tandem
