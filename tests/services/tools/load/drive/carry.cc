// SPDX-License-Identifier: Apache-2.0
#include "tests/services/tools/load/drive/carry.h"

#include <atomic>
#include <utility>

#include "services/runtime/base/check.h"
#include "services/runtime/base/clock.h"

namespace tandem {

TargetInfo InfoOf(const FakeInference& server) {
  auto info = AskTarget(server.connection());
  CHECK(info.ok());
  return *std::move(info);
}

Driven Carry(const FakeInference& server, Drive drive) {
  static const std::atomic<bool> kNever = false;
  const TargetInfo target = InfoOf(server);
  Channels channels(server.connection(), 4);
  channels.Connect(absl::Seconds(10));
  const absl::Time start = Clock::Real().Now();
  Recorder recorder(start, drive.slo);
  drive.options.connection = server.connection();
  Driver driver(drive.options,
                {.start = start,
                 .recorder = recorder,
                 .channels = channels,
                 .target = target,
                 .goldens = drive.goldens,
                 .interrupted = kNever},
                Plan(drive.plan));
  Driven driven;
  driven.outcome = driver.Run();
  driven.result = recorder.Finish();
  return driven;
}

// Small and short requests.
PlanSpec Requests(uint64_t count) {
  PlanSpec plan = {.requests = count};
  plan.prompt = Lengths::Fixed(12);
  plan.output = Lengths::Fixed(6);
  return plan;
}

std::vector<std::string> FailedChecks(const LoadResult& result) {
  std::vector<std::string> names;
  for (const NameCount& check : result.failed_checks) names.push_back(check.name);
  return names;
}

const KindCount& Of(const LoadResult& result, RequestKind kind) {
  return result.counts.kinds[static_cast<size_t>(kind)];
}

}  // namespace tandem
