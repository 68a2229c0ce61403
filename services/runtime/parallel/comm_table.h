// SPDX-License-Identifier: Apache-2.0
// CommTable: which kind of all-reduce serves which size, from times taken at start.
//
// A value. The smallest measured size that holds a message decides for it, the largest for what is
// larger. NCCL has to be faster by kNcclMargin: the peer kind is fused with what follows, and its
// bits do not depend on the size (communicator.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tandem {

enum class CommKind { kPeer, kNccl };

inline constexpr double kNcclMargin = 0.05;

struct CommTiming {
  int64_t bytes = 0;  // of one rank's part
  double peer_seconds = 0;
  double nccl_seconds = 0;
};

class CommTable {
 public:
  // Of one kind for every size.
  explicit CommTable(CommKind always) : last_(always) {}
  // `timings` in any order, at least one.
  explicit CommTable(std::vector<CommTiming> timings);

  CommKind KindFor(int64_t bytes) const;
  // One line: `peer to 1048576 bytes, nccl beyond`.
  std::string Verdict() const;

 private:
  struct Step {
    int64_t up_to;  // bytes, inclusive
    CommKind kind;
  };
  std::vector<Step> steps_;  // ascending, neighbours of different kinds
  CommKind last_;            // beyond them
};

}  // namespace tandem
