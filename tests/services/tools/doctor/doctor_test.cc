// SPDX-License-Identifier: Apache-2.0
// Goal: the verb's exit codes and words; deploy/sizing.md shows what --plan prints. Method: the
// verb in this process, on this machine, on files of its own.
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/config/service_config.h"
#include "services/runtime/config/text_config.h"
#include "services/tools/doctor/memory_checks.h"
#include "services/tools/read_file.h"
#include "services/tools/verbs.h"
#include "tests/services/tools/run_verb.h"

namespace tandem {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

const std::string kSource = TANDEM_SOURCE_DIR;

std::string Put(const std::string& name, const std::string& text) {
  const std::string path = testing::TempDir() + name;
  std::ofstream(path) << text;
  return path;
}

std::string Worker(const std::string& model, const std::string& more = "") {
  return absl::StrCat("worker { listen: \"127.0.0.1:0\" model_dir: \"", model, "\" ", more, " }");
}

TEST(DoctorTest, AMachineLikeThisIsFit) {
  const std::string model = kSource + "/deploy/models/tiny-v4";
  const std::string decode = Put("doctor-decode.textproto", Worker(model));
  const Said said = RunVerb(RunDoctor, {"--model", model, "--decode", decode});
  EXPECT_EQ(said.code, 0) << said.out << said.err;
  EXPECT_THAT(said.out, HasSubstr("complete, 6 layers, 20 MB of weights"));
  EXPECT_THAT(said.out, HasSubstr("doctor-decode.textproto is valid"));
  EXPECT_THAT(said.out, HasSubstr("KV channel"));
}

TEST(DoctorTest, EachProblemIsNamed) {
  const std::string bad = Put("doctor-bad.textproto", "worker { listn: \"x\" }");
  const std::string empty = testing::TempDir() + "doctor-empty";
  std::filesystem::create_directories(empty);
  const std::string gone = Put("doctor-gone.textproto", Worker(empty));
  const Said said = RunVerb(RunDoctor, {"--prefill", bad, "--decode", gone});
  EXPECT_EQ(said.code, 1);
  EXPECT_THAT(said.out, HasSubstr("listn"));
  EXPECT_THAT(said.out, HasSubstr("config.json"));
  EXPECT_THAT(said.out, HasSubstr("tokenizer.json cannot be read"));
  EXPECT_THAT(said.out, HasSubstr("problem"));
}

TEST(DoctorTest, WhoSharesWeightsNeedsAHolder) {
  const std::string model = kSource + "/deploy/models/tiny-v4";
  const std::string shared =
      Put("doctor-shared.textproto", Worker(model, "weights: WEIGHTS_SHARED"));
  const std::string own = Put("doctor-own.textproto", Worker(model));
  const std::string ranks =
      Put("doctor-ranks.textproto", Worker(model, "weights: WEIGHTS_SHARED tensor_parallel: 2"));
  const Said held = RunVerb(RunDoctor, {"--prefill", shared, "--decode", own, "--decode", shared});
  EXPECT_THAT(held.out, HasSubstr("one copy for prefill and decode"));
  for (const std::string& decode : {own, ranks}) {
    const Said said = RunVerb(RunDoctor, {"--prefill", shared, "--decode", decode});
    EXPECT_EQ(said.code, 1);
    EXPECT_THAT(said.out, HasSubstr("prefill shares those of tiny-v4, and no decode worker holds"));
  }
  EXPECT_THAT(RunVerb(RunDoctor, {"--prefill", shared}).out, Not(HasSubstr("holds them")));
  EXPECT_THAT(RunVerb(RunDoctor, {"--prefill", own, "--decode", own}).out,
              Not(HasSubstr("holds them")));
}

TEST(DoctorTest, AnAddressThatTwoProcessesName) {
  const std::string model = kSource + "/deploy/models/tiny-v4";
  const std::string text = absl::StrCat("worker { listen: \"127.0.0.1:1\" model_dir: \"", model,
                                        "\" engine: ENGINE_SIM }");
  const Said said = RunVerb(RunDoctor, {"--prefill", Put("doctor-a.textproto", text), "--decode",
                                        Put("doctor-b.textproto", text)});
  EXPECT_EQ(said.code, 1);
  EXPECT_THAT(said.out, HasSubstr("127.0.0.1:1 is named twice"));
  EXPECT_THAT(said.out, Not(HasSubstr("of weights")));  // a simulation has none
  const Said router = RunVerb(
      RunDoctor, {"--router", Put("doctor-c.textproto",
                                  absl::StrCat("listen: \"127.0.0.1:2\" model_dir: \"", model,
                                               "\" registry { listen: \"127.0.0.1:2\" }"))});
  EXPECT_THAT(router.out, HasSubstr("127.0.0.1:2 is named twice"));
}

TEST(DoctorTest, RefusesWhatItCannotPlan) {
  const std::string model = kSource + "/deploy/models/v4-flash";
  const auto refusal = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "--plan");
    const Said said = RunVerb(RunDoctor, arguments);
    EXPECT_EQ(said.code, 2) << said.out;
    return said.err;
  };
  EXPECT_THAT(refusal({}), HasSubstr("--plan needs --model DIR"));
  EXPECT_THAT(refusal({"--model", "/no/such", "--preset", "h200"}),
              HasSubstr("/no/such/config.json"));
  EXPECT_THAT(refusal({"--model", model, "--preset", "a100"}), HasSubstr("got \"a100\""));
  EXPECT_THAT(refusal({"--model", model, "--gpu-memory", "nan"}), HasSubstr("above 0"));
  EXPECT_THAT(refusal({"--model", model, "--gpu-memory", "96", "--preset", "h200"}),
              HasSubstr("exclude each other"));
  EXPECT_THAT(refusal({"--model", model, "--preset", "h200", "--gpus", "0"}),
              HasSubstr("gpus must be"));
  EXPECT_THAT(refusal({"--model", model, "--preset", "h200", "--context", "2000000"}),
              HasSubstr("context must be"));
  EXPECT_EQ(RunVerb(RunDoctor, {"--nonsense"}).code, 2);
}

// What one of the two would pass over is refused: exit code 0 would look like an answer.
TEST(DoctorTest, ChecksAndPlanHaveFlagsOfTheirOwn) {
  const std::string model = kSource + "/deploy/models/v4-flash";
  const auto refusal = [&model](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--model", model});
    const Said said = RunVerb(RunDoctor, arguments);
    EXPECT_EQ(said.code, 2) << said.out;
    return said.err;
  };
  EXPECT_THAT(refusal({"--preset", "rtx-5090"}), HasSubstr("--preset is for --plan"));
  EXPECT_THAT(refusal({"--gpus", "4"}), HasSubstr("--gpus is for --plan"));
  EXPECT_THAT(refusal({"--gpu-memory", "32"}), HasSubstr("--gpu-memory is for --plan"));
  EXPECT_THAT(refusal({"--plan", "--preset", "h200", "--decode", "x"}),
              HasSubstr("--decode is for checks"));
}

// What stands behind `name`, to the end of its lines.
std::string Lines(const std::string& plan, const std::string& name) {
  std::string out;
  bool inside = false;
  for (const absl::string_view line : absl::StrSplit(plan, '\n')) {
    if (!absl::StartsWith(line, " ")) inside = absl::StartsWith(line, name + " ");
    if (inside) absl::StrAppend(&out, line.substr(std::min<size_t>(line.size(), 11)), "\n");
  }
  return out;
}

// The printed lines with what a plan cannot know.
template <typename Config>
Config ConfigOf(const std::string& plan, const std::string& name) {
  Config config;
  const absl::Status parsed = ParseTextConfig(name, Lines(plan, name), config);
  EXPECT_TRUE(parsed.ok()) << parsed << "\n" << plan;
  config.mutable_worker()->set_listen("127.0.0.1:0");
  config.mutable_worker()->set_model_dir(kSource + "/deploy/models/v4-flash");
  ApplyDefaults(config);
  const absl::Status valid = Validate(config);
  EXPECT_TRUE(valid.ok()) << valid << "\n" << plan;
  return config;
}

struct PlannedPair {
  v1::DecodeConfig decode;
  v1::PrefillConfig prefill;
  std::string start;
};

PlannedPair Planned(const std::vector<std::string>& arguments) {
  std::vector<std::string> all = {"--plan", "--model", kSource + "/deploy/models/v4-flash"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  const Said said = RunVerb(RunDoctor, all);
  EXPECT_EQ(said.code, 0) << said.err;
  return {.decode = ConfigOf<v1::DecodeConfig>(said.out, "decode"),
          .prefill = ConfigOf<v1::PrefillConfig>(said.out, "prefill"),
          .start = Lines(said.out, "start")};
}

TEST(DoctorTest, PlannedLinesAreConfigsOfGpusApart) {
  const auto [decode, prefill, start] =
      Planned({"--preset", "rtx-pro-6000", "--gpus", "4", "--context", "1048576"});
  EXPECT_THAT(GpusOf(decode.worker()), ElementsAre(0, 1));
  EXPECT_THAT(GpusOf(prefill.worker()), ElementsAre(2, 3));
  EXPECT_EQ(prefill.kv_channel_kind(), v1::KV_CHANNEL_KIND_IPC);
  EXPECT_GE(prefill.staging_pages() * 256, prefill.worker().context_tokens_max());
  EXPECT_GE(int64_t{decode.pages()} * 256, int64_t{decode.worker().context_tokens_max()});
  EXPECT_EQ(CheckStaging({.decodes = {decode}, .prefills = {prefill}, .list = {}}).size(), 0U);
  EXPECT_THAT(
      start, AllOf(HasSubstr("--device cuda"), HasSubstr("--decode-gpus 0,1"),
                   HasSubstr("--prefill-gpus 2,3"),
                   HasSubstr(absl::StrCat("--pages ", decode.pages(), " --slots ", decode.slots())),
                   HasSubstr("staging_pages: 4096")));
  const auto script = ReadFile(kSource + "/deploy/scripts/local.sh");
  ASSERT_TRUE(script.ok());
  const std::vector<std::string> words = absl::StrSplit(start, absl::ByAnyChar(" \n"));
  for (const std::string& word : words) {
    if (!absl::StartsWith(word, "--")) continue;
    EXPECT_THAT(*script, HasSubstr(absl::StrCat("    ", word, ") ")));
  }
}

TEST(DoctorTest, PlannedLinesAreConfigsOfTheSameGpus) {
  const auto [decode, prefill, start] = Planned({"--preset", "rtx-pro-6000", "--gpus", "2"});
  EXPECT_THAT(GpusOf(decode.worker()), ElementsAre(0, 1));
  EXPECT_THAT(GpusOf(prefill.worker()), ElementsAre(0, 1));
  EXPECT_EQ(prefill.kv_channel_kind(), v1::KV_CHANNEL_KIND_SHARED);
  EXPECT_EQ(decode.worker().weights(), v1::WEIGHTS_SHARED);
  EXPECT_EQ(prefill.worker().weights(), v1::WEIGHTS_SHARED);
  EXPECT_THAT(start,
              AllOf(HasSubstr("--decode-gpus 0,1 --prefill-gpus 0,1"), Not(HasSubstr("staging"))));
}

TEST(DoctorTest, AModelThatDoesNotFitIsExitCodeOne) {
  const Said said = RunVerb(RunDoctor, {"--plan", "--model", kSource + "/deploy/models/v4-flash",
                                        "--preset", "rtx-5090", "--gpus", "4"});
  EXPECT_EQ(said.code, 1);
  EXPECT_THAT(said.out, HasSubstr("no two workers, prefill and decode, fit on 4 GPUs of 33.3 GB"));
}

// What README says of a model on so many cards: "no", or what is chosen there.
std::string ReadmeCell(const std::string& preset, const std::string& gpus,
                       const std::string& model) {
  std::vector<std::string> row[2];
  std::string text;
  const std::string contexts[] = {"131072", "1048576"};
  for (int i = 0; i < 2; ++i) {
    const Said said =
        RunVerb(RunDoctor, {"--plan", "--model", kSource + "/deploy/models/" + model, "--preset",
                            preset, "--gpus", gpus, "--context", contexts[i]});
    if (said.code != 0) return "no";
    const std::string ranks = said.out.substr(said.out.find("\nchosen") + 12, 1);
    const bool both = absl::StrContains(said.out, "prefill on the same ones");
    const std::string who = absl::StrCat("\n", ranks, both ? " decode+prefill " : " decode ");
    const std::string line = said.out.substr(said.out.find(who) + 1);
    row[i] = absl::StrSplit(line.substr(0, line.find('\n')), ' ', absl::SkipEmpty());
    text =
        absl::StrCat("TP=", ranks, ", ",
                     both ? "both workers on all"
                          : absl::StrCat("decode on ", ranks, ", prefill on ", ranks, " others"));
  }
  const auto last = [&row](int i, int column) { return row[i][row[i].size() - column]; };
  return absl::StrCat(text, ": ", last(0, 3), " pages, ", last(0, 2), " tokens; ", last(0, 1),
                      " sequences of 131,072 at once, or ", last(1, 1), " of 1,048,576");
}

TEST(DoctorTest, ReadmeSaysWhatFits) {
  const auto page = ReadFile(kSource + "/README.md");
  ASSERT_TRUE(page.ok());
  for (const auto& [card, preset] :
       {std::pair("RTX 5090", "rtx-5090"), std::pair("RTX PRO 6000", "rtx-pro-6000")}) {
    for (const char* gpus : {"1", "2", "4", "8"}) {
      EXPECT_THAT(*page, HasSubstr(absl::StrCat("\n| ", gpus, " ", card, " | ",
                                                ReadmeCell(preset, gpus, "v4-flash"))));
      EXPECT_EQ(ReadmeCell(preset, gpus, "v4-pro"), "no") << "README says so of each";
    }
  }
}

// Every block of the page that begins with "$ tandem doctor …" is what that command prints.
TEST(DoctorTest, SizingPageShowsWhatPlanPrints) {
  const auto page = ReadFile(kSource + "/deploy/sizing.md");
  ASSERT_TRUE(page.ok());
  int compared = 0;
  const std::vector<std::string> parts = absl::StrSplit(*page, "```");
  for (size_t i = 1; i < parts.size(); i += 2) {
    absl::string_view block = parts[i];
    absl::ConsumePrefix(&block, "text");
    absl::ConsumePrefix(&block, "\n");
    if (!absl::ConsumePrefix(&block, "$ tandem doctor ")) continue;
    const size_t end = block.find('\n');
    std::vector<std::string> arguments = absl::StrSplit(block.substr(0, end), ' ');
    for (std::string& argument : arguments) {
      if (argument.starts_with("deploy/")) argument = kSource + "/" + argument;
    }
    const std::string printed = RunVerb(RunDoctor, arguments).out;
    EXPECT_EQ(absl::StrReplaceAll(printed, {{kSource + "/", ""}}), block.substr(end + 1));
    ++compared;
  }
  EXPECT_GE(compared, 2);
}

}  // namespace
}  // namespace tandem
