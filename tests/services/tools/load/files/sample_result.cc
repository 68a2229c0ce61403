// SPDX-License-Identifier: Apache-2.0
#include "tests/services/tools/load/files/sample_result.h"

#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/clock.h"
#include "services/tools/load/result/recorder.h"

namespace tandem {
namespace {

// As a server of this speed would answer: TTFT log-normal around 120 ms, tokens about 25 ms apart.
class Server {
 public:
  explicit Server(const SampleLoad& load) : load_(load), random_(load.seed) {}

  void Answer(absl::Duration at, Recorder& recorder) {
    RequestRecord record;
    record.scheduled = at;
    record.sent = at + Spread(0.2, 0.5);
    recorder.OnSend(record.sent);
    if (std::bernoulli_distribution(load_.error_share)(random_)) {
      record.end = record.sent + Spread(2, 0.3);
      record.code = absl::StatusCode::kResourceExhausted;
      record.reason = "QUEUE_FULL";
    } else {
      Write(record, recorder);
    }
    record.checks = 1;
    recorder.OnRequest(record);
  }

 private:
  absl::Duration Spread(double median_ms, double sigma) {
    std::lognormal_distribution<double> shape(std::log(median_ms * load_.slowness), sigma);
    return absl::Trunc(absl::Milliseconds(shape(random_)), absl::Microseconds(1));
  }

  void Write(RequestRecord& record, Recorder& recorder) {
    const absl::Duration queue = Spread(15, 0.9);
    const absl::Duration prefill = Spread(90, 0.35);
    record.prompt_tokens = 128;
    record.tokens_wanted = 24;
    record.tokens = 24;
    record.accepted = record.sent + Spread(1, 0.4);
    record.first_token = *record.accepted + queue + prefill;
    recorder.OnChunk(
        {.at = *record.first_token, .gap = std::nullopt, .tokens = 1, .measured = true});
    absl::Duration now = *record.first_token;
    for (int i = 1; i < 24; ++i) {
      const absl::Duration gap = Spread(25, 0.15);
      now += gap;
      recorder.OnChunk({.at = now, .gap = gap, .tokens = 1, .measured = true});
    }
    record.last_token = now;
    record.end = now + absl::Microseconds(150);
    record.finish_reason = "length";
    record.stages = StageTimes{.tokenize = absl::Microseconds(90),
                               .reserve = absl::Microseconds(700),
                               .prefill_queue = queue,
                               .prefill = prefill,
                               .kv_transfer = absl::Microseconds(400),
                               .decode = now - *record.first_token,
                               .ttft = *record.first_token - record.sent,
                               .total = now - record.sent};
  }

  const SampleLoad load_;
  std::mt19937 random_;
};

}  // namespace

LoadResult SampleResult(const SampleLoad& load) {
  Recorder recorder(Clock::Real().Now(),
                    {.ttft = absl::Milliseconds(400), .tpot = absl::Milliseconds(40)});
  Server server(load);
  const int requests = static_cast<int>(load.rate * load.seconds);
  for (int i = 0; i < requests; ++i) server.Answer(absl::Seconds(i / load.rate), recorder);
  RequestRecord vanished;
  vanished.kind = RequestKind::kVanish;
  vanished.code = absl::StatusCode::kCancelled;
  vanished.end = absl::Seconds(1);
  recorder.OnSend(absl::ZeroDuration());
  recorder.OnRequest(vanished);

  LoadResult result = recorder.Finish();
  result.label = absl::StrCat("rate ", load.rate);
  result.model = "tiny-v4";
  result.rate_offered = load.rate;
  result.options = {{"rate", absl::StrCat(load.rate)}, {"prompt", "128"}, {"output", "24"}};
  result.environment = {{"target", "127.0.0.1:8440"}, {"version", "0.1.0"}};
  // What the machine gives differs from run to run; a sample does not.
  result.started = absl::FromCivil(absl::CivilSecond(2026, 11, 25, 22, 0, 0), absl::UTCTimeZone());
  result.concurrency_max = static_cast<uint64_t>(load.rate);
  result.client.cpu_cores = 0.21;
  result.client.rss_bytes_max = 48 << 20;
  return result;
}

}  // namespace tandem
