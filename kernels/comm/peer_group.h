// SPDX-License-Identifier: Apache-2.0
// PeerGroup: the memory through which the ranks of a tensor-parallel group exchange, one process
// with a GPU a rank, peer access on.
//
// Every rank has, on its own device: an inbox and flags that the others write, exchange buffers
// that they read, and its own counts (peer_exchange.cuh); 17 MB in all. A block of an operation
// talks to the same block of the other ranks only. All ranks must run the same operations of the
// same sizes in the same order; a rank that does not is noticed by its peers after `limit` clock
// cycles: they record an error, wait no more from then on, and what they compute is worthless.
// Ranks may share a device, for tests. There an operation lets nothing begin behind it before it
// has its peers' parts, for blocks that wait behind one rank's would keep the other's from running;
// and it has few blocks, for those that wait must leave whole processors to what the other ranks
// still compute: a cluster of blocks begins only where all of it fits. Owned by whoever makes it,
// outlives every stream that uses its views.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace tandem::kernels {

inline constexpr int kMaxPeers = 8;
// All blocks of a launch must run at once on every device, so they are few.
inline constexpr int kPullBlocks = 128;
// One is filled, one is read, one still may be; a divisor of 2^32, where counts begin again.
inline constexpr int kPullSlices = 4;
inline constexpr int64_t kPullSliceBytes = 16384;           // of a block, at a time
inline constexpr int kPushBoxes = 2048;                     // of a rank, for all that write to it
inline constexpr int kPushBlocks = kPushBoxes / kMaxPeers;  // of a launch, whoever else there is
inline constexpr int kPushVectors = 64;   // of a box: sixteen bytes, half of what is written
inline constexpr int kSharedBlocks = 16;  // of a launch where ranks share a device

// What one rank's operations are given; plain pointers, copied into kernels.
struct PeerView {
  int rank = 0;
  int ranks = 1;
  uint8_t* exchange[kMaxPeers] = {};  // of every rank: [kPullSlices][kPullBlocks][kPullSliceBytes]
  // Of every rank: [2][ranks][kPushBoxes / ranks][2][kPushVectors][16], by who wrote.
  uint8_t* inbox[kMaxPeers] = {};
  uint32_t* flags[kMaxPeers] = {};  // of every rank: [kMaxPeers][kPullBlocks], by who wrote
  uint32_t* epochs = nullptr;       // this rank's: [kPushBoxes] rounds done
  uint32_t* error = nullptr;        // this rank's: 1 + the peer that did not come, or 0
  uint32_t* report = nullptr;       // the same in host memory, written where an error occurs
  int64_t limit = 0;                // clock cycles
  bool share_devices = false;       // some ranks do
  int push_blocks = kPushBlocks;    // of a launch at most: kPushBoxes / ranks or fewer
  int pull_blocks = kPullBlocks;
};

class PeerGroup {
 public:
  // Rank i on device devices[i]. Null if a device cannot reach another's memory, or has too little.
  static std::unique_ptr<PeerGroup> Create(const std::vector<int>& devices, int64_t limit);
  ~PeerGroup();
  PeerGroup(const PeerGroup&) = delete;
  PeerGroup& operator=(const PeerGroup&) = delete;

  const PeerView& view(int rank) const { return views_[rank]; }
  // 1 + the peer for which a rank waited in vain, or 0: of what has run. Asks no device.
  uint32_t Error(int rank) const;

 private:
  PeerGroup() = default;
  std::vector<uint8_t*> memory_;
  uint32_t* reports_ = nullptr;  // [ranks], in host memory
  std::vector<PeerView> views_;
};

}  // namespace tandem::kernels
