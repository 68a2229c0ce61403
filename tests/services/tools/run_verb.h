// SPDX-License-Identifier: Apache-2.0
// A verb of the command line, run in the test's own process: its exit code and all that it printed.
#pragma once

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace tandem {

struct Said {
  int code = 0;
  std::string out;
  std::string err;
};

using Verb = int (*)(const std::vector<std::string>& arguments);

inline Said RunVerb(Verb verb, const std::vector<std::string>& arguments) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Said said;
  said.code = verb(arguments);
  said.out = testing::internal::GetCapturedStdout();
  said.err = testing::internal::GetCapturedStderr();
  return said;
}

}  // namespace tandem
