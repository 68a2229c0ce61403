// SPDX-License-Identifier: Apache-2.0
// Tokens a second of the three processes together, for 1 to 32 streams at once, on tiny-v4: what a
// client sees. Prints a Markdown table; the bars are those of issue 2.
// usage: serving_bench [seconds a row]
#include <algorithm>
#include <atomic>
#include <iomanip>
#include <iostream>
#include <memory>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "services/runtime/base/check.h"
#include "services/runtime/base/thread.h"
#include "tests/e2e/client.h"
#include "tests/e2e/cluster.h"

namespace tandem {
namespace {

struct Row {
  int streams = 0;
  double bar = 0;  // tokens/s; 0 = none
};

struct Sample {
  double ttft_ms = 0;
  double tpot_ms = 0;
};

void Measure(Cluster& cluster, const Row& row, double seconds) {
  const auto client = cluster.NewClient();
  std::atomic<int64_t> tokens = 0;
  std::vector<std::vector<Sample>> samples(row.streams);
  const absl::Time start = absl::Now();
  {
    std::vector<std::unique_ptr<Thread>> streams;
    for (int i = 0; i < row.streams; ++i) {
      streams.push_back(std::make_unique<Thread>("stream", [&, i] {
        while (absl::ToDoubleSeconds(absl::Now() - start) < seconds) {
          v1::GenerateRequest request =
              GreedyChat("Tom has 5 apples. Ana gives Tom 7 more.", false, 128);
          request.set_ignore_eos(true);
          const Outcome outcome = Generate(*client, request);
          CHECK(outcome.status.ok() && outcome.broken_promises.empty());
          const auto count = static_cast<int64_t>(outcome.only().tokens.size());
          tokens += count;
          const v1::Timing& timing = outcome.only().finished.timing();
          const double ttft =
              static_cast<double>(timing.ttft().seconds()) + 1e-9 * timing.ttft().nanos();
          const double total =
              static_cast<double>(timing.total().seconds()) + 1e-9 * timing.total().nanos();
          samples[i].push_back({.ttft_ms = 1e3 * ttft,
                                .tpot_ms = 1e3 * (total - ttft) / static_cast<double>(count - 1)});
        }
      }));
    }
  }
  const double rate = static_cast<double>(tokens) / absl::ToDoubleSeconds(absl::Now() - start);
  std::vector<double> ttft;
  std::vector<double> tpot;
  for (const auto& stream : samples) {
    for (const Sample& sample : stream) {
      ttft.push_back(sample.ttft_ms);
      tpot.push_back(sample.tpot_ms);
    }
  }
  std::sort(ttft.begin(), ttft.end());
  std::sort(tpot.begin(), tpot.end());
  std::cout << "| " << row.streams << " | " << std::fixed << std::setprecision(0) << rate << " | "
            << (row.bar > 0 ? std::to_string(static_cast<int>(row.bar)) : "") << " | "
            << std::setprecision(1) << ttft[ttft.size() / 2] << " | " << tpot[tpot.size() / 2]
            << " |" << std::endl;
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  double seconds = 5;
  if (argc > 1) CHECK(absl::SimpleAtod(argv[1], &seconds));
  tandem::Cluster cluster({});
  CHECK(cluster.WaitReady(absl::Seconds(60)).ok());
  std::cout << "| streams | tokens/s | bar | TTFT p50 ms | TPOT p50 ms |\n|---|---|---|---|---|\n";
  for (const tandem::Row& row : std::vector<tandem::Row>{{1, 40}, {4, 0}, {16, 150}, {32, 0}}) {
    tandem::Measure(cluster, row, seconds);
  }
  return 0;
}
