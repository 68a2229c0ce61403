// SPDX-License-Identifier: Apache-2.0
// Goal: the vLLM aliases are vLLM's to the letter (names, labels, bounds), move with their native
// twins, and no series but an allowed one is shown by two roles, so that sums over processes count
// once. Method: the text of one registry a role; bounds against a table of vLLM's own.
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/metrics/router_metrics.h"
#include "services/runtime/metrics/vllm_series.h"
#include "services/runtime/metrics/worker_metrics.h"

namespace tandem {
namespace {

using testing::AnyOf;
using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::Not;

constexpr double kTokensMax = 4096;

// The three processes' metrics, as their main() makes them.
struct Processes {
  explicit Processes(v1::MetricsCompat compat, const v1::HistogramBounds& bounds = {})
      : router_registry(Make(ProcessRole::kRouter, compat, bounds)),
        prefill_registry(Make(ProcessRole::kPrefill, compat, bounds)),
        decode_registry(Make(ProcessRole::kDecode, compat, bounds)),
        router(*router_registry, kTokensMax),
        prefill(*prefill_registry),
        decode(*decode_registry) {
    prefill.staging.Set({.pages_used = 1, .pages_total = 8, .page_tokens = 256});
    decode.SetPages({.free = 3, .leased_out = 1, .active = 4, .page_tokens = 256});
    decode.SetLeases({.granted = 1, .committed = 4}, absl::UnixEpoch());
  }
  static std::unique_ptr<MetricsRegistry> Make(ProcessRole role, v1::MetricsCompat compat,
                                               const v1::HistogramBounds& bounds) {
    auto registry = MetricsRegistry::Create({.role = role,
                                             .model_name = "tiny",
                                             .version = "1.2.3",
                                             .config_hash = "00ff",
                                             .compat = compat,
                                             .bounds = bounds});
    EXPECT_TRUE(registry.ok()) << registry.status();
    return *std::move(registry);
  }
  std::map<std::string, std::string> Texts() const {
    return {{"router", router_registry->Text()},
            {"prefill", prefill_registry->Text()},
            {"decode", decode_registry->Text()}};
  }

  std::unique_ptr<MetricsRegistry> router_registry;
  std::unique_ptr<MetricsRegistry> prefill_registry;
  std::unique_ptr<MetricsRegistry> decode_registry;
  RouterMetrics router;
  PrefillMetrics prefill;
  DecodeMetrics decode;
};

std::vector<std::string> Lines(const std::string& text) {
  return absl::StrSplit(text, '\n');
}

std::set<std::string> Families(const std::string& text) {
  std::set<std::string> out;
  for (const std::string& line : Lines(text)) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    if (words[0] == "#" && words[1] == "TYPE") out.insert(words[2]);
  }
  return out;
}

// The finite bounds of a histogram, in the order of the text.
std::vector<double> BoundsOf(const std::string& text, const std::string& name) {
  std::vector<double> out;
  for (const std::string& line : Lines(text)) {
    if (!line.starts_with(name + "_bucket{")) continue;
    const size_t at = line.rfind("le=\"") + 4;  // after role="…"
    double bound = 0;
    const bool finite = absl::SimpleAtod(line.substr(at, line.find('"', at) - at), &bound);
    if (finite && bound < 1e12) out.push_back(bound);
  }
  return out;
}

double ValueOf(const std::string& text, const std::string& series) {
  for (const std::string& line : Lines(text)) {
    double value = 0;
    if (!line.starts_with(series)) continue;
    EXPECT_TRUE(absl::SimpleAtod(line.substr(line.rfind(' ') + 1), &value)) << line;
    return value;
  }
  ADD_FAILURE() << "no " << series;
  return -1;
}

// As vLLM has them (reference serving.md 2.1); lengths end at the model's.
const std::vector<double> kRequestLatency = {0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                             30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680};
const std::vector<double> kTokenLatency = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
                                           0.75, 1,     2.5,  5,     7.5, 10,   20,  40,  80};
const std::vector<double> kLengths = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000};

struct Bounds {
  std::string role;
  std::string name;
  std::vector<double> bounds;
};
const Bounds kVllmBounds[] = {
    {"router", "vllm:time_to_first_token_seconds", {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,
                                                    0.25,  0.5,   0.75, 1,    2.5,  5,    7.5,  10,
                                                    20,    40,    80,   160,  640,  2560}},
    {"router", "vllm:request_time_per_output_token_seconds", kTokenLatency},
    {"router", "vllm:e2e_request_latency_seconds", kRequestLatency},
    {"router", "vllm:request_queue_time_seconds", kRequestLatency},
    {"router", "vllm:request_inference_time_seconds", kRequestLatency},
    {"router", "vllm:request_prompt_tokens", kLengths},
    {"router", "vllm:request_generation_tokens", kLengths},
    {"router", "vllm:request_params_max_tokens", kLengths},
    {"router", "vllm:request_params_n", {1, 2, 5, 10, 20}},
    {"prefill", "vllm:request_prefill_time_seconds", kRequestLatency},
    {"decode", "vllm:request_decode_time_seconds", kRequestLatency},
    {"decode", "vllm:inter_token_latency_seconds", kTokenLatency},
    {"decode",
     "vllm:iteration_tokens_total",
     {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384}}};

TEST(AliasesTest, BoundsAreExactlyVllms) {
  const auto texts = Processes(v1::METRICS_COMPAT_VLLM).Texts();
  size_t histograms = 0;
  for (const auto& [role, text] : texts) {
    for (const std::string& line : Lines(text)) {
      histograms += line.starts_with("# TYPE vllm:") && line.ends_with(" histogram");
    }
  }
  EXPECT_EQ(histograms, std::size(kVllmBounds)) << "one has no bounds here";
  for (const Bounds& want : kVllmBounds) {
    EXPECT_THAT(BoundsOf(texts.at(want.role), want.name), ElementsAreArray(want.bounds))
        << want.name;
  }
}

TEST(AliasesTest, LabelsAreVllms) {
  for (const auto& [role, text] : Processes(v1::METRICS_COMPAT_VLLM).Texts()) {
    EXPECT_THAT(text, HasSubstr("\nvllm:")) << role;
    for (const std::string& line : Lines(text)) {
      if (!line.starts_with("vllm:")) continue;
      EXPECT_THAT(line, HasSubstr("engine=\"0\""));
      EXPECT_THAT(line, HasSubstr("model_name=\"tiny\""));
      EXPECT_THAT(line, Not(HasSubstr("role=")));
    }
  }
}

TEST(AliasesTest, NoNameIsShownByTwoRolesButTheStateOfEach) {
  // State of each process, or its own work by kind: a sum over them is what is meant.
  const std::set<std::string> both = {"vllm:num_requests_running",
                                      "vllm:num_requests_waiting",
                                      "vllm:kv_cache_usage_perc",
                                      "vllm:cache_config_info",
                                      "vllm:num_preemptions_total",
                                      "tandem_tokens_total",
                                      "tandem_throughput_tokens_per_second",
                                      "tandem_batch_size",
                                      "tandem_step_seconds",
                                      "tandem_step_tokens",
                                      "tandem_engine_last_step_age_seconds",
                                      "tandem_kv_cache_usage_ratio",
                                      "tandem_transport_info",
                                      "tandem_queue_depth",
                                      "tandem_stage_seconds",
                                      "tandem_build_info",
                                      "tandem_config_info"};
  std::map<std::string, std::vector<std::string>> roles;
  for (const auto& [role, text] : Processes(v1::METRICS_COMPAT_VLLM).Texts()) {
    for (const std::string& family : Families(text)) roles[family].push_back(role);
  }
  for (const auto& [family, shown] : roles) {
    EXPECT_EQ(shown.size() > 1, both.contains(family)) << family << " by " << shown.size();
  }
}

// tandem_stage_seconds is shown by all three, but each of its stages by one.
TEST(AliasesTest, AStageIsShownByOneRole) {
  std::map<std::string, std::vector<std::string>> roles;
  for (const auto& [role, text] : Processes(v1::METRICS_COMPAT_VLLM).Texts()) {
    for (const std::string& line : Lines(text)) {
      if (!line.starts_with("tandem_stage_seconds_count{")) continue;
      const size_t at = line.find("stage=\"") + 7;
      roles[line.substr(at, line.find('"', at) - at)].push_back(role);
    }
  }
  for (const auto& [stage, shown] : roles) {
    EXPECT_EQ(shown.size(), 1U) << stage << " by " << shown[0] << " and others";
  }
  EXPECT_EQ(roles.size(), 13U);
}

TEST(AliasesTest, BoundsOfTheConfigAreOursAlone) {
  v1::HistogramBounds bounds;
  for (const double bound : {0.5, 1.0}) {
    bounds.add_ttft(bound);
    bounds.add_tpot(bound / 10);
    bounds.add_e2e(bound * 10);
    bounds.add_stage(bound * 2);
  }
  Processes processes(v1::METRICS_COMPAT_VLLM, bounds);
  processes.decode.inter_token_gap.Add(0.07);
  processes.decode.OnStep({.end = absl::UnixEpoch(), .sequences = 1, .tokens_generated = 1});
  const auto texts = processes.Texts();
  const std::string& router = texts.at("router");
  const std::string& decode = texts.at("decode");
  EXPECT_THAT(BoundsOf(router, "tandem_request_ttft_seconds"), ElementsAre(0.5, 1));
  EXPECT_THAT(BoundsOf(router, "tandem_request_tpot_seconds"), ElementsAre(0.05, 0.1));
  EXPECT_THAT(BoundsOf(router, "tandem_stream_chunk_gap_seconds"), ElementsAre(0.05, 0.1));
  EXPECT_THAT(BoundsOf(router, "tandem_request_e2e_seconds"), ElementsAre(5, 10));
  EXPECT_THAT(BoundsOf(decode, "tandem_inter_token_gap_seconds"), ElementsAre(0.05, 0.1));
  EXPECT_THAT(BoundsOf(decode, "tandem_step_seconds"), ElementsAre(1, 2));
  EXPECT_EQ(ValueOf(decode,
                    "tandem_inter_token_gap_seconds_bucket{model_name=\"tiny\",role=\"decode\","
                    "le=\"0.05\"}"),
            0);
  EXPECT_EQ(ValueOf(decode, "tandem_inter_token_gap_seconds_count"), 1);
  for (const std::string& line : Lines(router)) {
    if (!line.starts_with("tandem_stage_seconds_bucket{")) continue;
    EXPECT_THAT(line, AnyOf(HasSubstr("le=\"1\""), HasSubstr("le=\"2\""), HasSubstr("+Inf")));
  }
  for (const Bounds& want : kVllmBounds) {
    EXPECT_THAT(BoundsOf(texts.at(want.role), want.name), ElementsAreArray(want.bounds))
        << want.name;
  }
}

TEST(AliasesTest, NoneAreShownWhereTheConfigSaysNone) {
  for (const auto& [role, text] : Processes(v1::METRICS_COMPAT_NONE).Texts()) {
    EXPECT_THAT(text, Not(HasSubstr("vllm:"))) << role;
    EXPECT_THAT(text, HasSubstr("tandem_config_info{")) << role;
  }
}

TEST(AliasesTest, OneEventMovesBoth) {
  Processes processes(v1::METRICS_COMPAT_VLLM);
  processes.router.ttft.Observe(0.05);
  for (const char* outcome : {"stop", "tool_calls", "rejected", "cancelled", "deadline"}) {
    processes.router.CountRequest({.outcome = outcome, .code = "OK"});
  }
  const std::string router = processes.router_registry->Text();
  EXPECT_EQ(ValueOf(router, "tandem_request_ttft_seconds_count"), 1);
  EXPECT_EQ(ValueOf(router, "vllm:time_to_first_token_seconds_count"), 1);
  const std::string success =
      "vllm:request_success_total{engine=\"0\",model_name=\"tiny\",finished_reason=\"";
  EXPECT_EQ(ValueOf(router, success + "stop"), 2);
  EXPECT_EQ(ValueOf(router, success + "abort"), 2);
  EXPECT_EQ(ValueOf(router, success + "error"), 0);

  const StepSample step = {.end = absl::UnixEpoch(), .sequences = 2, .tokens_prompt = 40};
  processes.prefill.engine.OnStep(step);
  const std::string prefill = processes.prefill_registry->Text();
  EXPECT_EQ(ValueOf(prefill, "vllm:prompt_tokens_total"), 40);
  EXPECT_EQ(ValueOf(prefill, "vllm:prompt_tokens_by_source_total"), 40);
  EXPECT_EQ(ValueOf(prefill, "vllm:kv_cache_usage_perc"), 0.125);
}

TEST(AliasesTest, GapsOfAStepShowAtItsEndInBothBounds) {
  Processes processes(v1::METRICS_COMPAT_VLLM);
  processes.decode.OnAnswer(/*prompt_tokens=*/70);
  for (const double gap : {0.001, 0.004, 0.2, 100.0}) processes.decode.inter_token_gap.Add(gap);
  EXPECT_EQ(ValueOf(processes.decode_registry->Text(), "tandem_inter_token_gap_seconds_count"), 0);
  processes.decode.OnStep({.end = absl::UnixEpoch(), .sequences = 4, .tokens_generated = 4});
  processes.decode.OnStep({.end = absl::UnixEpoch(), .sequences = 1, .tokens_generated = 1});
  const std::string text = processes.decode_registry->Text();
  const std::string native = "tandem_inter_token_gap_seconds_";
  EXPECT_EQ(ValueOf(text, native + "count"), 4);
  EXPECT_NEAR(ValueOf(text, native + "sum"), 100.205, 1e-9);
  const std::string bucket = native + "bucket{model_name=\"tiny\",role=\"decode\",le=\"";
  // A value that is a bound counts in its bucket.
  EXPECT_EQ(ValueOf(text, bucket + "0.001\""), 1);
  EXPECT_EQ(ValueOf(text, bucket + "0.004\""), 2);
  EXPECT_EQ(ValueOf(text, bucket + "0.2\""), 3);
  EXPECT_EQ(ValueOf(text, "vllm:inter_token_latency_seconds_count"), 4);
  EXPECT_EQ(ValueOf(text,
                    "vllm:inter_token_latency_seconds_bucket{engine=\"0\","
                    "model_name=\"tiny\",le=\"0.01\"}"),
            2);
  // Four tokens of the steps, one of the second, and the first that prefill drew.
  EXPECT_EQ(ValueOf(text, "vllm:generation_tokens_total"), 6);
  EXPECT_EQ(ValueOf(text, "vllm:iteration_tokens_total_count"), 2);
  // All of the prompt's KV was computed by another process.
  EXPECT_EQ(ValueOf(text, "vllm:external_prefix_cache_queries_total"), 70);
  EXPECT_EQ(ValueOf(text, "vllm:external_prefix_cache_hits_total"), 70);
}

TEST(AliasesTest, WhatTandemNeverDoesIsShownAsZero) {
  const auto texts = Processes(v1::METRICS_COMPAT_VLLM).Texts();
  for (const char* role : {"prefill", "decode"}) {
    EXPECT_EQ(ValueOf(texts.at(role), "vllm:num_preemptions_total"), 0);
  }
  for (const char* name : {"vllm:prompt_tokens_cached_total", "vllm:prefix_cache_queries_total",
                           "vllm:prefix_cache_hits_total"}) {
    EXPECT_EQ(ValueOf(texts.at("prefill"), name), 0);
  }
}

TEST(AliasesTest, NamesThatVllmHasGivenUpAreShownWhereTheyAreAskedFor) {
  const std::string old = "vllm:time_per_output_token_seconds";
  Processes processes(v1::METRICS_COMPAT_VLLM_LEGACY);
  processes.decode.inter_token_gap.Add(0.02);
  processes.decode.OnStep({.end = absl::UnixEpoch(), .sequences = 1, .tokens_generated = 1});
  const auto texts = processes.Texts();
  EXPECT_EQ(ValueOf(texts.at("decode"), old + "_count"), 1);
  EXPECT_THAT(BoundsOf(texts.at("decode"), old), ElementsAreArray(kTokenLatency));
  EXPECT_EQ(ValueOf(texts.at("decode"), "vllm:gpu_cache_usage_perc"),
            ValueOf(texts.at("decode"), "vllm:kv_cache_usage_perc"));
  EXPECT_EQ(ValueOf(texts.at("prefill"), "vllm:gpu_cache_usage_perc"), 0.125);
  for (const auto& [role, text] : Processes(v1::METRICS_COMPAT_VLLM).Texts()) {
    EXPECT_THAT(text, Not(HasSubstr(old)));
    EXPECT_THAT(text, Not(HasSubstr("vllm:gpu_")));
  }
}

}  // namespace
}  // namespace tandem
