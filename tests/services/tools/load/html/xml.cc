// SPDX-License-Identifier: Apache-2.0
#include "tests/services/tools/load/html/xml.h"

#include <regex>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace tandem {
namespace {

bool IsRaw(const std::vector<std::string>& open) {
  return !open.empty() && (open.back() == "style" || open.back() == "script");
}

std::string Resolved(const std::string& text) {
  return absl::StrReplaceAll(
      text, {{"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", "\""}, {"&#39;", "'"}, {"&amp;", "&"}});
}

}  // namespace

XmlPage ReadXml(const std::string& page) {
  static const std::regex kTag(R"re(<(/?)([a-z][a-z0-9]*)((?: [a-zA-Z0-9_-]+="[^"<]*")*)(/?)>)re");
  static const std::regex kLink(R"re( (src|href|srcset|action|data)="([^"]*)")re");
  static const std::regex kEntity("&(?!(lt|gt|quot|amp|#39);)");
  XmlPage out;
  std::vector<std::string> open;
  size_t at = absl::StartsWith(page, "<!DOCTYPE html>") ? 15 : 0;
  while (at < page.size() && out.fault.empty()) {
    const std::string raw_end = IsRaw(open) ? absl::StrCat("</", open.back(), ">") : "<";
    const size_t next = std::min(page.find(raw_end, at), page.size());
    const std::string text = page.substr(at, next - at);
    if (!IsRaw(open)) {
      if (std::regex_search(text, kEntity)) out.fault = "bare & in: " + text;
      out.text += Resolved(text);
    }
    if (next == page.size()) break;
    std::smatch tag;
    const std::string rest = page.substr(next, page.find('>', next) + 1 - next);
    if (!std::regex_match(rest, tag, kTag)) {
      out.fault = "no tag: " + rest;
    } else if (tag[1] == "/") {
      if (open.empty() || open.back() != tag[2]) out.fault = "closed out of order: " + rest;
      if (!open.empty()) open.pop_back();
    } else {
      out.tags.push_back(tag[2]);
      if (tag[4] != "/") open.push_back(tag[2]);
      const std::string attributes = tag[3];
      for (std::sregex_iterator it(attributes.begin(), attributes.end(), kLink), end; it != end;
           ++it) {
        out.links.push_back((*it)[2]);
      }
    }
    at = next + rest.size();
  }
  if (out.fault.empty() && !open.empty()) out.fault = "never closed: " + open.back();
  return out;
}

}  // namespace tandem
