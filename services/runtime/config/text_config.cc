// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/config/text_config.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/text_format.h"

namespace tandem {
namespace {

constexpr size_t kBytesMax = 1 << 20;

// Keeps the first error: what follows is mostly its echo.
class FirstError final : public google::protobuf::io::ErrorCollector {
 public:
  explicit FirstError(absl::string_view name) : name_(name) {}

  // Both count from 0; -1 = unknown.
  void AddError(int line, int column, const std::string& message) override {
    if (!message_.empty()) return;
    message_ = line < 0 ? absl::StrCat(name_, ": ", message)
                        : absl::StrCat(name_, ":", line + 1, ":", column + 1, ": ", message);
  }
  void AddWarning(int line, int column, const std::string& message) override {
    AddError(line, column, message);
  }

  const std::string& message() const { return message_; }

 private:
  const absl::string_view name_;
  std::string message_;
};

}  // namespace

absl::Status ParseTextConfig(absl::string_view name, const std::string& text,
                             google::protobuf::Message& config) {
  FirstError error(name);
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  const bool parsed = parser.ParseFromString(text, &config);
  if (parsed && error.message().empty()) return absl::OkStatus();
  if (error.message().empty()) error.AddError(-1, 0, "is not a text-format protobuf message");
  return absl::InvalidArgumentError(error.message());
}

absl::Status ReadTextConfig(const std::string& path, google::protobuf::Message& config) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": ", std::strerror(errno)));
  std::string text(kBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad() || (file.fail() && !file.eof())) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": cannot be read as a file"));
  }
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": is larger than the limit of ", kBytesMax, " bytes"));
  }
  return ParseTextConfig(path, text, config);
}

}  // namespace tandem
