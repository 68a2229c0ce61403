// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/loader/store/checkpoint.h"

#include <utility>

#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "services/runtime/base/json.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/model/config/field_reader.h"

namespace tandem {
namespace {

using Json = nlohmann::json;
using WeightMap = absl::btree_map<std::string, std::string>;  // tensor -> shard

constexpr absl::string_view kIndex = "model.safetensors.index.json";
constexpr size_t kMaxShards = 10'000;

absl::StatusOr<WeightMap> ParseIndex(const std::string& text) {
  const Json json = ParseFileJson(text);
  const Json weight_map = json.is_object() ? json.value("weight_map", Json()) : Json();
  if (!weight_map.is_object() || weight_map.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(kIndex, ": must be a JSON object with a weight_map that is not empty"));
  }
  WeightMap out;
  for (const auto& [tensor, shard] : weight_map.items()) {
    const std::string* file = shard.get_ptr<const Json::string_t*>();
    // A plain name: an index may not reach out of its folder.
    if (file == nullptr || !absl::EndsWith(*file, ".safetensors") ||
        file->find_first_of(absl::string_view("/\\\0", 3).data(), 0, 3) != std::string::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat(kIndex, ": tensor ", absl::CHexEscape(tensor),
                       ": must name a .safetensors file of this folder"));
    }
    out.emplace(tensor, *file);
  }
  return out;
}

}  // namespace

absl::StatusOr<Checkpoint> Checkpoint::Open(const std::string& folder) {
  Checkpoint out;
  const absl::StatusOr<std::string> text = ReadTextFile(absl::StrCat(folder, "/", kIndex));
  if (absl::IsNotFound(text.status())) {
    RETURN_IF_ERROR(out.AddShard(folder + "/model.safetensors"));
    return out;
  }
  RETURN_IF_ERROR(text.status());
  ASSIGN_OR_RETURN(const WeightMap weight_map, ParseIndex(*text));
  absl::btree_set<std::string> files;
  for (const auto& [tensor, file] : weight_map) files.insert(file);
  if (files.size() > kMaxShards) {
    return absl::InvalidArgumentError(
        absl::StrCat(kIndex, ": must name at most ", kMaxShards, " files, got ", files.size()));
  }
  for (const std::string& file : files) {
    RETURN_IF_ERROR(out.AddShard(folder + "/" + file));
    for (const auto& [tensor, bytes] : out.shards_.back().tensors()) {
      const auto said = weight_map.find(tensor);
      if (said != weight_map.end() && said->second == file) continue;
      return absl::InvalidArgumentError(absl::StrCat(kIndex, ": does not say that tensor ",
                                                     absl::CHexEscape(tensor), " is in ",
                                                     absl::CHexEscape(file)));
    }
  }
  for (const auto& [tensor, file] : weight_map) {
    if (out.tensors_.contains(tensor)) continue;
    return absl::InvalidArgumentError(absl::StrCat(kIndex, ": tensor ", absl::CHexEscape(tensor),
                                                   " is not in ", absl::CHexEscape(file)));
  }
  return out;
}

absl::Status Checkpoint::AddShard(const std::string& path) {
  ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(path));
  for (const auto& [name, tensor] : file.tensors()) {
    if (!tensors_.emplace(name, tensor).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": tensor ", absl::CHexEscape(name), " is in another shard too"));
    }
    bytes_ += tensor.bytes.size();
  }
  shards_.push_back(std::move(file));
  return absl::OkStatus();
}

absl::StatusOr<const TensorBytes*> Checkpoint::Find(const TensorAsk& ask) {
  const auto it = tensors_.find(ask.name);
  if (it == tensors_.end()) return absl::NotFoundError("is missing");
  return &it->second;
}

}  // namespace tandem
