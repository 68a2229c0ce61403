// SPDX-License-Identifier: Apache-2.0
// Text-format protobuf files. An unknown field, a wrong type or a missing file is one error that
// names file, line and column; nothing is printed. Thread-safe.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"

namespace tandem {

// INVALID_ARGUMENT "name:line:column: what". `config` is then unspecified.
absl::Status ParseTextConfig(absl::string_view name, const std::string& text,
                             google::protobuf::Message& config);

// As ParseTextConfig; NOT_FOUND or FAILED_PRECONDITION when the file cannot be read. At most 1 MiB.
absl::Status ReadTextConfig(const std::string& path, google::protobuf::Message& config);

}  // namespace tandem
