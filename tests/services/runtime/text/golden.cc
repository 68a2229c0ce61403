// SPDX-License-Identifier: Apache-2.0
#include "tests/services/runtime/text/golden.h"

#include <ctime>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>

#include "services/runtime/base/check.h"

namespace tandem {
namespace {

std::unique_ptr<Tokenizer> LoadOrDie(const std::string& path) {
  auto tokenizer = Tokenizer::FromFile(path);
  if (!tokenizer.ok()) CheckFailed(__FILE__, __LINE__, tokenizer.status().ToString());
  return std::move(tokenizer).value();
}

}  // namespace

std::string ReadFileOrDie(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  if (!stream || !(text << stream.rdbuf())) CheckFailed(__FILE__, __LINE__, path);
  return text.str();
}

absl::Duration CpuTime() {
  return absl::Seconds(static_cast<double>(std::clock()) / CLOCKS_PER_SEC);
}

const nlohmann::ordered_json& Golden(const std::string& name) {
  static std::map<std::string, nlohmann::ordered_json> files;
  nlohmann::ordered_json& json = files[name];
  if (json.is_null()) {
    json = nlohmann::ordered_json::parse(
        ReadFileOrDie(TANDEM_SOURCE_DIR "/tests/golden/text/" + name), nullptr, false);
    CHECK(!json.is_discarded());
  }
  return json;
}

const Tokenizer& TinyTokenizer() {
  static const std::unique_ptr<Tokenizer> tokenizer =
      LoadOrDie(TANDEM_SOURCE_DIR "/deploy/models/tiny-v4/tokenizer.json");
  return *tokenizer;
}

const Tokenizer& DeepSeekTokenizer() {
  static const std::unique_ptr<Tokenizer> tokenizer = LoadOrDie(TANDEM_VOCABULARY);
  return *tokenizer;
}

}  // namespace tandem
