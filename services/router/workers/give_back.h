// SPDX-License-Identifier: Apache-2.0
// GiveBack: ends a reservation that nobody will use.
#pragma once

#include <memory>

#include "services/router/workers/worker_table.h"
#include "tandem/v1/worker.pb.h"

namespace tandem {

// Asks the decode worker once, and nobody waits for it: the lease's expiry stands behind it. The
// assignment ends with the call.
void GiveBack(std::unique_ptr<Assignment> workers, const v1::Reservation& reservation);

}  // namespace tandem
