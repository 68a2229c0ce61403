// SPDX-License-Identifier: Apache-2.0
// A plan carried out against a server of a test, and what is asked of its result. Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "services/tools/load/drive/driver.h"
#include "services/tools/load/drive/target.h"
#include "services/tools/load/result/load_result.h"
#include "tests/services/tools/load/drive/fake_inference.h"

namespace tandem {

struct Drive {
  DriveOptions options;  // the connection is filled in
  PlanSpec plan;
  std::vector<Golden> goldens;
  Slo slo;
};
struct Driven {
  LoadResult result;
  DriveOutcome outcome;
};
Driven Carry(const FakeInference& server, Drive drive);

TargetInfo InfoOf(const FakeInference& server);

// So many small and short ones, in a closed loop.
PlanSpec Requests(uint64_t count);

// Their names.
std::vector<std::string> FailedChecks(const LoadResult& result);

const KindCount& Of(const LoadResult& result, RequestKind kind);

}  // namespace tandem
