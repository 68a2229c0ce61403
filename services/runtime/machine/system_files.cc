// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/machine/system_files.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"

namespace tandem {
namespace {

constexpr std::streamsize kBytesMax = 64 << 10;

}  // namespace

std::optional<std::string> SystemFiles::Bytes(const std::string& path) const {
  std::ifstream file(Whole(path), std::ios::binary);
  std::string text(kBytesMax, '\0');
  if (!file) return std::nullopt;
  file.read(text.data(), kBytesMax);
  if (file.bad()) return std::nullopt;
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

std::optional<std::string> SystemFiles::Text(const std::string& path) const {
  std::optional<std::string> text = Bytes(path);
  if (text.has_value()) absl::StripTrailingAsciiWhitespace(&*text);
  return text;
}

std::optional<double> SystemFiles::Number(const std::string& path) const {
  const std::optional<std::string> text = Text(path);
  if (!text.has_value()) return std::nullopt;
  double value = 0;
  if (!absl::SimpleAtod(text->substr(0, text->find(' ')), &value)) return std::nullopt;
  return value;
}

std::vector<std::string> SystemFiles::Names(const std::string& path) const {
  std::vector<std::string> out;
  std::error_code error;
  for (std::filesystem::directory_iterator it(Whole(path), error), end; !error && it != end;
       it.increment(error)) {
    out.push_back(it->path().filename().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::optional<std::string> SystemFiles::LinkName(const std::string& path) const {
  std::error_code error;
  const auto target = std::filesystem::read_symlink(Whole(path), error);
  if (error) return std::nullopt;
  return target.filename().string();
}

std::optional<std::string> SystemFiles::Real(const std::string& path) const {
  std::error_code error;
  const auto root = std::filesystem::canonical(root_, error);
  if (error) return std::nullopt;
  const auto real = std::filesystem::canonical(Whole(path), error);
  if (error) return std::nullopt;
  const std::string text = real.string();
  const std::string prefix = root == root.root_path() ? "" : root.string();
  absl::string_view rest = text;
  if (!absl::ConsumePrefix(&rest, prefix)) return std::nullopt;
  return std::string(rest);
}

}  // namespace tandem
