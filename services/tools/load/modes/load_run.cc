// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/modes/load_run.h"

#include <unistd.h>

#include <fstream>
#include <optional>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/config/program.h"
#include "services/tools/load/check/idle.h"
#include "services/tools/load/drive/channels.h"
#include "services/tools/load/modes/ticker.h"
#include "services/tools/load/report/live_view.h"

namespace tandem {
namespace {

constexpr absl::Duration kConnectTimeout = absl::Seconds(10);

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "";
}

void Describe(const LoadOptions& options, const TargetInfo& target, LoadResult& result) {
  const PlanSpec& plan = options.plan;
  if (plan.loop == Loop::kClosed) result.concurrency = options.drive.concurrency;
  if (plan.loop == Loop::kOpen && plan.arrivals.rate_begin == plan.arrivals.rate_end) {
    result.rate_offered = plan.arrivals.rate_begin;
  }
  result.model = target.model;
  result.options = options.given;
  result.environment = {{"target", options.drive.connection.channel.endpoint},
                        {"version", Version()},
                        {"host", HostName()},
                        {"cores", absl::StrCat(sysconf(_SC_NPROCESSORS_ONLN))}};
}

LiveGoal GoalOf(const LoadOptions& options, const std::string& label) {
  LiveGoal goal = {.label = label, .requests = options.plan.requests, .duration = std::nullopt};
  if (options.plan.until < absl::InfiniteDuration()) goal.duration = options.plan.until;
  return goal;
}

}  // namespace

absl::StatusOr<TargetInfo> PrepareTarget(const LoadOptions& options) {
  RETURN_IF_ERROR(WaitServing(options.drive.connection, options.ready_timeout));
  ASSIGN_OR_RETURN(TargetInfo target, AskTarget(options.drive.connection));
  const PlanSpec::Longest longest = options.plan.LongestSequence();
  if (longest.tokens > target.context_tokens_max) {
    return absl::InvalidArgumentError(
        absl::StrCat(longest.from, ": a sequence may have ", longest.tokens,
                     " tokens; the limit of ", target.model, " is ", target.context_tokens_max));
  }
  return target;
}

RunOutcome RunOnce(const LoadOptions& options, const RunParts& parts, const std::string& label) {
  Channels channels(options.drive.connection, options.channels);
  channels.Connect(kConnectTimeout);
  const absl::Time start = Clock::Real().Now();
  Recorder recorder(start, options.slo);
  Driver driver(options.drive,
                {.start = start,
                 .recorder = recorder,
                 .channels = channels,
                 .target = parts.target,
                 .goldens = options.goldens,
                 .interrupted = parts.interrupted},
                Plan(options.plan));
  RunOutcome outcome;
  {
    const auto now = [&recorder, start] { return recorder.Snapshot(Clock::Real().Now() - start); };
    std::optional<LiveView> view;
    std::optional<Ticker> drawer;
    if (parts.live) {
      view.emplace(StderrScreen(), GoalOf(options, label));
      drawer.emplace(view->interval(), [&view, &now] { view->Show(now()); });
    }
    std::optional<Ticker> looker;
    if (parts.look != nullptr) {
      looker.emplace(parts.interval, [&parts, &now] { parts.look(now()); });
    }
    outcome.drive = driver.Run();
  }
  outcome.result = recorder.Finish();
  outcome.result.label = label;
  Describe(options, parts.target, outcome.result);
  auto& problems = outcome.result.problems;
  if (!options.check_idle.empty()) {
    problems = CheckIdle(options.check_idle, options.idle_timeout);
  }
  if (outcome.drive.too_many_errors) {
    problems.push_back(absl::StrCat("ended by --max-errors ", *options.drive.errors_max));
  }
  return outcome;
}

bool Failed(const RunOutcome& outcome) {
  return HasFailedChecks(outcome.result) || outcome.drive.errors > 0 ||
         outcome.result.counts.completed == 0;
}

uint64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  uint64_t all = 0;
  uint64_t resident = 0;
  file >> all >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace tandem
