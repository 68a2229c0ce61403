// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/base/log.h"

#include <unistd.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace tandem {
namespace {

std::string& Role() {
  static std::string* const kRole = new std::string("tandem");
  return *kRole;
}

bool IsPlain(absl::string_view value) {
  if (value.empty()) return false;
  for (const char c : value) {
    if (c <= ' ' || c == '"' || c == '=' || c == '\x7f') return false;
  }
  return true;
}

void Write(char level, absl::string_view event, std::initializer_list<LogField> fields) {
  std::string line = absl::StrFormat(
      "%s %c %s %s", absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone()),
      level, Role(), event);
  for (const LogField& field : fields) {
    if (field.key.empty()) continue;
    absl::StrAppend(&line, " ", field.key, "=");
    if (IsPlain(field.value)) {
      line += field.value;
    } else {
      absl::StrAppend(&line, "\"", absl::Utf8SafeCEscape(field.value), "\"");
    }
  }
  line += '\n';
  // One write a line: lines of threads and processes that share stderr do not interleave.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace

void SetLogRole(absl::string_view role) {
  Role() = std::string(role);
}
void LogInfo(absl::string_view event, std::initializer_list<LogField> fields) {
  Write('I', event, fields);
}
void LogWarning(absl::string_view event, std::initializer_list<LogField> fields) {
  Write('W', event, fields);
}
void LogError(absl::string_view event, std::initializer_list<LogField> fields) {
  Write('E', event, fields);
}

}  // namespace tandem
