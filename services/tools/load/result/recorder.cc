// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/result/recorder.h"

#include <sys/resource.h>

#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "services/runtime/base/clock.h"
#include "services/tools/load/result/timeline.h"

namespace tandem {
namespace {

constexpr absl::Duration kNever = absl::InfiniteDuration();

absl::Duration CpuTime() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return absl::DurationFromTimeval(usage.ru_utime) + absl::DurationFromTimeval(usage.ru_stime);
}

uint64_t RssBytesMax() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;  // Linux counts it in KiB
}

using StatusCounts = std::map<std::pair<std::string, std::string>, uint64_t>;
using NameCounts = std::map<std::string, uint64_t>;

template <typename Map>
void AddAll(Map& to, const Map& from) {
  for (const auto& [key, count] : from) to[key] += count;
}

template <typename Row>
void SortByCount(std::vector<Row>& rows) {
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Row& a, const Row& b) { return a.count > b.count; });
}

std::vector<ErrorCount> Rows(const StatusCounts& counts) {
  std::vector<ErrorCount> rows;
  for (const auto& [key, count] : counts) {
    rows.push_back({.code = key.first, .reason = key.second, .count = count});
  }
  SortByCount(rows);
  return rows;
}

std::vector<NameCount> Rows(const NameCounts& counts) {
  std::vector<NameCount> rows;
  for (const auto& [name, count] : counts) rows.push_back({.name = name, .count = count});
  SortByCount(rows);
  return rows;
}

void Merge(Latencies& to, const Latencies& from) {
  for (const auto& fields : {ClientLatencies(), StageLatencies(), ServerLatencies()}) {
    for (const LatencyField& field : fields) (to.*field.histogram).Merge(from.*field.histogram);
  }
}

void AddCounts(Counts& to, const Counts& from) {
  to.completed += from.completed;
  to.failed += from.failed;
  to.good += from.good;
  to.warm_up += from.warm_up;
  to.prompt_tokens += from.prompt_tokens;
  to.tokens += from.tokens;
  to.tokens_lost += from.tokens_lost;
  to.tokens_wanted += from.tokens_wanted;
  for (size_t i = 0; i < to.kinds.size(); ++i) {
    to.kinds[i].requests += from.kinds[i].requests;
    to.kinds[i].completed += from.kinds[i].completed;
    to.kinds[i].checks += from.kinds[i].checks;
    to.kinds[i].checks_failed += from.kinds[i].checks_failed;
  }
}

// Everything that adds up.
struct Tally {
  uint64_t sent = 0;
  uint64_t ended = 0;
  uint64_t tokens_seen = 0;
  Counts counts;
  StatusCounts errors;
  NameCounts finish_reasons;
  NameCounts failed_checks;
  absl::Duration first = kNever;  // schedule
  absl::Duration last;            // end
  Latencies latencies;
  LatencyHistogram send_lag;
  TimelineBuilder timeline;

  void AddTimes(const RequestRecord& request, const Slo& slo);
  void Add(const RequestRecord& request, const Slo& slo);
};

// Of a measured request that completed.
void Tally::AddTimes(const RequestRecord& request, const Slo& slo) {
  const absl::Duration e2e = request.end - request.sent;
  const absl::Duration e2e_corrected = request.end - request.scheduled;
  latencies.e2e.Record(e2e);
  latencies.e2e_corrected.Record(e2e_corrected);
  if (request.accepted) latencies.accept.Record(*request.accepted - request.sent);
  bool good = !slo.e2e || e2e_corrected <= *slo.e2e;
  if (request.first_token) {
    const absl::Duration corrected = *request.first_token - request.scheduled;
    latencies.ttft.Record(*request.first_token - request.sent);
    latencies.ttft_corrected.Record(corrected);
    good = good && (!slo.ttft || corrected <= *slo.ttft);
  }
  if (request.tokens > 0) latencies.tpot_e2e.Record(e2e / request.tokens);
  if (request.tokens > 1 && request.first_token && request.last_token) {
    const absl::Duration tpot = (*request.last_token - *request.first_token) / (request.tokens - 1);
    latencies.tpot.Record(tpot);
    good = good && (!slo.tpot || tpot <= *slo.tpot);
  }
  if (good) ++counts.good;
  if (!request.stages) return;
  const StageTimes& stages = *request.stages;
  latencies.tokenize.Record(stages.tokenize);
  latencies.reserve.Record(stages.reserve);
  latencies.prefill_queue.Record(stages.prefill_queue);
  latencies.prefill.Record(stages.prefill);
  latencies.kv_transfer.Record(stages.kv_transfer);
  latencies.decode.Record(stages.decode);
  latencies.server_ttft.Record(stages.ttft);
  latencies.server_total.Record(stages.total);
}

void Tally::Add(const RequestRecord& request, const Slo& slo) {
  ++ended;
  const bool ok = request.code == absl::StatusCode::kOk;
  timeline.OnRequest(request);
  for (const std::string& check : request.failed_checks) ++failed_checks[check];
  if (request.warm_up) {
    ++counts.warm_up;
    // A failed check is never lost.
    counts.kinds[static_cast<size_t>(request.kind)].checks_failed += request.failed_checks.size();
    return;
  }
  KindCount& kind = counts.kinds[static_cast<size_t>(request.kind)];
  ++kind.requests;
  kind.completed += ok ? 1 : 0;
  kind.checks += request.checks;
  kind.checks_failed += request.failed_checks.size();
  if (IsNasty(request.kind)) return;
  first = std::min(first, request.scheduled);
  last = std::max(last, request.end);
  send_lag.Record(request.sent - request.scheduled);
  if (!ok) {
    ++counts.failed;
    counts.tokens_lost += request.tokens;
    ++errors[{absl::StatusCodeToString(request.code), request.reason}];
    return;
  }
  ++counts.completed;
  counts.prompt_tokens += request.prompt_tokens;
  counts.tokens += request.tokens;
  counts.tokens_wanted += request.tokens_wanted;
  ++finish_reasons[request.finish_reason];
  AddTimes(request, slo);
}

}  // namespace

struct Recorder::Shard {
  absl::Mutex mutex;
  Tally tally ABSL_GUARDED_BY(mutex);
};

Recorder::Recorder(absl::Time start, const Slo& slo)
    : start_(start), slo_(slo), cpu_at_start_(CpuTime()) {
  for (auto& shard : shards_) shard = std::make_unique<Shard>();
}

Recorder::~Recorder() = default;

// Threads take shards in turn; two of more than kShards threads share one.
Recorder::Shard& Recorder::Mine() const {
  static std::atomic<size_t> threads = 0;
  thread_local const size_t thread = threads.fetch_add(1, std::memory_order_relaxed);
  return *shards_[thread % kShards];
}

void Recorder::OnSend(absl::Duration at) {
  const int64_t running = running_.fetch_add(1, std::memory_order_relaxed) + 1;
  int64_t most = running_max_.load(std::memory_order_relaxed);
  while (running > most && !running_max_.compare_exchange_weak(most, running)) {
  }
  Shard& shard = Mine();
  const absl::MutexLock lock(&shard.mutex);
  ++shard.tally.sent;
  shard.tally.timeline.OnSend(at);
}

void Recorder::OnChunk(const ChunkRecord& chunk) {
  Shard& shard = Mine();
  const absl::MutexLock lock(&shard.mutex);
  Tally& tally = shard.tally;
  tally.tokens_seen += chunk.tokens;
  tally.timeline.OnChunk(chunk);
  if (!chunk.measured || !chunk.gap || chunk.tokens == 0) return;
  tally.latencies.chunk_gap.Record(*chunk.gap);
  tally.latencies.token_gap.Record(*chunk.gap / chunk.tokens, chunk.tokens);
}

void Recorder::OnRequest(const RequestRecord& request) {
  running_.fetch_sub(1, std::memory_order_relaxed);
  Shard& shard = Mine();
  const absl::MutexLock lock(&shard.mutex);
  shard.tally.Add(request, slo_);
}

LoadSnapshot Recorder::Snapshot(absl::Duration at) const {
  LoadSnapshot out;
  out.at = at;
  out.running = static_cast<uint64_t>(std::max<int64_t>(0, running_.load()));
  StatusCounts errors;
  for (const auto& shard : shards_) {
    const absl::MutexLock lock(&shard->mutex);
    const Tally& tally = shard->tally;
    out.sent += tally.sent;
    out.ended += tally.ended;
    out.tokens += tally.tokens_seen;
    out.completed += tally.counts.completed;
    out.failed += tally.counts.failed;
    for (const auto& [name, count] : tally.failed_checks) out.failed_checks += count;
    out.ttft.Merge(tally.latencies.ttft_corrected);
    out.tpot.Merge(tally.latencies.tpot);
    AddAll(errors, tally.errors);
  }
  out.errors = Rows(errors);
  return out;
}

LoadResult Recorder::Finish() {
  LoadResult out;
  StatusCounts errors;
  NameCounts finish_reasons;
  NameCounts failed_checks;
  absl::Duration first = kNever;
  absl::Duration last;
  TimelineBuilder timeline;
  for (const auto& shard : shards_) {
    const absl::MutexLock lock(&shard->mutex);
    const Tally& tally = shard->tally;
    AddCounts(out.counts, tally.counts);
    AddAll(errors, tally.errors);
    AddAll(finish_reasons, tally.finish_reasons);
    AddAll(failed_checks, tally.failed_checks);
    first = std::min(first, tally.first);
    last = std::max(last, tally.last);
    Merge(out.latencies, tally.latencies);
    out.client.send_lag.Merge(tally.send_lag);
    timeline.Merge(tally.timeline);
  }
  out.started = absl::Now() - (Clock::Real().Now() - start_);
  if (first != kNever) {
    out.measured_from = absl::Trunc(first, absl::Microseconds(1));
    out.duration = absl::Trunc(last - first, absl::Microseconds(1));
  }
  out.errors = Rows(errors);
  out.finish_reasons = Rows(finish_reasons);
  out.failed_checks = Rows(failed_checks);
  out.slo = slo_;
  out.tokens_per_second_max = timeline.TokensPerSecondMax();
  out.concurrency_max = static_cast<uint64_t>(running_max_.load());
  const absl::Duration wall = Clock::Real().Now() - start_;
  out.client.cpu_cores =
      wall <= absl::ZeroDuration() ? 0 : absl::FDivDuration(CpuTime() - cpu_at_start_, wall);
  out.client.rss_bytes_max = RssBytesMax();
  out.timeline_step = timeline.step();
  out.timeline = timeline.Points();
  return out;
}

}  // namespace tandem
