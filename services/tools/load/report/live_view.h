// SPDX-License-Identifier: Apache-2.0
// The view while a run is on. LiveText makes the text of a snapshot; LiveView draws it: on a
// terminal in place at 4 Hz, elsewhere a line every 5 seconds.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/runtime/base/thread.h"
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

class LiveView {
 public:
  struct Options {
    std::ostream& out;
    bool terminal = false;  // draw in place
    int columns = 100;
    absl::Time start;  // the Recorder's, by Clock::Real()
    LiveGoal goal;
  };

  // Draws from a thread of its own until it is destroyed; `recorder` and `out` outlive it, and
  // nobody else writes to `out` meanwhile.
  LiveView(const Recorder& recorder, const Options& options);
  // On a terminal takes the view away, so that the result can stand in its place.
  ~LiveView();
  LiveView(const LiveView&) = delete;
  LiveView& operator=(const LiveView&) = delete;

 private:
  void Run();
  void Draw(const std::vector<std::string>& lines);

  const Recorder& recorder_;
  const Options options_;
  LiveText text_;
  size_t drawn_ = 0;  // lines on the terminal; of the thread, then of the destructor
  absl::Mutex mutex_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<Thread> thread_;  // last: its loop uses the others
};

}  // namespace tandem
