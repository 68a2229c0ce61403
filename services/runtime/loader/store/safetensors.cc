// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/loader/store/safetensors.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "services/runtime/base/check.h"
#include "services/runtime/base/json.h"
#include "services/runtime/base/status_macros.h"

namespace tandem {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr size_t kMaxRank = 8;

struct DtypeRow {
  Dtype dtype;
  absl::string_view name;
  int64_t bytes;
};
constexpr DtypeRow kDtypes[] = {
    {Dtype::kF8E4M3, "F8_E4M3", 1}, {Dtype::kF8E8M0, "F8_E8M0", 1}, {Dtype::kI8, "I8", 1},
    {Dtype::kBf16, "BF16", 2},      {Dtype::kF32, "F32", 4},        {Dtype::kI64, "I64", 8},
};

const DtypeRow& RowOf(Dtype dtype) {
  for (const DtypeRow& row : kDtypes) {
    if (row.dtype == dtype) return row;
  }
  CheckFailed(__FILE__, __LINE__, "unknown dtype");
}

std::optional<Dtype> ParseDtype(const Json& value) {
  for (const DtypeRow& row : kDtypes) {
    if (value == row.name.data()) return row.dtype;
  }
  return std::nullopt;
}

// A list of `min` to `max` integers in [0, 2^63).
std::optional<std::vector<int64_t>> ParseInts(const Json& value, size_t min, size_t max) {
  if (!value.is_array() || value.size() < min || value.size() > max) return std::nullopt;
  std::vector<int64_t> out;
  for (const Json& entry : value) {
    if (!entry.is_number_unsigned() || entry.get<uint64_t>() >> 63 != 0) return std::nullopt;
    out.push_back(entry.get<int64_t>());
  }
  return out;
}

// The product of the shape, dtype included; nothing on overflow.
std::optional<int64_t> BytesOf(Dtype dtype, const std::vector<int64_t>& shape) {
  int64_t bytes = DtypeBytes(dtype);
  for (const int64_t extent : shape) {
    if (__builtin_mul_overflow(bytes, extent, &bytes)) return std::nullopt;
  }
  return bytes;
}

struct Entry {
  TensorBytes tensor;
  int64_t begin = 0;
  int64_t end = 0;
};

// The fault alone; the caller adds file and tensor.
absl::StatusOr<Entry> ParseEntry(const Json& json, int64_t data_bytes) {
  if (!json.is_object()) return absl::InvalidArgumentError("must be described by an object");
  const Json dtype_json = json.value("dtype", Json());
  const std::optional<Dtype> dtype = ParseDtype(dtype_json);
  if (!dtype) {
    return absl::InvalidArgumentError("dtype must be one of F8_E4M3, F8_E8M0, I8, BF16, F32, I64");
  }
  const auto shape = ParseInts(json.value("shape", Json()), 0, kMaxRank);
  if (!shape) return absl::InvalidArgumentError("shape must be at most 8 non-negative integers");
  const auto offsets = ParseInts(json.value("data_offsets", Json()), 2, 2);
  if (!offsets) return absl::InvalidArgumentError("data_offsets must be two non-negative integers");
  const int64_t begin = (*offsets)[0], end = (*offsets)[1];
  if (begin > end || end > data_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("data_offsets must lie in the file's ",
                                                   data_bytes, " data bytes, got [", begin, ", ",
                                                   end, "]"));
  }
  const std::optional<int64_t> bytes = BytesOf(*dtype, *shape);
  if (bytes != end - begin) {
    return absl::InvalidArgumentError(absl::StrCat("shape and dtype need ",
                                                   bytes ? absl::StrCat(*bytes) : "more than 2^63",
                                                   " bytes, data_offsets give ", end - begin));
  }
  return Entry{.tensor = {.dtype = *dtype, .shape = *shape}, .begin = begin, .end = end};
}

struct Header {
  Json json;
  absl::Span<const std::byte> data;
};

absl::StatusOr<Header> SplitFile(absl::Span<const std::byte> bytes) {
  if (bytes.size() < 8) {
    return absl::InvalidArgumentError(
        absl::StrCat("must have at least 8 bytes, got ", bytes.size()));
  }
  uint64_t length = 0;  // little-endian, as every machine this runs on
  std::memcpy(&length, bytes.data(), sizeof(length));
  const uint64_t limit = std::min<uint64_t>(kMaxHeaderBytes, bytes.size() - 8);
  if (length > limit) {
    return absl::InvalidArgumentError(
        absl::StrCat("header length must be at most ", limit, ", got ", length));
  }
  const char* text = reinterpret_cast<const char*>(bytes.data()) + 8;
  Header header{.json = ParseFileJson({text, length}), .data = bytes.subspan(8 + length)};
  if (!header.json.is_object()) return absl::InvalidArgumentError("header must be one JSON object");
  return header;
}

}  // namespace

absl::string_view DtypeName(Dtype dtype) {
  return RowOf(dtype).name;
}
int64_t DtypeBytes(Dtype dtype) {
  return RowOf(dtype).bytes;
}

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::Open(path));
  SafetensorsFile file(std::move(mapped));
  RETURN_IF_ERROR(file.ReadHeader(path));
  return file;
}

absl::Status SafetensorsFile::ReadHeader(const std::string& path) {
  absl::StatusOr<Header> header = SplitFile(file_.bytes());
  if (!header.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", header.status().message()));
  }
  std::vector<std::pair<int64_t, int64_t>> runs;
  for (const auto& [name, json] : header->json.items()) {
    if (name == "__metadata__") continue;
    absl::StatusOr<Entry> entry = ParseEntry(json, static_cast<int64_t>(header->data.size()));
    if (!entry.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": tensor ", absl::CHexEscape(name), ": ", entry.status().message()));
    }
    runs.emplace_back(entry->begin, entry->end);
    entry->tensor.bytes = header->data.subspan(entry->begin, entry->end - entry->begin);
    tensors_.emplace(name, std::move(entry->tensor));
  }
  std::sort(runs.begin(), runs.end());
  int64_t end = 0;
  for (const auto& [run_begin, run_end] : runs) {
    if (run_begin != end) break;
    end = run_end;
  }
  if (end != static_cast<int64_t>(header->data.size())) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": tensors must tile the data without gap or overlap, they do not at byte ", end));
  }
  return absl::OkStatus();
}

}  // namespace tandem
