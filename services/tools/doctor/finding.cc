// SPDX-License-Identifier: Apache-2.0
#include "services/tools/doctor/finding.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace tandem {
namespace {

const char* NameOf(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kWarning:
      return "warning";
    case Verdict::kProblem:
      return "problem";
  }
  return "";
}

}  // namespace

std::string TextOf(const Findings& findings) {
  std::string out;
  for (const Finding& finding : findings) {
    absl::StrAppendFormat(&out, "%-8s %-14s %s\n", NameOf(finding.verdict), finding.subject,
                          finding.text);
    if (!finding.advice.empty()) absl::StrAppendFormat(&out, "%24s-> %s\n", "", finding.advice);
  }
  return out;
}

bool AnyProblem(const Findings& findings) {
  return std::any_of(findings.begin(), findings.end(),
                     [](const Finding& finding) { return finding.verdict == Verdict::kProblem; });
}

std::string Amount(double bytes) {
  if (bytes >= 1e9) return absl::StrFormat("%.1f GB", bytes / 1e9);
  if (bytes >= 1e6) return absl::StrFormat("%.0f MB", bytes / 1e6);
  return absl::StrFormat("%.0f KB", bytes / 1e3);
}

}  // namespace tandem
