// SPDX-License-Identifier: Apache-2.0
// Finding: one line of doctor's report: a verdict, what it is about, what was found, what to do.
#pragma once

#include <string>
#include <vector>

namespace tandem {

enum class Verdict { kOk, kWarning, kProblem };

struct Finding {
  Verdict verdict = Verdict::kOk;
  std::string subject;  // "gpu 0", "/dev/shm"
  std::string text;
  std::string advice;  // what to do; empty: nothing
};
using Findings = std::vector<Finding>;

// A line each, advice on the next one; the columns stand under each other.
std::string TextOf(const Findings& findings);

// Whether any is a problem.
bool AnyProblem(const Findings& findings);

// "96.0 GB", "840 MB", "64 KB": decimal.
std::string Amount(double bytes);

}  // namespace tandem
