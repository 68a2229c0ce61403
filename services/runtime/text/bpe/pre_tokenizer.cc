// SPDX-License-Identifier: Apache-2.0
#define PCRE2_CODE_UNIT_WIDTH 8
#include "services/runtime/text/bpe/pre_tokenizer.h"

#include <pcre2.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/text/bpe/regex_dialect.h"

namespace tandem {
namespace {

constexpr uint32_t kOptions = PCRE2_UTF | PCRE2_UCP;

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
std::string ErrorText(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

using MatchData = std::unique_ptr<pcre2_match_data, FreeMatchData>;

}  // namespace

class PreTokenizer::Pattern final {
 public:
  static absl::StatusOr<Pattern> Create(absl::string_view source) {
    ASSIGN_OR_RETURN(const std::string pattern, PcrePattern(source));
    int error = 0;
    PCRE2_SIZE offset = 0;
    Pattern result;
    result.code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                     kOptions, &error, &offset, nullptr));
    if (result.code_ == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("regular expression ", source, ": ", ErrorText(error)));
    }
    uint32_t matches_empty = 0;
    pcre2_pattern_info(result.code_.get(), PCRE2_INFO_MATCHEMPTY, &matches_empty);
    if (matches_empty != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("regular expression ", source, ": may match the empty string"));
    }
    // Where there is no JIT, pcre2_match interprets: the same result, only later.
    pcre2_jit_compile(result.code_.get(), PCRE2_JIT_COMPLETE);
    return result;
  }

  absl::Status Split(absl::string_view piece, const MatchData& data,
                     std::vector<absl::string_view>* pieces) const {
    size_t done = 0;
    while (done < piece.size()) {
      int rc = Match(piece, done, PCRE2_NO_UTF_CHECK, data);
      // The interpreter keeps its backtracking on the heap.
      if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
        rc = Match(piece, done, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data);
      }
      if (rc == PCRE2_ERROR_NOMATCH) break;
      if (rc < 0) return absl::ResourceExhaustedError(absl::StrCat("splitting: ", ErrorText(rc)));
      const PCRE2_SIZE* match = pcre2_get_ovector_pointer(data.get());
      if (match[0] > done) pieces->push_back(piece.substr(done, match[0] - done));
      pieces->push_back(piece.substr(match[0], match[1] - match[0]));
      done = match[1];
    }
    if (done < piece.size()) pieces->push_back(piece.substr(done));
    return absl::OkStatus();
  }

 private:
  int Match(absl::string_view piece, size_t from, uint32_t options, const MatchData& data) const {
    return pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(piece.data()), piece.size(), from,
                       options, data.get(), nullptr);
  }

  std::unique_ptr<pcre2_code, FreeCode> code_;
};

PreTokenizer::PreTokenizer(std::vector<Pattern> patterns) : patterns_(std::move(patterns)) {}
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;
PreTokenizer::~PreTokenizer() = default;

absl::StatusOr<PreTokenizer> PreTokenizer::Create(absl::Span<const std::string> patterns) {
  std::vector<Pattern> compiled;
  for (const std::string& source : patterns) {
    ASSIGN_OR_RETURN(Pattern pattern, Pattern::Create(source));
    compiled.push_back(std::move(pattern));
  }
  return PreTokenizer(std::move(compiled));
}

absl::StatusOr<std::vector<absl::string_view>> PreTokenizer::Split(absl::string_view text) const {
  std::vector<absl::string_view> pieces;
  if (text.empty()) return pieces;
  const MatchData data(pcre2_match_data_create(/*ovecsize=*/1, nullptr));
  pieces.push_back(text);
  for (const Pattern& pattern : patterns_) {
    std::vector<absl::string_view> finer;
    finer.reserve(pieces.size());
    for (const absl::string_view piece : pieces) {
      RETURN_IF_ERROR(pattern.Split(piece, data, &finer));
    }
    pieces = std::move(finer);
  }
  return pieces;
}

}  // namespace tandem
