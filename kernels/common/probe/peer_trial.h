// SPDX-License-Identifier: Apache-2.0
// Trials of the ways between memories: what arrives is compared word by word, what takes too long
// is given up, and the rest is a rate.
//
// The copy engines and a GPU's own loads and stores are tried apart: on some boards the latter go
// through the host's memory, at a fifteenth of the rate, and no copy shows it (reference/sm120.md
// 3.7). A trial takes 128 MB on each side. One that is given up leaves memory and queue behind,
// for the process to end with. One thread at a time.
#pragma once

#include <string>

namespace tandem::kernels {

struct PeerRates {
  bool reachable = false;  // as the driver says
  std::string fault;       // empty: all that was tried came right and in time
  double copy_gbps = 0;    // the copy engines, from the peer
  double read_gbps = 0;    // loads of this GPU from the peer's memory
  double write_gbps = 0;   // stores of this GPU into it
};
// GPU `device` reaches for the memory of `peer`; both may be one.
PeerRates TryPeer(int device, int peer, double limit_seconds);

struct HostRates {
  std::string fault;
  double to_gpu_gbps = 0;
  double from_gpu_gbps = 0;
};
// Pinned memory of the host, by the copy engines.
HostRates TryHost(int device, double limit_seconds);

}  // namespace tandem::kernels
