// SPDX-License-Identifier: Apache-2.0
// Goal: a process that cannot run says so in one clear line and ends: with a bad config or a
// malformed checkpoint it neither crashes, nor hangs, nor serves. Method: the three programs,
// started with every fault of a table; the checkpoint is tiny-v4 with one file changed.
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/base/check.h"
#include "tests/e2e/cluster.h"
#include "tests/services/runtime/loader/scratch_folder.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

constexpr absl::Duration kLimit = absl::Seconds(10);
const char* const kTiny = TANDEM_SOURCE_DIR "/deploy/models/tiny-v4";
const char* const kShard = "model-00001-of-00002.safetensors";

struct End {
  int exit_code = -1;  // -1: a signal ended it, or it had to be killed
  std::vector<std::string> error_lines;
  std::string all;
};

// 0 if the process is still running after the limit.
int WaitFor(pid_t pid) {
  const absl::Time end = absl::Now() + kLimit;
  int status = 0;
  while (waitpid(pid, &status, WNOHANG) == 0) {
    if (absl::Now() > end) {
      kill(pid, SIGKILL);
      waitpid(pid, &status, 0);
      return -1;
    }
    absl::SleepFor(absl::Milliseconds(5));
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

End RunProgram(const std::string& name, const std::string& config_path) {
  const ScratchFolder folder;
  const std::string log = folder / "stderr";
  const std::string binary = absl::StrCat(TANDEM_BINARY_DIR, "/", name);
  const pid_t pid = fork();
  CHECK_GE(pid, 0);
  if (pid == 0) {
    const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    dup2(out, STDERR_FILENO);
    dup2(out, STDOUT_FILENO);
    execl(binary.c_str(), name.c_str(), "--config", config_path.c_str(), nullptr);
    _exit(127);
  }
  End end{.exit_code = WaitFor(pid), .error_lines = {}, .all = ReadAll(log)};
  for (absl::string_view line : absl::StrSplit(end.all, '\n', absl::SkipEmpty())) {
    // "2026-… I decode event …" is the log; what is left is for people.
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    if (words.size() < 3 || words[1].size() != 1) end.error_lines.emplace_back(line);
  }
  return end;
}

void ExpectOneLine(const End& end, const std::vector<std::string>& said, const std::string& what) {
  EXPECT_GT(end.exit_code, 0) << what << "\n" << end.all;
  EXPECT_LT(end.exit_code, 126) << what << "\n" << end.all;
  ASSERT_EQ(end.error_lines.size(), 1U) << what << "\n" << end.all;
  EXPECT_LT(end.error_lines[0].size(), 3000U) << what;
  for (const std::string& part : said) EXPECT_THAT(end.error_lines[0], HasSubstr(part)) << what;
}

// A config of the program that would work, with lines added to it and to its common part.
struct Config {
  std::string model = kTiny;
  std::string common;
  std::string extra;
};
std::string ConfigOf(const std::string& program, const Config& config) {
  std::string common = config.common;
  if (!absl::StrContains(common, "listen:")) absl::StrAppend(&common, " listen: \"127.0.0.1:0\"");
  if (!absl::StrContains(common, "model_dir:"))
    absl::StrAppend(&common, " model_dir: \"", config.model, "\"");
  if (program == "tandem-router") {
    return absl::StrCat(common, "\nprefill_workers: \"127.0.0.1:1\" decode_workers: \"[::1]:2\"\n",
                        config.extra);
  }
  return absl::StrCat("worker { ", common, " }\n", config.extra);
}

void Refuses(const std::string& program, const std::string& config,
             const std::vector<std::string>& said) {
  const ScratchFolder folder;
  WriteAll(folder / "c.textproto", config);
  ExpectOneLine(RunProgram(program, folder / "c.textproto"), said,
                absl::StrCat(program, ": ", config.substr(0, 400)));
}

const std::vector<std::string>& Programs() {
  static const auto* const kAll =
      new std::vector<std::string>{"tandem-router", "tandem-prefill", "tandem-decode"};
  return *kAll;
}

TEST(HostileStartTest, AConfigThatIsNoneIsNamed) {
  const ScratchFolder folder;
  for (const std::string& program : Programs()) {
    ExpectOneLine(RunProgram(program, folder / "absent"), {program, "absent", "No such file"},
                  "absent");
    ExpectOneLine(RunProgram(program, folder.path()), {folder.path(), "read"}, "folder");
    Refuses(program, ConfigOf(program, {.extra = "nonsense: 1"}), {"c.textproto:", "nonsense"});
    Refuses(program, "listen 7 {{{", {"c.textproto:1:"});
    Refuses(program, std::string("\x00\xff\xfe\x01", 4), {"c.textproto"});
    Refuses(program, std::string(2U << 20, '#'), {"c.textproto", "1048576"});
    Refuses(program, std::string(200'000, '{'), {"c.textproto"});
  }
}

TEST(HostileStartTest, AFieldOutOfRangeIsNamedWithLimitAndValue) {
  const auto decode = [](const std::string& extra, const std::vector<std::string>& said) {
    Refuses("tandem-decode", ConfigOf("tandem-decode", {.extra = extra}), said);
  };
  const auto worker = [](const std::string& common, const std::vector<std::string>& said) {
    Refuses("tandem-decode", ConfigOf("tandem-decode", {.common = common}), said);
    Refuses("tandem-prefill", ConfigOf("tandem-prefill", {.common = common}), said);
  };
  decode("pages: 0", {"pages: 0", "1 to"});
  decode("pages: 2147483648", {"pages: 2147483648", "1 to"});
  decode("pages: -1", {"c.textproto:2:"});
  decode("pages: \"x\"", {"c.textproto:2:"});
  decode("pages: 99999999999", {"c.textproto:2:"});
  decode("slots: 0", {"slots: 0", "1 to"});
  decode("slots: 65537", {"slots: 65537", "65536"});
  decode("batch_max: 0", {"batch_max: 0"});
  decode("lease_ttl { seconds: -5 }", {"lease_ttl: -5s"});
  decode("lease_ttl { seconds: 9223372036854775807 nanos: 2147483647 }", {"lease_ttl: "});
  decode("endpoint: \"nowhere\"", {"endpoint: \"nowhere\"", "host:port"});
  worker("context_tokens_max: 1", {"context_tokens_max: 1", "2 to"});
  worker("context_tokens_max: 16777216", {"context_tokens_max: ", "16777216", "at most"});
  worker("listen: \"127.0.0.1:70000\"", {"listen: port 70000", "65535"});
  worker("listen: \"host.invalid:7\"", {"listen: host.invalid:7"});
  worker("model_dir: \"\"", {"model_dir"});
  worker("model_dir: \"/nowhere\"", {"/nowhere/config.json"});
  worker("kernels: 77", {"kernels"});
  const auto prefill = [](const std::string& extra, const std::vector<std::string>& said) {
    Refuses("tandem-prefill", ConfigOf("tandem-prefill", {.extra = extra}), said);
  };
  prefill("chunk_tokens: 0", {"chunk_tokens: 0"});
  prefill("kv_channel_kind: 9", {"kv_channel_kind"});
  const auto router = [](const std::string& extra, const std::vector<std::string>& said) {
    Refuses("tandem-router", ConfigOf("tandem-router", {.extra = extra}), said);
  };
  router("decode_workers: \"x\"", {"decode_workers: \"x\""});
  router("choices_max: 0", {"choices_max: 0"});
  Refuses("tandem-router", "listen: \"127.0.0.1:0\" model_dir: \"/x\"", {"prefill_workers"});
}

// What fits its range but no machine.
TEST(HostileStartTest, MoreMemoryThanThereIsIsRefused) {
  Refuses("tandem-decode", ConfigOf("tandem-decode", {.extra = "pages: 16777216"}),
          {"KV pool", "bytes"});
  Refuses("tandem-decode", ConfigOf("tandem-decode", {.extra = "slots: 65536 pages: 4194304"}),
          {"KV pool", "bytes"});
  Refuses("tandem-prefill", ConfigOf("tandem-prefill", {.extra = "staging_pages: 16777216"}),
          {"KV pool", "bytes"});
}

TEST(HostileStartTest, APortInUseIsNamed) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(fd, 1), 0);
  ASSERT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const std::string taken = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
  for (const std::string& program : Programs()) {
    Refuses(program, ConfigOf(program, {.common = absl::StrCat("listen: \"", taken, "\"")}),
            {"listen: " + taken});
    Refuses(program,
            ConfigOf(program, {.common = absl::StrCat("listen: \"127.0.0.1:0\" metrics_listen: \"",
                                                      taken, "\"")}),
            {"metrics_listen", taken});
  }
  close(fd);
}

// tiny-v4 with one file changed by `spoil`.
struct Fault {
  std::string file;
  std::function<void(std::string&)> spoil;
  std::vector<std::string> said;
};

void RefusesModel(const std::string& program, const Fault& fault) {
  const ScratchFolder folder;
  for (const auto& entry : std::filesystem::directory_iterator(kTiny)) {
    const std::string name = entry.path().filename().string();
    if (name != fault.file) std::filesystem::create_symlink(entry.path(), folder / name);
  }
  std::string bytes = ReadAll(absl::StrCat(kTiny, "/", fault.file));
  fault.spoil(bytes);
  if (bytes != "absent") WriteAll(folder / fault.file, bytes);
  Refuses(program, ConfigOf(program, {.model = folder.path()}), fault.said);
}

std::function<void(std::string&)> Replace(const std::string& from, const std::string& to) {
  return [=](std::string& bytes) {
    CHECK(bytes.find(from) != std::string::npos);
    bytes.replace(bytes.find(from), from.size(), to);
  };
}

void Absent(std::string& bytes) {
  bytes = "absent";
}

const std::string& Deep() {
  static const auto* const kDeep =
      new std::string(std::string(1'000'000, '[') + std::string(1'000'000, ']'));
  return *kDeep;
}

TEST(HostileStartTest, AModelConfigThatIsAbsurdIsNamed) {
  const auto number = [](const std::string& field, const std::string& value) {
    return Fault{.file = "config.json",
                 .spoil =
                     [=](std::string& bytes) {
                       const size_t at = bytes.find(absl::StrCat("\"", field, "\": "));
                       CHECK(at != std::string::npos);
                       const size_t from = at + field.size() + 4;
                       bytes.replace(from, bytes.find_first_of(",\n", from) - from, value);
                     },
                 .said = {"config.json", field, value}};
  };
  std::vector<Fault> faults = {
      {.file = "config.json", .spoil = Absent, .said = {"config.json"}},
      {.file = "config.json", .spoil = [](std::string& b) { b.clear(); }, .said = {"config.json"}},
      {.file = "config.json", .spoil = [](std::string& b) { b = Deep(); }, .said = {"config.json"}},
      {.file = "config.json",
       .spoil = [](std::string& b) { b.resize(b.size() / 2); },
       .said = {"config.json", "JSON"}},
      {.file = "config.json",
       .spoil = Replace("{", "{\"hidden_act\": " + Deep() + ","),
       .said = {"config.json"}},
      number("vocab_size", "-1"),
      number("vocab_size", "1000.0"),
      number("hidden_size", "1000000000000"),
      number("num_hidden_layers", "0"),
      number("num_hidden_layers", "999999"),
      number("num_experts_per_tok", "0"),
      number("o_groups", "\"two\""),
      number("head_dim", "511"),
      number("max_position_embeddings", "0"),
      number("rms_norm_eps", "-1"),
      number("rope_theta", "null"),
      number("swiglu_limit", "[1]"),
  };
  for (const Fault& fault : faults) {
    RefusesModel("tandem-decode", fault);
    RefusesModel("tandem-router", fault);
  }
}

// One that is not there is no fault: the checkpoint is then served by token ids (golden_test).
TEST(HostileStartTest, ATokenizerThatIsBrokenIsNamed) {
  const std::string file = "tokenizer.json";
  for (const Fault& fault : std::vector<Fault>{
           {file, [](std::string& b) { b.clear(); }, {"tokenizer.json"}},
           {file, [](std::string& b) { b.resize(b.size() / 2); }, {"tokenizer.json"}},
           {file, [](std::string& b) { b = Deep(); }, {"tokenizer.json"}},
           {file, Replace("{", "{\"truncation\": " + Deep() + ","), {"tokenizer.json"}},
           {file, Replace("{", "{\"bogus\": 1,"), {"tokenizer.json", "bogus"}},
           {file,
            Replace("\"BPE\"", "\"WordPiece\""),
            {"tokenizer.json", "model.type", "WordPiece"}},
           {file, Replace("\"Regex\": \"", "\"Regex\": \"((((("), {"tokenizer.json"}},
           {file, Replace("\"id\": 0", "\"id\": -7"), {"tokenizer.json", "id", "-7"}},
           {file, Replace("\"id\": 0", "\"id\": 4000000000"), {"tokenizer.json", "4000000000"}},
       }) {
    RefusesModel("tandem-router", fault);
  }
}

// The entry of a tensor in a shard's header, changed in place: the header keeps its length.
std::function<void(std::string&)> Entry(const std::string& tensor, const std::string& from,
                                        const std::string& to) {
  return [=](std::string& bytes) {
    CHECK_EQ(from.size(), to.size());
    const size_t at = bytes.find(from, bytes.find(absl::StrCat("\"", tensor, "\":")));
    CHECK(at != std::string::npos);
    bytes.replace(at, from.size(), to);
  };
}

std::function<void(std::string&)> Byte(size_t at, char value) {
  return [=](std::string& bytes) { bytes.at(at) = value; };
}

void DeepHeader(std::string& bytes) {
  bytes = Safetensors("{\"x\": {\"dtype\": \"I8\", \"shape\": " + Deep() + "}}", 0);
}

TEST(HostileStartTest, AShardThatIsBrokenIsNamed) {
  const std::string index = "model.safetensors.index.json";
  const std::string norm = "norm.weight";
  for (const Fault& fault : std::vector<Fault>{
           {kShard, Absent, {kShard}},
           {kShard, [](std::string& b) { b.clear(); }, {kShard, "not empty"}},
           {kShard, [](std::string& b) { b.resize(7); }, {kShard, "8 bytes"}},
           {kShard, [](std::string& b) { b.resize(20'000); }, {kShard, "header length", "42080"}},
           {kShard, [](std::string& b) { b.resize(b.size() - 1); }, {kShard, "data"}},
           {kShard, [](std::string& b) { b.push_back('x'); }, {kShard, "tile the data"}},
           {kShard, Byte(7, '\x7f'), {kShard, "header length must be at most"}},
           {kShard, Byte(0, '\x61'), {kShard, "header"}},
           {kShard, Byte(8, '['), {kShard, "header"}},
           {kShard, DeepHeader, {kShard, "header"}},
           {kShard, Entry(norm, norm, "norn.weight"), {"norn.weight"}},
           {kShard, Entry(norm, "BF16", "BF61"), {kShard, norm, "dtype"}},
           {kShard, Entry(norm, "[256]", "[257]"), {kShard, norm, "shape"}},
           {kShard, Entry(norm, "[256]", "[1e2]"), {kShard, norm, "shape"}},
           {kShard, Entry("embed.weight", "[1920,", "[2019,"), {kShard, "embed.weight", "shape"}},
           {kShard, Entry("head.weight", "[983040", "[983041"), {kShard, "head.weight"}},
           {index, [](std::string& b) { b.resize(b.size() / 2); }, {index}},
           {index, [](std::string& b) { b = "{\"weight_map\": " + Deep() + "}"; }, {index}},
           {index, Replace(kShard, "../../../etc/x.safetensors"), {index, "this folder"}},
           {index, Replace(kShard, "model-00002-of-00002.safetensors"), {index}},
           {index, Replace("\"norm.weight\"", "\"enorm.weight\""), {index, "norm.weight"}},
       }) {
    RefusesModel("tandem-decode", fault);
  }
}

// Sets the first scale of the shard, by its header, to NaN.
void NanScale(std::string& bytes) {
  const size_t entry = bytes.find("F8_E8M0");
  const size_t offsets = bytes.find("data_offsets", entry);
  const size_t digits = bytes.find_first_of("0123456789", offsets);
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof(header));
  bytes.at(8 + header + std::stoull(bytes.substr(digits, 20))) = '\xff';
}

TEST(HostileStartTest, WeightsThatDoNotFitTheModelAreNamed) {
  RefusesModel("tandem-prefill", {kShard, NanScale, {".scale", "NaN"}});
  // The config asks for another model than the shards hold.
  RefusesModel("tandem-prefill", {"config.json",
                                  Replace("\"vocab_size\": 1920", "\"vocab_size\": 1921"),
                                  {"embed.weight", "1921", "1920"}});
  RefusesModel("tandem-prefill", {"config.json",
                                  Replace("\"num_hash_layers\": 1", "\"num_hash_layers\": 2"),
                                  {"layers.1.", "missing"}});
  RefusesModel("tandem-prefill", {"config.json",
                                  Replace("\"num_hidden_layers\": 6", "\"num_hidden_layers\": 5"),
                                  {"layers.5.", "no place"}});
}

}  // namespace
}  // namespace tandem
