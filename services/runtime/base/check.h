// SPDX-License-Identifier: Apache-2.0
// CHECK: stops the process on a bug, with the condition, the place and both values. Never for what
// the world can break.
#pragma once

#include <string>

#include "absl/strings/str_cat.h"

namespace tandem {

// Writes one line to stderr and aborts.
[[noreturn]] void CheckFailed(const char* file, int line, const std::string& what);

}  // namespace tandem

#define CHECK(condition)                                                     \
  do {                                                                       \
    if (!(condition)) ::tandem::CheckFailed(__FILE__, __LINE__, #condition); \
  } while (false)

#define TANDEM_CHECK_OP(a, op, b)                                                 \
  do {                                                                            \
    const auto& tandem_a = (a);                                                   \
    const auto& tandem_b = (b);                                                   \
    if (!(tandem_a op tandem_b))                                                  \
      ::tandem::CheckFailed(                                                      \
          __FILE__, __LINE__,                                                     \
          absl::StrCat(#a " " #op " " #b " (", tandem_a, " vs ", tandem_b, ")")); \
  } while (false)
#define CHECK_EQ(a, b) TANDEM_CHECK_OP(a, ==, b)
#define CHECK_NE(a, b) TANDEM_CHECK_OP(a, !=, b)
#define CHECK_LT(a, b) TANDEM_CHECK_OP(a, <, b)
#define CHECK_LE(a, b) TANDEM_CHECK_OP(a, <=, b)
#define CHECK_GT(a, b) TANDEM_CHECK_OP(a, >, b)
#define CHECK_GE(a, b) TANDEM_CHECK_OP(a, >=, b)
