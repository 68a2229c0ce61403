// SPDX-License-Identifier: Apache-2.0
// Which ends fit a client that misbehaves: the server may take the misbehaviour as what it is, may
// have been faster than it, may have had no room or, where workers are killed, may have lost one.
// Everything else is a failed check. Pure.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "services/tools/load/plan/plan.h"
#include "services/tools/load/result/request_record.h"

namespace tandem {

RequestKind KindOf(Nasty nasty);

// Whether `record`, whose call is over, ended as one of its kind may. `twin`: it is the second
// request of a duplicate id, which must be told so. `lost`: it was told of a lost worker, and some
// are killed.
struct NastyEnd {
  Nasty nasty = Nasty::kCancelEarly;
  bool twin = false;
  bool lost = false;
  absl::StatusCode code = absl::StatusCode::kOk;
};
bool Fits(const NastyEnd& end);

// What a server may answer to an honest client under more load than it can take: results, not
// errors.
bool IsOverload(absl::StatusCode code);

// What a router says of workers that are gone: UNAVAILABLE and why. Without a reason it is the
// router that is gone.
bool IsLoss(absl::StatusCode code, absl::string_view reason);

}  // namespace tandem
