// SPDX-License-Identifier: Apache-2.0
// How many token streams router and workers carry on this machine, what each token costs them, and
// what the router adds: the three programs on the simulated engine, and the clients, which check
// every token. Two rows a rate, as Markdown: as many clients straight at the workers, then through
// the router.
//
// A token's latency counts from the end of its step. The simulated engine's steps end at even
// distances; when, is seen by one more client, straight at the decode worker, that is alone at
// first: what its fastest token takes is not counted. A first token's latency is from the request
// to the token, by probes that go by turns through the router and straight to the workers. What the
// router adds is the difference at the same quantile.
//
// usage: streams_bench STREAMS SECONDS STEP_MS...
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <memory>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/rpc/channel.h"
#include "tests/bench/e2e/stream_load.h"
#include "tests/e2e/cluster.h"

namespace tandem {
namespace {

constexpr int kChannels = 4;
// Streams begin one after another, so that their tokens are not one another's prompts' delay.
constexpr absl::Duration kBetweenStarts = absl::Milliseconds(2);
constexpr absl::Duration kSettle = absl::Seconds(1);
constexpr absl::Duration kAlone = absl::Seconds(2);
constexpr absl::Duration kBetweenProbes = absl::Milliseconds(11);

struct Load {
  bool routed = false;
  int streams = 0;
  absl::Duration window;
  absl::Duration step;
};

// What the router adds is one minus another of these.
struct Latency {
  double p50_ms = 0;
  double p99_ms = 0;
};
struct Measured {
  Latency token;
  Latency first_direct;
  Latency first_routed;
};

double QuantileMs(std::vector<double>& values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return 1e3 * values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

Latency LatencyOf(std::vector<double>& values) {
  return {.p50_ms = QuantileMs(values, 0.5), .p99_ms = QuantileMs(values, 0.99)};
}

// Seconds of CPU that a process has taken.
double CpuSeconds(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  std::string text;
  std::getline(file, text);
  const std::vector<std::string> fields = absl::StrSplit(text.substr(text.rfind(')') + 2), ' ');
  int64_t user = 0;
  int64_t system = 0;
  CHECK(absl::SimpleAtoi(fields[11], &user) && absl::SimpleAtoi(fields[12], &system));
  return static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

class Bench {
 public:
  explicit Bench(const Load& load);
  Measured Run();

 private:
  struct Window {
    absl::Time begin;
    absl::Time end;
    bool Has(absl::Time at) const { return at >= begin && at < end; }
  };
  std::vector<double> Cpu() const;
  void StartStreams();
  std::unique_ptr<Stream> StartOne(const StreamQuestion& question);
  // Straight at the workers, on one of the connections to the decode worker.
  std::unique_ptr<Stream> StartPast(const StreamQuestion& question, size_t connection);
  // First tokens, by turns through the router and past it, until the window is over.
  void ProbeFirstTokens();
  Measured Report(const std::vector<double>& cpu);
  std::vector<double> LateSeconds() const;

  const Load load_;
  Cluster cluster_;
  std::vector<std::unique_ptr<v1::InferenceService::Stub>> routers_;
  std::unique_ptr<v1::PrefillService::Stub> prefill_;
  // Connections of their own: one for each channel of clients, and one more.
  std::vector<std::unique_ptr<v1::DecodeService::Stub>> decodes_;
  std::unique_ptr<v1::DecodeService::Stub> decode_;
  const Workers workers_;
  std::unique_ptr<Stream> first_;  // alone at first
  std::vector<std::unique_ptr<Stream>> streams_;
  Window window_;
  std::vector<double> routed_ttft_;
  std::vector<double> direct_ttft_;
  int errors_ = 0;
};

ClusterOptions OptionsOf(const Load& load) {
  const int slots = load.streams + 65;
  return {
      .one_layer = true,
      .decode_pages = static_cast<uint32_t>(8 * slots),
      .router_extra = absl::StrCat("requests_max: ", slots),
      .prefill_extra = absl::StrCat("requests_max: ", slots),
      .decode_extra = absl::StrCat("slots: ", slots, " batch_max: ", slots),
      .worker_extra = absl::StrCat("engine: ENGINE_SIM sim { prefill_step { nanos: 1000000 } "
                                   "prefill_token { } decode_sequence { } decode_step { nanos: ",
                                   absl::ToInt64Nanoseconds(load.step), " } }")};
}

Bench::Bench(const Load& load)
    : load_(load),
      cluster_(OptionsOf(load)),
      prefill_(Channel({.endpoint = cluster_.endpoint("prefill-0")}).NewStub<v1::PrefillService>()),
      decode_(Channel({.endpoint = cluster_.endpoint("decode-0")}).NewStub<v1::DecodeService>()),
      workers_{.prefill = *prefill_, .decode = *decode_} {
  for (int i = 0; i < kChannels; ++i) routers_.push_back(cluster_.NewClient());
  for (int i = 0; i <= kChannels; ++i) {
    decodes_.push_back(
        Channel({.endpoint = cluster_.endpoint("decode-0")}).NewStub<v1::DecodeService>());
  }
}

std::vector<double> Bench::Cpu() const {
  return {CpuSeconds(cluster_.pid("router")), CpuSeconds(cluster_.pid("decode-0")),
          CpuSeconds(cluster_.pid("prefill-0")), CpuSeconds(getpid())};
}

void Bench::StartStreams() {
  const absl::Duration whole =
      load_.streams * kBetweenStarts * 2 + 2 * kSettle + load_.window + kAlone;
  const auto tokens = static_cast<uint32_t>(whole / load_.step) + 8;
  first_ = StartPast({.stream = static_cast<uint32_t>(load_.streams), .tokens = tokens}, kChannels);
  absl::SleepFor(kAlone);
  for (int i = 0; i < load_.streams; ++i) {
    const absl::Time next = Clock::Real().Now() + kBetweenStarts;
    streams_.push_back(StartOne({.stream = static_cast<uint32_t>(i), .tokens = tokens}));
    absl::SleepFor(next - Clock::Real().Now());
  }
}

std::unique_ptr<Stream> Bench::StartOne(const StreamQuestion& question) {
  return load_.routed ? StartRouted(*routers_[question.stream % kChannels], question)
                      : StartPast(question, question.stream % kChannels);
}

std::unique_ptr<Stream> Bench::StartPast(const StreamQuestion& question, size_t connection) {
  const DirectPrompt prompt = PrefillDirect(workers_, question);
  CHECK(prompt.status.ok());
  return StartDirect({.prefill = *prefill_, .decode = *decodes_[connection]}, question, prompt);
}

void Bench::ProbeFirstTokens() {
  const StreamQuestion question{.stream = 0, .tokens = 1};
  while (Clock::Real().Now() < window_.end) {
    const absl::Time next = Clock::Real().Now() + kBetweenProbes;
    const absl::Time start = Clock::Real().Now();
    if (direct_ttft_.size() <= routed_ttft_.size()) {
      const DirectPrompt prompt = PrefillDirect(workers_, question);
      direct_ttft_.push_back(absl::ToDoubleSeconds(Clock::Real().Now() - start));
      errors_ += static_cast<int>(!prompt.status.ok());
      Release(workers_, prompt);
    } else {
      const auto stream = StartRouted(*routers_[0], question);
      const StreamResult& result = stream->Wait();
      const bool ok = result.status.ok() && result.tokens.size() == 1;
      errors_ += static_cast<int>(!ok);
      if (ok) routed_ttft_.push_back(absl::ToDoubleSeconds(result.tokens[0] - start));
    }
    absl::SleepFor(next - Clock::Real().Now());
  }
}

Measured Bench::Run() {
  CHECK(cluster_.WaitReady(absl::Seconds(60)).ok());
  StartStreams();
  absl::SleepFor(kSettle);
  window_ = {.begin = Clock::Real().Now(), .end = Clock::Real().Now() + load_.window};
  std::vector<double> cpu = Cpu();
  ProbeFirstTokens();
  const std::vector<double> after = Cpu();
  window_.end = Clock::Real().Now();
  for (size_t i = 0; i < cpu.size(); ++i) cpu[i] = after[i] - cpu[i];
  for (const auto& stream : streams_) (void)stream->Wait();
  return Report(cpu);
}

// Of each token, after the end of its step.
std::vector<double> Bench::LateSeconds() const {
  const std::vector<absl::Time>& steps = first_->Wait().tokens;
  absl::Time first_end = absl::InfiniteFuture();
  for (int i = 0; i < kAlone / load_.step; ++i) {
    first_end = std::min(first_end, steps[i] - i * load_.step);
  }
  std::vector<double> late;
  for (const auto& stream : streams_) {
    for (const absl::Time at : stream->Wait().tokens) {
      if (!window_.Has(at)) continue;
      // Nearest to the end of a step: one may be a little faster than the fastest alone.
      const absl::Duration half = load_.step / 2;
      late.push_back(absl::ToDoubleSeconds((at - first_end + half) % load_.step - half));
    }
  }
  return late;
}

Measured Bench::Report(const std::vector<double>& cpu) {
  const double seconds = absl::ToDoubleSeconds(window_.end - window_.begin);
  int64_t tokens = 0;
  int wrong = 0;
  std::vector<double> gaps;
  for (const auto& stream : streams_) {
    const StreamResult& result = stream->Wait();
    errors_ += static_cast<int>(!result.status.ok());
    wrong += result.wrong;
    for (size_t i = 1; i < result.tokens.size(); ++i) {
      if (!window_.Has(result.tokens[i])) continue;
      ++tokens;
      gaps.push_back(absl::ToDoubleSeconds(result.tokens[i] - result.tokens[i - 1]));
    }
  }
  const double wanted = load_.streams / absl::ToDoubleSeconds(load_.step);
  const double rate = static_cast<double>(tokens) / seconds;
  std::vector<double> late = LateSeconds();
  const Measured out = {.token = LatencyOf(late),
                        .first_direct = LatencyOf(direct_ttft_),
                        .first_routed = LatencyOf(routed_ttft_)};
  std::cout << std::fixed << std::setprecision(0) << "| " << (load_.routed ? "router" : "direct")
            << " | " << load_.streams << " | " << absl::ToDoubleMilliseconds(load_.step) << " | "
            << wanted << " | " << rate << " | " << errors_ << " | " << wrong << " |";
  for (const double used : cpu) std::cout << " " << 100 * used / seconds << " |";
  std::cout << std::setprecision(1);
  for (const double used : cpu) {
    std::cout << " " << 1e6 * used / static_cast<double>(tokens) << " |";
  }
  std::cout << std::setprecision(2) << " " << QuantileMs(gaps, 0.99) << " |";
  for (const Latency& each : {out.token, out.first_direct, out.first_routed}) {
    std::cout << " " << each.p50_ms << " | " << each.p99_ms << " |";
  }
  std::cout << std::endl;
  return out;
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  int streams = 0;
  double seconds = 0;
  if (argc < 4 || !absl::SimpleAtoi(argv[1], &streams) || streams < 10 ||
      !absl::SimpleAtod(argv[2], &seconds)) {
    std::cerr << "usage: streams_bench STREAMS SECONDS STEP_MS...\n";
    return 2;
  }
  std::cout
      << "| path | streams | step ms | tokens/s wanted | got | errors | wrong | router % | decode "
         "% | "
         "prefill % | client % | router us/token | decode | prefill | client | gap p99 ms | token "
         "p50 ms | p99 | TTFT direct p50 | p99 | TTFT routed p50 | p99 |\n"
         "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
         "\n";
  for (int i = 3; i < argc; ++i) {
    double step = 0;
    CHECK(absl::SimpleAtod(argv[i], &step));
    tandem::Load load = {
        .streams = streams, .window = absl::Seconds(seconds), .step = absl::Milliseconds(step)};
    const tandem::Measured direct = tandem::Bench(load).Run();
    load.routed = true;
    const tandem::Measured routed = tandem::Bench(load).Run();
    std::cout << "router adds, ms: tokens p50 " << routed.token.p50_ms - direct.token.p50_ms
              << ", p99 " << routed.token.p99_ms - direct.token.p99_ms << "; first tokens p50 "
              << routed.first_routed.p50_ms - routed.first_direct.p50_ms << ", p99 "
              << routed.first_routed.p99_ms - routed.first_direct.p99_ms << "\n";
  }
  return 0;
}
