// SPDX-License-Identifier: Apache-2.0
// Cuts text into the pieces that byte-pair encoding works on: a chain of "Split, Isolated" regular
// expressions.
//
// Each pattern cuts every piece of the one before it; its matches and the gaps between them become
// pieces. A pattern sees a piece as a text of its own, so that (?!\S) holds at a piece's end.
// Thread-safe after Create. Source: specification 6.1.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tandem {

class PreTokenizer final {
 public:
  // INVALID_ARGUMENT names a pattern that does not compile, may match nothing, or that PCRE2 would
  // read otherwise.
  static absl::StatusOr<PreTokenizer> Create(absl::Span<const std::string> patterns);

  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;
  ~PreTokenizer();

  // The pieces of `text`, in order, none empty; views into `text`, which must be valid UTF-8
  // (undefined otherwise).
  absl::StatusOr<std::vector<absl::string_view>> Split(absl::string_view text) const;

 private:
  class Pattern;
  explicit PreTokenizer(std::vector<Pattern> patterns);

  std::vector<Pattern> patterns_;
};

}  // namespace tandem
