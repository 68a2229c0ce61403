// SPDX-License-Identifier: Apache-2.0
// What several tests here share: golden files, the two vocabularies, Status matchers. Any failure
// to read aborts the test.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "absl/time/time.h"
#include "services/runtime/text/tokenizer.h"

namespace tandem {

// tests/golden/text/`name`.
const nlohmann::ordered_json& Golden(const std::string& name);

// deploy/models/tiny-v4/tokenizer.json, loaded once.
const Tokenizer& TinyTokenizer();

// DeepSeek-V3's, which the ctest fixture text_vocabulary fetches; loaded once.
const Tokenizer& DeepSeekTokenizer();

// Processor time of this process so far: a limit on it holds on a busy machine too.
absl::Duration CpuTime();

std::string ReadFileOrDie(const std::string& path);

}  // namespace tandem
