// SPDX-License-Identifier: Apache-2.0
// Speed of Tokenizer::Encode on a text file: whole, and line by line (short prompts).
// compare_tokenizers.mjs runs it beside Hugging Face's library.   Usage: tokenizer_bench CORPUS.txt
// TOKENIZER.json [--benchmark_…]
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "benchmark/benchmark.h"
#include "services/runtime/base/check.h"
#include "services/runtime/text/tokenizer.h"

namespace tandem {
namespace {

void Encode(benchmark::State& state, const Tokenizer& tokenizer,
            const std::vector<absl::string_view>& texts) {
  size_t tokens = 0;
  size_t bytes = 0;
  for (const absl::string_view text : texts) bytes += text.size();
  for (auto _ : state) {
    tokens = 0;
    for (const absl::string_view text : texts) {
      const auto ids = tokenizer.Encode(text);
      CHECK(ids.ok());
      tokens += ids->size();
    }
  }
  state.SetBytesProcessed(static_cast<int64_t>(bytes * state.iterations()));
  state.counters["tokens"] = static_cast<double>(tokens);
}

int Main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (argc != 3) {
    std::cerr << "usage: tokenizer_bench CORPUS.txt TOKENIZER.json\n";
    return 2;
  }
  std::ifstream stream(argv[1], std::ios::binary);
  std::ostringstream buffer;
  buffer << stream.rdbuf();
  const std::string corpus = buffer.str();
  const auto tokenizer = Tokenizer::FromFile(argv[2]);
  if (!tokenizer.ok() || corpus.empty()) {
    std::cerr << argv[1] << ", " << argv[2] << ": " << tokenizer.status() << "\n";
    return 1;
  }
  const std::vector<absl::string_view> whole = {corpus};
  const std::vector<absl::string_view> lines = absl::StrSplit(corpus, '\n', absl::SkipEmpty());
  const auto run = [&tokenizer](const std::vector<absl::string_view>& texts) {
    return [&tokenizer, &texts](benchmark::State& state) { Encode(state, **tokenizer, texts); };
  };
  benchmark::RegisterBenchmark("whole", run(whole))->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("lines", run(lines))->Unit(benchmark::kMillisecond);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  return tandem::Main(argc, argv);
}
