// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/text/tokenizer.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/text/bpe/byte_alphabet.h"
#include "services/runtime/text/bpe/utf8.h"

namespace tandem {
namespace {

absl::Status CheckRanges(absl::string_view text, absl::Span<const ByteRange> ranges) {
  size_t from = 0;
  for (const ByteRange& range : ranges) {
    if (range.begin < from || range.end < range.begin || range.end > text.size()) {
      return absl::InvalidArgumentError(absl::StrCat("plain range [", range.begin, ", ", range.end,
                                                     "): expected within [", from, ", ",
                                                     text.size(), ")"));
    }
    from = range.end;
  }
  return absl::OkStatus();
}

// The parts of `ranges` inside `window`, counted from the window's begin; none is empty.
std::vector<ByteRange> Clip(absl::Span<const ByteRange> ranges, ByteRange window) {
  std::vector<ByteRange> clipped;
  auto range = std::partition_point(ranges.begin(), ranges.end(),
                                    [&](const ByteRange& r) { return r.end <= window.begin; });
  for (; range != ranges.end() && range->begin < window.end; ++range) {
    if (range->begin == range->end) continue;
    clipped.push_back({std::max(range->begin, window.begin) - window.begin,
                       std::min(range->end, window.end) - window.begin});
  }
  return clipped;
}

absl::StatusOr<BpeSpec> MakeBpeSpec(const TokenizerFile& file,
                                    const std::vector<std::string>& id_to_bytes) {
  absl::flat_hash_map<absl::string_view, int32_t> ids;
  for (const auto& [token, id] : file.vocabulary) ids.emplace(token, id);
  BpeSpec spec{.id_to_bytes = id_to_bytes};
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = ids.find(AlphabetCharacter(static_cast<uint8_t>(byte)));
    if (found == ids.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tokenizer.json: model.vocab has no token for byte ", byte));
    }
    spec.byte_ids[byte] = found->second;
  }
  for (size_t rank = 0; rank < file.merges.size(); ++rank) {
    const auto& [left, right] = file.merges[rank];
    const auto left_id = ids.find(left);
    const auto right_id = ids.find(right);
    const auto result = ids.find(absl::StrCat(left, right));
    if (left_id == ids.end() || right_id == ids.end() || result == ids.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tokenizer.json: model.merges[", rank, "] (", left, " ", right,
                       ") has a part or a result that model.vocab lacks"));
    }
    spec.merges.push_back(
        {.left = left_id->second, .right = right_id->second, .result = result->second});
  }
  return spec;
}

}  // namespace

struct Tokenizer::Parts {
  PreTokenizer pre_tokenizer;
  BpeSpec spec;  // Views id_to_bytes; moving that vector keeps the view good.
  std::vector<std::string> id_to_bytes;
  std::vector<AddedToken> added;
};

Tokenizer::Tokenizer(Parts parts)
    : pre_tokenizer_(std::move(parts.pre_tokenizer)),
      id_to_bytes_(std::move(parts.id_to_bytes)),
      special_(id_to_bytes_.size()),
      bpe_(parts.spec) {
  std::vector<AddedToken> passes[2];
  for (AddedToken& token : parts.added) {
    special_[token.id] = token.special;
    bytes_to_id_.emplace(id_to_bytes_[token.id], token.id);
    passes[token.normalized ? 1 : 0].push_back(std::move(token));
  }
  for (size_t id = 0; id < id_to_bytes_.size(); ++id) {
    if (!id_to_bytes_[id].empty()) bytes_to_id_.emplace(id_to_bytes_[id], id);
  }
  for (const std::vector<AddedToken>& pass : passes) added_.emplace_back(pass);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromFile(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  if (!stream || !(text << stream.rdbuf())) {
    return absl::NotFoundError(absl::StrCat(path, ": can not be read"));
  }
  auto tokenizer = FromJson(text.str());
  if (!tokenizer.ok()) {
    return absl::Status(tokenizer.status().code(),
                        absl::StrCat(path, ": ", tokenizer.status().message()));
  }
  return tokenizer;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(absl::string_view json_text) {
  ASSIGN_OR_RETURN(TokenizerFile file, ParseTokenizerFile(json_text));
  ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, PreTokenizer::Create(file.split_patterns));
  int32_t greatest = -1;
  for (const auto& [token, id] : file.vocabulary) greatest = std::max(greatest, id);
  for (const AddedToken& token : file.added_tokens) greatest = std::max(greatest, token.id);
  std::vector<std::string> id_to_bytes(greatest + 1);
  for (const auto& [token, id] : file.vocabulary) id_to_bytes[id] = BytesOfToken(token);
  for (const AddedToken& token : file.added_tokens) {
    id_to_bytes[token.id] = BytesOfToken(token.content);
  }
  ASSIGN_OR_RETURN(BpeSpec spec, MakeBpeSpec(file, id_to_bytes));
  Parts parts{.pre_tokenizer = std::move(pre_tokenizer),
              .spec = std::move(spec),
              .id_to_bytes = std::move(id_to_bytes),
              .added = std::move(file.added_tokens)};
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(parts)));
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::Encode(absl::string_view text,
                                                       const EncodeOptions& options) const {
  std::vector<int32_t> ids;
  std::string sanitized;
  if (!IsValidUtf8(text)) {
    if (!options.plain.empty()) {
      return absl::InvalidArgumentError("text with plain ranges: expected valid UTF-8");
    }
    sanitized = SanitizeUtf8(text);
    text = sanitized;
  }
  RETURN_IF_ERROR(CheckRanges(text, options.plain));
  if (options.parse_added_tokens) {
    // Clipping to the whole text drops empty ranges.
    RETURN_IF_ERROR(EncodeWithAdded(text, /*pass=*/0, Clip(options.plain, {0, text.size()}), &ids));
  } else {
    RETURN_IF_ERROR(EncodePlain(text, &ids));
  }
  return ids;
}

absl::Status Tokenizer::EncodeWithAdded(absl::string_view text, size_t pass,
                                        std::vector<ByteRange> plain,
                                        std::vector<int32_t>* ids) const {
  if (pass == added_.size()) return EncodePlain(text, ids);
  const auto encode_gap = [&](ByteRange gap) {
    if (gap.begin == gap.end) return absl::OkStatus();
    return EncodeWithAdded(text.substr(gap.begin, gap.end - gap.begin), pass + 1, Clip(plain, gap),
                           ids);
  };
  size_t done = 0;
  for (const AddedTokenFinder::Match& match : added_[pass].Find(text, plain)) {
    RETURN_IF_ERROR(encode_gap({done, match.range.begin}));
    ids->push_back(match.id);
    done = match.range.end;
  }
  return encode_gap({done, text.size()});
}

absl::Status Tokenizer::EncodePlain(absl::string_view text, std::vector<int32_t>* ids) const {
  ASSIGN_OR_RETURN(const std::vector<absl::string_view> pieces, pre_tokenizer_.Split(text));
  for (const absl::string_view piece : pieces) bpe_.Encode(piece, ids);
  return absl::OkStatus();
}

std::string Tokenizer::Decode(absl::Span<const int32_t> ids, const DecodeOptions& options) const {
  std::string bytes;
  for (const int32_t id : ids) {
    if (options.skip_special && IsSpecial(id)) continue;
    const absl::string_view token = TokenBytes(id);
    bytes.append(token.data(), token.size());
  }
  return SanitizeUtf8(bytes);
}

absl::string_view Tokenizer::TokenBytes(int32_t id) const {
  if (id < 0 || id >= vocab_size()) return "";
  return id_to_bytes_[id];
}

std::optional<int32_t> Tokenizer::TokenId(absl::string_view bytes) const {
  const auto found = bytes_to_id_.find(bytes);
  if (found == bytes_to_id_.end()) return std::nullopt;
  return found->second;
}

bool Tokenizer::IsSpecial(int32_t id) const {
  return id >= 0 && id < vocab_size() && special_[id];
}

}  // namespace tandem
