// SPDX-License-Identifier: Apache-2.0
// Which ends fit a client that misbehaves: the server may take the misbehaviour as what it is, may
// have been faster than it, or may have had no room. Everything else is a failed check. Pure.
#pragma once

#include "absl/status/status.h"
#include "services/tools/load/plan/plan.h"
#include "services/tools/load/result/request_record.h"

namespace tandem {

RequestKind KindOf(Nasty nasty);

// Whether `record`, whose call is over, ended as one of its kind may. `twin`: it is the second
// request of a duplicate id, which must be told so.
struct NastyEnd {
  Nasty nasty = Nasty::kCancelEarly;
  bool twin = false;
  absl::StatusCode code = absl::StatusCode::kOk;
};
bool Fits(const NastyEnd& end);

// What a server may answer to an honest client under more load than it can take: results, not
// errors.
bool IsOverload(absl::StatusCode code);

}  // namespace tandem
