// SPDX-License-Identifier: Apache-2.0
// Goal: every flag says what its help says, and every bad value of every flag is refused with the
// flag, its limit and the value. Method: flags in, options out; no server.
#include <fstream>
#include <iterator>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/tools/load/options/load_help.h"

namespace tandem {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

absl::StatusOr<LoadOptions> Parse(Mode mode, const std::string& arguments) {
  const auto flags =
      Flags::Parse(LoadFlags(mode), absl::StrSplit(arguments, ' ', absl::SkipEmpty()));
  if (!flags.ok()) return flags.status();
  return ParseLoadOptions(mode, *flags);
}

LoadOptions Parsed(Mode mode, const std::string& arguments) {
  const auto options = Parse(mode, arguments);
  EXPECT_TRUE(options.ok()) << arguments << ": " << options.status();
  return options.ok() ? *options : LoadOptions();
}

TEST(LoadOptionsTest, ClosedLoopHasDefaults) {
  const LoadOptions options = Parsed(Mode::kRun, "--concurrency 7");
  EXPECT_EQ(options.plan.loop, Loop::kClosed);
  EXPECT_EQ(options.drive.concurrency, 7U);
  EXPECT_EQ(options.drive.connection.channel.endpoint, "127.0.0.1:8440");
  EXPECT_EQ(options.duration, absl::Seconds(30));
  EXPECT_TRUE(options.drive.ignore_eos);
  EXPECT_EQ(options.drive.temperature, 0);
  EXPECT_FALSE(options.drive.loss_expected);
  EXPECT_TRUE(Parsed(Mode::kSoak, "--concurrency 7 --expect-loss").drive.loss_expected);
  EXPECT_THAT(options.given, ElementsAre(std::make_pair("concurrency", "7")));
}

TEST(LoadOptionsTest, RatesAndRamps) {
  const LoadOptions constant = Parsed(Mode::kRun, "--rate 12.5 --requests 9 --warmup 3");
  EXPECT_EQ(constant.plan.loop, Loop::kOpen);
  EXPECT_EQ(constant.plan.arrivals.rate_end, 12.5);
  EXPECT_EQ(constant.plan.arrivals.burstiness, 0);
  EXPECT_EQ(constant.plan.requests, 12U);
  EXPECT_EQ(constant.drive.warmup_requests, 3U);
  EXPECT_EQ(constant.plan.until, absl::InfiniteDuration());

  const LoadOptions ramp =
      Parsed(Mode::kRun, "--rate 1..9 --duration 20s --warmup 5s --arrival poisson");
  EXPECT_EQ(ramp.plan.arrivals.rate_begin, 1);
  EXPECT_EQ(ramp.plan.arrivals.rate_end, 9);
  EXPECT_EQ(ramp.plan.arrivals.ramp_begin, absl::Seconds(5));
  EXPECT_EQ(ramp.plan.arrivals.ramp, absl::Seconds(20));
  EXPECT_EQ(ramp.plan.arrivals.burstiness, 1);
  EXPECT_EQ(ramp.plan.until, absl::Seconds(25));
  EXPECT_EQ(ramp.drive.warmup, absl::Seconds(5));

  EXPECT_EQ(Parsed(Mode::kRun, "--rate 2 --burstiness 0.5").plan.arrivals.burstiness, 0.5);
}

TEST(LoadOptionsTest, LimitsChecksAndNastyClients) {
  const LoadOptions options = Parsed(
      Mode::kRun, absl::StrCat("--concurrency 2 --slo ttft:200,tpot:50.5 --check sim --check-idle "
                               "a:1 --check-idle http://b:2/m --nasty 0.25 --nasty-kinds "
                               "slow,vanish --golden ",
                               TANDEM_SOURCE_DIR, "/tests/golden/model/golden_tiny.json:0.5"));
  EXPECT_EQ(options.slo.ttft, absl::Milliseconds(200));
  EXPECT_EQ(options.slo.tpot, absl::Microseconds(50500));
  EXPECT_FALSE(options.slo.e2e.has_value());
  EXPECT_TRUE(options.drive.check_simulated);
  ASSERT_EQ(options.check_idle.size(), 2U);
  EXPECT_EQ(options.check_idle[1].path, "/m");
  EXPECT_EQ(options.plan.nasty_share, 0.25);
  EXPECT_THAT(options.plan.nasty_kinds, ElementsAre(Nasty::kSlow, Nasty::kVanish));
  EXPECT_EQ(options.plan.golden_share, 0.5);
  EXPECT_EQ(options.plan.goldens.size(), options.goldens.size());
  EXPECT_EQ(options.plan.goldens[0].prompt_tokens, options.goldens[0].prompt.size());
  EXPECT_EQ(Parsed(Mode::kRun, "--concurrency 2 --nasty 1").plan.nasty_kinds.size(),
            static_cast<size_t>(kNastyKinds));
}

TEST(LoadOptionsTest, SweepSearchAndSoakHaveTheirOwn) {
  EXPECT_THAT(Parsed(Mode::kSweep, "--rates 1,2.5,4").rates, ElementsAre(1, 2.5, 4));
  EXPECT_THAT(Parsed(Mode::kSweep, "--concurrencies 1,16").concurrencies, ElementsAre(1, 16));
  const LoadOptions search =
      Parsed(Mode::kSearch, "--slo e2e:100 --rate-low 2 --rate-high 8 --goodput 0.9");
  EXPECT_EQ(search.rate_low, 2);
  EXPECT_EQ(search.rate_high, 8);
  EXPECT_EQ(search.goodput, 0.9);
  EXPECT_EQ(Parsed(Mode::kSoak, "--rate 1 --interval 5s").interval, absl::Seconds(5));
  EXPECT_EQ(AtRate(search, 3).plan.arrivals.rate_begin, 3);
  EXPECT_EQ(AtConcurrency(search, 5).drive.concurrency, 5U);
}

struct Bad {
  std::string flags;    // without the shape
  std::string message;  // part of it
};

TEST(LoadOptionsTest, EveryFlagsBadValueIsNamedWithItsLimit) {
  const std::vector<Bad> all = {
      {"--cert /no/such", ""},
      {"--api-key-file /no/such", "/no/such"},
      {"--nasty 0.1 --nasty-kinds vanish --tls", "vanish does not go with TLS"},
      {"--channels 0", "--channels: \"0\" is no whole number from 1 to 256"},
      {"--channels 257", "from 1 to 256"},
      {"--requests 0", "--requests: \"0\" is no whole number from 1"},
      {"--requests x", "--requests"},
      {"--duration 0s", "--duration: \"0s\" is no duration from 1ms"},
      {"--duration soon", "--duration"},
      {"--warmup -1", "--warmup: \"-1\" is no duration"},
      {"--warmup 5x", "--warmup"},
      {"--timeout 0s", "--timeout: \"0s\" is no duration from 1ms to 720h"},
      {"--max-inflight 0", "--max-inflight"},
      {"--max-errors -1", "--max-errors"},
      {"--ready-timeout never", "--ready-timeout"},
      {"--temperature 101", "--temperature: \"101\" is no number from 0 to 100"},
      {"--temperature nan", "--temperature"},
      {"--stream-interval -1", "--stream-interval"},
      {"--prompt-tokens 0", "--prompt-tokens"},
      {"--output-tokens 9..1", "--output-tokens"},
      {"--prefix-groups 3", "--prefix-tokens: is needed"},
      {"--prefix-tokens 3", "--prefix-groups: is needed"},
      {"--prefix-groups 1000001 --prefix-tokens 1", "from 0 to 1000000"},
      {"--prefix-zipf 11", "--prefix-zipf: \"11\" is no number from 0 to 10"},
      {"--turns 0", "--turns: \"0\" is no whole number from 1 to 10000"},
      {"--think-time x", "--think-time"},
      {"--arrival poisson", "--arrival: goes with --rate"},
      {"--burstiness 2", "--burstiness: goes with --rate"},
      {"--seed -1", "--seed"},
      {"--trace-speed 0", "--trace-speed"},
      {"--trace-block 0", "--trace-block"},
      {"--check real", "--check: \"real\" is not sim"},
      {"--check sim --stop-at-eos", "--check: sim does not go with --stop-at-eos"},
      {"--check-idle nowhere", "--check-idle: \"nowhere\" is neither"},
      {"--idle-timeout x", "--idle-timeout"},
      {"--golden file", "--golden: \"file\" is not FILE:SHARE"},
      {"--golden /no/such:0.1", "--golden: /no/such"},
      {"--golden /no/such:2", "--golden: \"2\" is no number from 0 to 1"},
      {"--nasty 1.5", "--nasty: \"1.5\" is no number from 0 to 1"},
      {"--nasty 0.1 --nasty-kinds kind", "--nasty-kinds: \"kind\" is no kind"},
      {"--nasty-kinds slow", "--nasty: is needed"},
      {"--slo ttft", "--slo: \"\" is no number"},
      {"--slo itl:5", "--slo: \"itl:5\" is not ttft:MS"},
      {"--slo e2e:1,e2e:2", "each once"},
      {"--slo e2e:0", "--slo: \"0\" is no number from 0.001"},
      {"--concurrency 2", "--concurrency is given twice"},
      {"--rate 1", "exactly one of --concurrency, --rate and --trace"},
      {"--no-such", "unknown argument"}};
  for (const Bad& bad : all) {
    const auto options = Parse(Mode::kRun, "--concurrency 1 " + bad.flags);
    ASSERT_FALSE(options.ok()) << bad.flags;
    EXPECT_THAT(std::string(options.status().message()), HasSubstr(bad.message)) << bad.flags;
  }
}

TEST(LoadOptionsTest, BadShapesAndModesAreNamed) {
  struct BadMode {
    Mode mode;
    std::string flags;
    std::string message;
  };
  const std::vector<BadMode> all = {
      {Mode::kRun, "", "exactly one of"},
      {Mode::kRun, "--concurrency 0", "--concurrency: \"0\" is no whole number from 1 to 100000"},
      {Mode::kRun, "--rate 0", "--rate: \"0\" is no number from 0.001"},
      {Mode::kRun, "--rate 1..x --duration 1s", "--rate: \"x\""},
      {Mode::kRun, "--rate 1..2 --requests 5", "--rate: a ramp needs --duration"},
      {Mode::kRun, "--rate 1 --arrival even", "--arrival: \"even\" is not constant"},
      {Mode::kRun, "--rate 1 --arrival poisson --burstiness 2", "--burstiness: goes with"},
      {Mode::kRun, "--rate 1 --burstiness 0", "--burstiness: \"0\""},
      {Mode::kRun, "--trace /no/such", "--trace: /no/such"},
      {Mode::kRun, "--trace /no/such --turns 2", "--turns: does not go with --trace"},
      {Mode::kRun, "--rates 1,2", "unknown argument \"--rates\""},
      {Mode::kSweep, "", "exactly one of --rates and --concurrencies"},
      {Mode::kSweep, "--rates 1 --concurrencies 1", "exactly one of"},
      {Mode::kSweep, "--rates 1,x", "--rates: \"x\""},
      {Mode::kSweep, "--rates ,", "--rates: names no run"},
      {Mode::kSweep, "--concurrencies 0", "--concurrencies: \"0\""},
      {Mode::kSearch, "", "--slo: is needed"},
      {Mode::kSearch, "--slo e2e:1 --goodput 0", "--goodput: \"0\" is no number from 0.01 to 1"},
      {Mode::kSearch, "--slo e2e:1 --rate-low 0", "--rate-low"},
      {Mode::kSearch, "--slo e2e:1 --rate-low 9 --rate-high 3", "--rate-low: is above"},
      {Mode::kSearch, "--slo e2e:1 --precision 2", "--precision"},
      {Mode::kSoak, "--rate 1 --interval 1ms", "--interval: \"1ms\" is no duration from 100ms"}};
  for (const BadMode& bad : all) {
    const auto options = Parse(bad.mode, bad.flags);
    ASSERT_FALSE(options.ok()) << bad.flags;
    EXPECT_THAT(std::string(options.status().message()), HasSubstr(bad.message)) << bad.flags;
  }
}

TEST(LoadOptionsTest, TheHelpNamesEveryFlagAndFitsATerminal) {
  for (const Mode mode : {Mode::kRun, Mode::kSweep, Mode::kSearch, Mode::kSoak}) {
    const std::string help = LoadHelp(mode);
    for (const FlagSpec& spec : LoadFlags(mode)) {
      EXPECT_THAT(help, HasSubstr("\n  --" + spec.name)) << spec.name;
    }
    EXPECT_THAT(help, HasSubstr("\n\n  tandem load ")) << "an example comes first";
    for (const absl::string_view line : absl::StrSplit(help, '\n')) {
      EXPECT_LE(line.size(), 102U) << line;  // two of them have a sign of three bytes
    }
  }
}

// Every name that a help prints is a flag that the parser knows, once.
TEST(LoadOptionsTest, NoFlagIsThereTwice) {
  for (const Mode mode : {Mode::kRun, Mode::kSweep, Mode::kSearch, Mode::kSoak}) {
    std::set<std::string> names;
    for (const FlagSpec& spec : LoadFlags(mode)) {
      EXPECT_TRUE(names.insert(spec.name).second) << spec.name;
    }
  }
}

}  // namespace
}  // namespace tandem
