// SPDX-License-Identifier: Apache-2.0
// How many token streams router and workers carry on this machine, and what each token costs them:
// the three programs on the simulated engine, and the clients, which check every token. One row a
// rate, as Markdown. A few streams go straight to the workers, in the same batches: what a routed
// token or first token takes longer than theirs is the router's.
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
#include "services/runtime/rpc/channel.h"
#include "tests/bench/e2e/stream_load.h"
#include "tests/e2e/cluster.h"

namespace tandem {
namespace {

constexpr int kChannels = 4;
constexpr int kDirectStreams = 10;
// Streams begin one after another, so that their tokens are not one another's prompts' delay.
constexpr absl::Duration kBetweenStarts = absl::Milliseconds(2);
constexpr absl::Duration kSettle = absl::Seconds(1);
constexpr absl::Duration kBetweenProbes = absl::Milliseconds(23);

struct Load {
  int streams = 0;
  absl::Duration window;
  absl::Duration step;
};

double QuantileMs(std::vector<double>& values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return 1e3 * values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
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
  void Run();

 private:
  struct Window {
    absl::Time begin;
    absl::Time end;
    bool Has(absl::Time at) const { return at >= begin && at < end; }
  };
  std::vector<double> Cpu() const;
  void StartStreams();
  // First tokens, by turns through the router and past it, until the window is over.
  void ProbeFirstTokens();
  void Report(const std::vector<double>& cpu);
  std::vector<double> AddedSeconds() const;

  const Load load_;
  Cluster cluster_;
  std::vector<std::unique_ptr<v1::InferenceService::Stub>> routers_;
  std::unique_ptr<v1::PrefillService::Stub> prefill_;
  std::unique_ptr<v1::DecodeService::Stub> decode_;
  const Workers workers_;
  std::vector<std::unique_ptr<Stream>> routed_;
  std::vector<std::unique_ptr<Stream>> direct_;
  Window window_;
  std::vector<double> routed_ttft_;
  std::vector<double> direct_ttft_;
  int errors_ = 0;
};

ClusterOptions OptionsOf(const Load& load) {
  const int slots = load.streams + kDirectStreams + 64;
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
}

std::vector<double> Bench::Cpu() const {
  return {CpuSeconds(cluster_.pid("router")), CpuSeconds(cluster_.pid("decode-0")),
          CpuSeconds(cluster_.pid("prefill-0")), CpuSeconds(getpid())};
}

void Bench::StartStreams() {
  const absl::Duration whole = load_.streams * kBetweenStarts * 2 + 2 * kSettle + load_.window;
  const auto tokens = static_cast<uint32_t>(whole / load_.step) + 8;
  for (int i = 0; i < load_.streams; ++i) {
    const absl::Time next = absl::Now() + kBetweenStarts;
    routed_.push_back(StartRouted(*routers_[i % kChannels],
                                  {.stream = static_cast<uint32_t>(i), .tokens = tokens}));
    // Spread over the batch.
    if (i % (load_.streams / kDirectStreams) == 0) {
      const StreamQuestion question{.stream = static_cast<uint32_t>(load_.streams + i),
                                    .tokens = tokens};
      const DirectPrompt prompt = PrefillDirect(workers_, question);
      CHECK(prompt.status.ok());
      direct_.push_back(StartDirect(workers_, question, prompt));
    }
    absl::SleepFor(next - absl::Now());
  }
}

void Bench::ProbeFirstTokens() {
  const StreamQuestion question{.stream = 0, .tokens = 1};
  while (absl::Now() < window_.end) {
    const absl::Time next = absl::Now() + kBetweenProbes;
    const absl::Time start = absl::Now();
    if (direct_ttft_.size() <= routed_ttft_.size()) {
      const DirectPrompt prompt = PrefillDirect(workers_, question);
      direct_ttft_.push_back(absl::ToDoubleSeconds(absl::Now() - start));
      errors_ += static_cast<int>(!prompt.status.ok());
      Release(workers_, prompt);
    } else {
      const auto stream = StartRouted(*routers_[0], question);
      const StreamResult& result = stream->Wait();
      const bool ok = result.status.ok() && result.tokens.size() == 1;
      errors_ += static_cast<int>(!ok);
      if (ok) routed_ttft_.push_back(absl::ToDoubleSeconds(result.tokens[0] - start));
    }
    absl::SleepFor(next - absl::Now());
  }
}

void Bench::Run() {
  CHECK(cluster_.WaitReady(absl::Seconds(60)).ok());
  StartStreams();
  absl::SleepFor(kSettle);
  window_ = {.begin = absl::Now(), .end = absl::Now() + load_.window};
  std::vector<double> cpu = Cpu();
  ProbeFirstTokens();
  const std::vector<double> after = Cpu();
  window_.end = absl::Now();
  for (size_t i = 0; i < cpu.size(); ++i) cpu[i] = after[i] - cpu[i];
  for (const auto& stream : routed_) (void)stream->Wait();
  for (const auto& stream : direct_) (void)stream->Wait();
  Report(cpu);
}

// A routed token against the mean of the direct ones of its step: those that came nearest to it.
std::vector<double> Bench::AddedSeconds() const {
  std::vector<std::vector<absl::Time>> steps;
  std::vector<absl::Time> all;
  for (const auto& stream : direct_) {
    for (const absl::Time at : stream->Wait().tokens) all.push_back(at);
  }
  std::sort(all.begin(), all.end());
  std::vector<absl::Time> means;
  for (size_t i = 0; i < all.size();) {
    absl::Duration sum;
    size_t j = i;
    for (; j < all.size() && all[j] - all[i] < load_.step / 2; ++j) sum += all[j] - all[i];
    means.push_back(all[i] + sum / static_cast<double>(j - i));
    i = j;
  }
  std::vector<double> added;
  for (const auto& stream : routed_) {
    for (const absl::Time at : stream->Wait().tokens) {
      if (!window_.Has(at)) continue;
      const auto next = std::lower_bound(means.begin(), means.end(), at);
      absl::Duration nearest = absl::InfiniteDuration();
      if (next != means.end()) nearest = at - *next;
      if (next != means.begin() && at - *(next - 1) < absl::AbsDuration(nearest))
        nearest = at - *(next - 1);
      added.push_back(absl::ToDoubleSeconds(nearest));
    }
  }
  return added;
}

void Bench::Report(const std::vector<double>& cpu) {
  const double seconds = absl::ToDoubleSeconds(window_.end - window_.begin);
  int64_t tokens = 0;
  int wrong = 0;
  std::vector<double> gaps;
  for (const auto& stream : routed_) {
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
  std::vector<double> added = AddedSeconds();
  std::cout << std::fixed << std::setprecision(0) << "| " << load_.streams << " | "
            << absl::ToDoubleMilliseconds(load_.step) << " | " << wanted << " | " << rate << " | "
            << errors_ << " | " << wrong << " |";
  for (const double used : cpu) std::cout << " " << 100 * used / seconds << " |";
  std::cout << std::setprecision(1);
  for (const double used : cpu) {
    std::cout << " " << 1e6 * used / static_cast<double>(tokens) << " |";
  }
  std::cout << std::setprecision(2) << " " << QuantileMs(gaps, 0.99) << " | "
            << QuantileMs(added, 0.5) << " | " << QuantileMs(added, 0.99) << " | "
            << QuantileMs(direct_ttft_, 0.5) << " | " << QuantileMs(routed_ttft_, 0.5) << " | "
            << QuantileMs(direct_ttft_, 0.99) << " | " << QuantileMs(routed_ttft_, 0.99) << " |"
            << std::endl;
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
      << "| streams | step ms | tokens/s wanted | got | errors | wrong | router % | decode % | "
         "prefill % | client % | router us/token | decode | prefill | client | gap p99 ms | token "
         "+p50 ms | +p99 | TTFT direct p50 | routed | direct p99 | routed |\n"
         "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
  for (int i = 3; i < argc; ++i) {
    double step = 0;
    CHECK(absl::SimpleAtod(argv[i], &step));
    tandem::Bench(
        {.streams = streams, .window = absl::Seconds(seconds), .step = absl::Milliseconds(step)})
        .Run();
  }
  return 0;
}
