// SPDX-License-Identifier: Apache-2.0
// The GPUs as CUDA sees them, and trials of the ways between their memories: the door through
// which a program without kernels asks (kernels/common/probe). Without CUDA in the build every
// answer says so.
#pragma once

#include "kernels/common/probe/gpu_list.h"
#include "kernels/common/probe/peer_trial.h"

namespace tandem {

using kernels::GpuFacts;
using kernels::GpuList;
using kernels::HostRates;
using kernels::ListGpus;
using kernels::PeerRates;
using kernels::TryHost;
using kernels::TryPeer;

}  // namespace tandem
