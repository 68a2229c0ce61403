// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/text/bpe/utf8.h"

#include <cstddef>
#include <cstdint>
#include <utility>

namespace tandem {
namespace {

constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";

enum class Form { kComplete, kCut, kBroken };

struct Sequence {
  Form form;
  size_t size;  // Bytes of the character, of the part that is there, or of the maximal subpart.
};

// The sequence at the start of `text`, which is not empty (Unicode 15 table 3-7).
Sequence NextSequence(absl::string_view text) {
  const auto lead = static_cast<uint8_t>(text[0]);
  if (lead < 0x80) return {Form::kComplete, 1};
  if (lead < 0xC2 || lead > 0xF4) return {Form::kBroken, 1};
  const size_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  for (size_t i = 1; i < size; ++i) {
    if (i == text.size()) return {Form::kCut, i};
    const auto byte = static_cast<uint8_t>(text[i]);
    uint8_t low = 0x80;
    uint8_t high = 0xBF;
    if (i == 1) {  // Keeps out overlong forms, surrogates and what is past U+10FFFF.
      if (lead == 0xE0) low = 0xA0;
      if (lead == 0xED) high = 0x9F;
      if (lead == 0xF0) low = 0x90;
      if (lead == 0xF4) high = 0x8F;
    }
    if (byte < low || byte > high) return {Form::kBroken, i};
  }
  return {Form::kComplete, size};
}

// Bytes of the valid text at the start of `text`.
size_t ValidPrefix(absl::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    if (static_cast<uint8_t>(text[i]) < 0x80) {
      ++i;
      continue;
    }
    const Sequence sequence = NextSequence(text.substr(i));
    if (sequence.form != Form::kComplete) break;
    i += sequence.size;
  }
  return i;
}

}  // namespace

bool IsValidUtf8(absl::string_view text) {
  return ValidPrefix(text) == text.size();
}

std::string SanitizeUtf8(absl::string_view bytes) {
  std::string out;
  Utf8Sanitizer sanitizer;
  sanitizer.Append(bytes, &out);
  sanitizer.Finish(&out);
  return out;
}

void Utf8Sanitizer::Append(absl::string_view bytes, std::string* out) {
  std::string joined;
  absl::string_view rest = bytes;
  if (!waiting_.empty()) {
    joined = std::exchange(waiting_, "");
    joined.append(bytes.data(), bytes.size());
    rest = joined;
  }
  while (!rest.empty()) {
    const size_t valid = ValidPrefix(rest);
    out->append(rest.data(), valid);
    rest.remove_prefix(valid);
    if (rest.empty()) return;
    const Sequence sequence = NextSequence(rest);
    if (sequence.form == Form::kCut) {
      waiting_.assign(rest.data(), rest.size());
      return;
    }
    out->append(kReplacement.data(), kReplacement.size());
    rest.remove_prefix(sequence.size);
  }
}

void Utf8Sanitizer::Finish(std::string* out) {
  if (!waiting_.empty()) out->append(kReplacement.data(), kReplacement.size());
  waiting_.clear();
}

}  // namespace tandem
