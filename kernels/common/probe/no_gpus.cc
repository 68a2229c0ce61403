// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/probe/gpu_list.h"
#include "kernels/common/probe/peer_trial.h"

namespace tandem::kernels {
namespace {

constexpr char kNoCuda[] = "this build has no CUDA kernels (cmake -DTANDEM_CUDA=ON)";

}  // namespace

GpuList ListGpus() {
  return {.why = kNoCuda};
}

PeerRates TryPeer(int /*device*/, int /*peer*/, double /*limit_seconds*/) {
  return {.fault = kNoCuda};
}

HostRates TryHost(int /*device*/, double /*limit_seconds*/) {
  return {.fault = kNoCuda};
}

}  // namespace tandem::kernels
