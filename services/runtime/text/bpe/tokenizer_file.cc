// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/text/bpe/tokenizer_file.h"

#include <initializer_list>
#include <nlohmann/json.hpp>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/runtime/base/json.h"
#include "services/runtime/base/status_macros.h"

namespace tandem {
namespace {

using Json = nlohmann::json;

// A value of the file with the way to it, for messages.
struct Field {
  const Json* value;
  std::string path;
};

constexpr size_t kShownBytes = 80;

absl::Status Unsupported(const Field& field, absl::string_view supported) {
  std::string shown =
      field.value->dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
  if (shown.size() > kShownBytes) shown = shown.substr(0, kShownBytes) + "…";
  return absl::InvalidArgumentError(
      absl::StrCat("tokenizer.json: ", field.path, " is ", shown, "; supported is ", supported));
}

const Json& NullJson() {
  static const Json null;
  return null;
}

// The member `name`; a null where there is none.
Field Member(const Field& object, const std::string& name) {
  const auto found = object.value->find(name);
  return {.value = found == object.value->end() ? &NullJson() : &*found,
          .path = object.path.empty() ? name : absl::StrCat(object.path, ".", name)};
}

absl::Status CheckObject(const Field& field, std::initializer_list<absl::string_view> known) {
  if (!field.value->is_object()) return Unsupported(field, "an object");
  for (const auto& [name, value] : field.value->items()) {
    bool is_known = false;
    for (const absl::string_view k : known) is_known = is_known || k == name;
    if (!is_known) return Unsupported(Member(field, name), "a file without this field");
  }
  return absl::OkStatus();
}

absl::Status CheckType(const Field& object, absl::string_view type) {
  const Field field = Member(object, "type");
  if (*field.value != std::string(type)) return Unsupported(field, absl::StrCat("\"", type, "\""));
  return absl::OkStatus();
}

// Null counts as false: older files leave fields out.
absl::Status CheckFalse(const Field& object, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const Field field = Member(object, name);
    if (!field.value->is_null() && *field.value != false) return Unsupported(field, "false");
  }
  return absl::OkStatus();
}

absl::Status CheckAbsent(const Field& object, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const Field field = Member(object, name);
    if (!field.value->is_null() && *field.value != "") return Unsupported(field, "null");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ParseSplit(const Field& split) {
  RETURN_IF_ERROR(CheckObject(split, {"type", "pattern", "behavior", "invert"}));
  RETURN_IF_ERROR(CheckType(split, "Split"));
  RETURN_IF_ERROR(CheckFalse(split, {"invert"}));
  const Field behavior = Member(split, "behavior");
  if (*behavior.value != "Isolated") return Unsupported(behavior, "\"Isolated\"");
  const Field pattern = Member(split, "pattern");
  RETURN_IF_ERROR(CheckObject(pattern, {"Regex"}));
  const Field regex = Member(pattern, "Regex");
  if (!regex.value->is_string()) return Unsupported(regex, "a string");
  return regex.value->get<std::string>();
}

absl::StatusOr<std::vector<std::string>> ParsePreTokenizer(const Field& sequence) {
  RETURN_IF_ERROR(CheckObject(sequence, {"type", "pretokenizers"}));
  RETURN_IF_ERROR(CheckType(sequence, "Sequence"));
  const Field list = Member(sequence, "pretokenizers");
  if (!list.value->is_array() || list.value->empty()) return Unsupported(list, "a non-empty list");
  std::vector<std::string> patterns;
  for (size_t i = 0; i < list.value->size(); ++i) {
    const Field step{.value = &(*list.value)[i], .path = absl::StrCat(list.path, "[", i, "]")};
    if (i + 1 < list.value->size()) {
      ASSIGN_OR_RETURN(std::string pattern, ParseSplit(step));
      patterns.push_back(std::move(pattern));
      continue;
    }
    RETURN_IF_ERROR(CheckObject(step, {"type", "add_prefix_space", "trim_offsets", "use_regex"}));
    RETURN_IF_ERROR(CheckType(step, "ByteLevel"));
    RETURN_IF_ERROR(CheckFalse(step, {"add_prefix_space"}));
    const Field use_regex = Member(step, "use_regex");  // True where absent.
    if (*use_regex.value != false) return Unsupported(use_regex, "false");
  }
  return patterns;
}

absl::StatusOr<std::pair<std::string, std::string>> ParseMerge(const Field& merge) {
  if (merge.value->is_string()) {
    const std::string text = merge.value->get<std::string>();
    const size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
      return std::make_pair(text.substr(0, space), text.substr(space + 1));
    }
  } else if (merge.value->is_array() && merge.value->size() == 2 && (*merge.value)[0].is_string() &&
             (*merge.value)[1].is_string()) {
    return std::make_pair((*merge.value)[0].get<std::string>(),
                          (*merge.value)[1].get<std::string>());
  }
  return Unsupported(merge, "\"left right\" or [\"left\", \"right\"]");
}

absl::StatusOr<int32_t> ParseId(const Field& id) {
  if (!id.value->is_number_unsigned() || id.value->get<uint64_t>() >= uint64_t{kMaxVocabulary}) {
    return Unsupported(id, absl::StrCat("an integer of [0, ", kMaxVocabulary, ")"));
  }
  return static_cast<int32_t>(id.value->get<uint64_t>());
}

absl::Status ParseModel(const Field& model, TokenizerFile* file) {
  RETURN_IF_ERROR(CheckObject(
      model, {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
              "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"}));
  RETURN_IF_ERROR(CheckType(model, "BPE"));
  RETURN_IF_ERROR(CheckAbsent(
      model, {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"}));
  RETURN_IF_ERROR(CheckFalse(model, {"fuse_unk", "byte_fallback", "ignore_merges"}));
  const Field vocab = Member(model, "vocab");
  if (!vocab.value->is_object()) return Unsupported(vocab, "an object of token to id");
  absl::flat_hash_set<int32_t> ids;
  for (const auto& [token, value] : vocab.value->items()) {
    const Field field{.value = &value, .path = absl::StrCat(vocab.path, "[\"", token, "\"]")};
    ASSIGN_OR_RETURN(const int32_t id, ParseId(field));
    if (!ids.insert(id).second) return Unsupported(field, "an id of its own for each token");
    file->vocabulary.emplace_back(token, id);
  }
  const Field merges = Member(model, "merges");
  if (!merges.value->is_array()) return Unsupported(merges, "a list");
  for (size_t i = 0; i < merges.value->size(); ++i) {
    const Field field{.value = &(*merges.value)[i], .path = absl::StrCat(merges.path, "[", i, "]")};
    ASSIGN_OR_RETURN(auto merge, ParseMerge(field));
    file->merges.push_back(std::move(merge));
  }
  return absl::OkStatus();
}

absl::StatusOr<AddedToken> ParseAddedToken(const Field& token) {
  RETURN_IF_ERROR(CheckObject(
      token, {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}));
  RETURN_IF_ERROR(CheckFalse(token, {"single_word", "lstrip", "rstrip"}));
  ASSIGN_OR_RETURN(const int32_t id, ParseId(Member(token, "id")));
  const Field content = Member(token, "content");
  if (!content.value->is_string() || content.value->get_ref<const std::string&>().empty()) {
    return Unsupported(content, "a non-empty string");
  }
  return AddedToken{.id = id,
                    .content = content.value->get<std::string>(),
                    .special = *Member(token, "special").value == true,
                    .normalized = *Member(token, "normalized").value == true};
}

absl::Status ParseAddedTokens(const Field& list, TokenizerFile* file) {
  if (list.value->is_null()) return absl::OkStatus();
  if (!list.value->is_array()) return Unsupported(list, "a list");
  absl::flat_hash_map<std::string, int32_t> id_of;
  absl::flat_hash_map<int32_t, std::string> content_of;
  for (const auto& [content, id] : file->vocabulary) {
    id_of.emplace(content, id);
    content_of.emplace(id, content);
  }
  absl::flat_hash_set<int32_t> seen;
  for (size_t i = 0; i < list.value->size(); ++i) {
    const Field field{.value = &(*list.value)[i], .path = absl::StrCat(list.path, "[", i, "]")};
    ASSIGN_OR_RETURN(AddedToken token, ParseAddedToken(field));
    // An added token may stand in the vocabulary as well, under the same id.
    if (!seen.insert(token.id).second ||
        id_of.emplace(token.content, token.id).first->second != token.id ||
        content_of.emplace(token.id, token.content).first->second != token.content) {
      return Unsupported(field, "one content for each id and one id for each content");
    }
    file->added_tokens.push_back(std::move(token));
  }
  return absl::OkStatus();
}

absl::Status CheckByteLevel(const Field& step) {
  if (step.value->is_null()) return absl::OkStatus();
  RETURN_IF_ERROR(CheckObject(step, {"type", "add_prefix_space", "trim_offsets", "use_regex"}));
  return CheckType(step, "ByteLevel");
}

absl::Status CheckNormalizer(const Field& normalizer) {
  if (normalizer.value->is_null()) return absl::OkStatus();
  RETURN_IF_ERROR(CheckObject(normalizer, {"type", "normalizers"}));
  RETURN_IF_ERROR(CheckType(normalizer, "Sequence"));
  const Field list = Member(normalizer, "normalizers");
  if (!list.value->is_array() || !list.value->empty()) return Unsupported(list, "an empty list");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerFile> ParseTokenizerFile(absl::string_view json_text) {
  const Json json = ParseFileJson(json_text);
  if (json.is_discarded())
    return absl::InvalidArgumentError("tokenizer.json: not valid JSON, or too deep");
  const Field root{.value = &json, .path = ""};
  RETURN_IF_ERROR(
      CheckObject(root, {"version", "truncation", "padding", "added_tokens", "normalizer",
                         "pre_tokenizer", "post_processor", "decoder", "model"}));
  RETURN_IF_ERROR(CheckAbsent(root, {"truncation", "padding"}));
  RETURN_IF_ERROR(CheckNormalizer(Member(root, "normalizer")));
  RETURN_IF_ERROR(CheckByteLevel(Member(root, "post_processor")));
  RETURN_IF_ERROR(CheckByteLevel(Member(root, "decoder")));
  TokenizerFile file;
  ASSIGN_OR_RETURN(file.split_patterns, ParsePreTokenizer(Member(root, "pre_tokenizer")));
  RETURN_IF_ERROR(ParseModel(Member(root, "model"), &file));
  RETURN_IF_ERROR(ParseAddedTokens(Member(root, "added_tokens"), &file));
  return file;
}

}  // namespace tandem
