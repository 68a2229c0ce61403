// SPDX-License-Identifier: Apache-2.0
// Pieces of an HTML page. The output is well-formed XML as well, so that a test can read it. Pure;
// thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tandem {

// For text and quoted attributes.
std::string HtmlEscaped(absl::string_view text);

// A table whose first column names the row. Cells are escaped.
struct HtmlTable {
  std::string caption;
  std::vector<std::string> head;  // of every column
  std::vector<std::vector<std::string>> rows;
};
std::string ToHtml(const HtmlTable& table);

}  // namespace tandem
