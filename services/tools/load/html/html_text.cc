// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/html/html_text.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace tandem {

std::string HtmlEscaped(absl::string_view text) {
  std::string plain;
  for (const char c : text) {
    // Control characters are no part of an XML document.
    const bool control = static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n';
    plain += control ? ' ' : c;
  }
  return absl::StrReplaceAll(
      plain, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

std::string ToHtml(const HtmlTable& table) {
  std::string out = absl::StrCat("<div class=\"scroll\"><table><caption>",
                                 HtmlEscaped(table.caption), "</caption>\n<thead><tr>");
  for (const std::string& name : table.head) {
    absl::StrAppend(&out, "<th scope=\"col\">", HtmlEscaped(name), "</th>");
  }
  absl::StrAppend(&out, "</tr></thead>\n<tbody>\n");
  for (const std::vector<std::string>& row : table.rows) {
    absl::StrAppend(&out, "<tr>");
    for (size_t i = 0; i < row.size(); ++i) {
      const absl::string_view tag = i == 0 ? "th" : "td";
      absl::StrAppend(&out, "<", tag, i == 0 ? " scope=\"row\">" : ">", HtmlEscaped(row[i]), "</",
                      tag, ">");
    }
    absl::StrAppend(&out, "</tr>\n");
  }
  return absl::StrCat(out, "</tbody></table></div>\n");
}

}  // namespace tandem
