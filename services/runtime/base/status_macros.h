// SPDX-License-Identifier: Apache-2.0
// The two macros that carry absl::Status up the stack. `lhs` may declare a variable.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define RETURN_IF_ERROR(expr)                      \
  do {                                             \
    absl::Status tandem_status = (expr);           \
    if (!tandem_status.ok()) return tandem_status; \
  } while (false)

#define TANDEM_CONCAT_INNER(a, b) a##b
#define TANDEM_CONCAT(a, b) TANDEM_CONCAT_INNER(a, b)

#define ASSIGN_OR_RETURN(lhs, expr) \
  TANDEM_ASSIGN_OR_RETURN(TANDEM_CONCAT(tandem_statusor_, __LINE__), lhs, expr)
#define TANDEM_ASSIGN_OR_RETURN(statusor, lhs, expr) \
  auto statusor = (expr);                            \
  if (!statusor.ok()) return statusor.status();      \
  lhs = std::move(statusor).value()
