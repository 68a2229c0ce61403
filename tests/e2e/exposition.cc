// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/exposition.h"

#include <cmath>
#include <cstdlib>
#include <regex>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/runtime/base/status_macros.h"
#include "services/tools/load/check/scrape.h"

namespace tandem {
namespace {

bool Carries(const MetricSample& sample, const std::string& name, const MetricLabels& labels) {
  if (sample.name != name) return false;
  for (const auto& [key, value] : labels) {
    const auto found = sample.labels.find(key);
    if (found == sample.labels.end() || found->second != value) return false;
  }
  return true;
}

class Reader {
 public:
  Exposition Read(const std::string& text) {
    if (text.empty() || text.back() != '\n') Fault("the last line does not end", "");
    for (absl::string_view line : absl::StrSplit(text, '\n')) {
      if (!line.empty()) TakeLine(std::string(line));
    }
    CheckHistograms();
    return std::move(out_);
  }

 private:
  void Fault(const std::string& what, const std::string& where) {
    out_.faults.push_back(absl::StrCat(what, ": ", where));
  }

  void TakeLine(const std::string& line) {
    static const std::regex comment("# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)");
    static const std::regex sample(R"(([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+))");
    std::smatch match;
    if (std::regex_match(line, match, comment)) return TakeComment(match[1], match[2], match[3]);
    if (!std::regex_match(line, match, sample)) return Fault("no line of the format", line);
    MetricSample out = {.name = match[1], .labels = Labels(match[2], line)};
    if (!absl::SimpleAtod(match[3].str(), &out.value)) Fault("no number", line);
    if (FamilyOf(out.name) != family_) Fault("stands outside its family", line);
    if (out_.types[family_] == "counter" && (!(out.value >= 0) || !out.name.ends_with("_total"))) {
      Fault("no counter", line);
    }
    if (!seen_.insert({out.name, out.labels}).second) Fault("the series is there twice", line);
    out_.samples.push_back(std::move(out));
  }

  void TakeComment(const std::string& kind, const std::string& name, const std::string& rest) {
    static const std::set<std::string> kTypes = {"counter", "gauge", "histogram", "summary"};
    if (kind == "HELP") {
      helped_ = name;
      return;
    }
    if (kTypes.count(rest) == 0) Fault("no type", rest);
    if (!out_.types.emplace(name, rest).second) Fault("the family is there twice", name);
    if (helped_ != name) Fault("no help before its type", name);
    family_ = name;
  }

  MetricLabels Labels(const std::string& text, const std::string& line) {
    static const std::regex label(R"re(([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\["\\n])*)"(,|$))re");
    MetricLabels labels;
    auto at = text.cbegin();
    std::smatch match;
    while (at != text.cend() && std::regex_search(at, text.cend(), match, label,
                                                  std::regex_constants::match_continuous)) {
      if (!labels.emplace(match[1], match[2]).second) Fault("a label twice", line);
      at = match[0].second;
    }
    if (at != text.cend()) Fault("no labels", line);
    return labels;
  }

  std::string FamilyOf(const std::string& name) const {
    const auto type = out_.types.find(family_);
    if (type == out_.types.end() || (type->second != "histogram" && type->second != "summary")) {
      return name;
    }
    absl::string_view family = name;
    (void)(absl::ConsumeSuffix(&family, "_bucket") || absl::ConsumeSuffix(&family, "_count") ||
           absl::ConsumeSuffix(&family, "_sum"));
    return std::string(family);
  }

  void CheckHistograms() {
    struct Rising {
      double bound = -INFINITY;
      double count = 0;
    };
    std::map<std::pair<std::string, MetricLabels>, Rising> buckets;
    for (MetricSample sample : out_.samples) {
      absl::string_view family = sample.name;
      if (!absl::ConsumeSuffix(&family, "_bucket")) continue;
      const std::string name(family);
      double bound = 0;
      if (!absl::SimpleAtod(sample.labels["le"], &bound)) Fault("no bound", sample.name);
      sample.labels.erase("le");
      Rising& last = buckets[{name, sample.labels}];
      if (bound <= last.bound || sample.value < last.count) Fault("buckets do not rise", name);
      last = {.bound = bound, .count = sample.value};
    }
    for (const auto& [series, last] : buckets) {
      const auto& [name, labels] = series;
      if (!std::isinf(last.bound)) Fault("no bucket +Inf", name);
      if (!out_.Has(name + "_sum", labels)) Fault("no _sum", name);
      if (out_.Sum(name + "_count", labels) != last.count) Fault("_count is not +Inf's", name);
    }
  }

  Exposition out_;
  std::string family_;
  std::string helped_;
  std::set<std::pair<std::string, MetricLabels>> seen_;
};

}  // namespace

double Exposition::Sum(const std::string& name, const MetricLabels& labels) const {
  double sum = 0;
  for (const MetricSample& sample : samples) {
    if (Carries(sample, name, labels)) sum += sample.value;
  }
  return sum;
}

bool Exposition::Has(const std::string& name, const MetricLabels& labels) const {
  for (const MetricSample& sample : samples) {
    if (Carries(sample, name, labels)) return true;
  }
  return false;
}

Exposition ParseExposition(const std::string& text) {
  return Reader().Read(text);
}

absl::StatusOr<Exposition> ScrapeMetrics(const std::string& endpoint) {
  ASSIGN_OR_RETURN(const MetricsUrl url, ParseMetricsUrl(endpoint));
  ASSIGN_OR_RETURN(const std::string text, HttpGet(url, absl::Seconds(10)));
  return ParseExposition(text);
}

}  // namespace tandem
