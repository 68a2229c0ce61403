// SPDX-License-Identifier: Apache-2.0
// DecodeSide: the decode worker's half of a hand-off, in a process of its own on the machine's last
// GPU: this program again, which does what it is told over two pipes.
#pragma once

#include <sys/types.h>

#include <string>

#include "absl/time/time.h"

namespace tandem {

class DecodeSide {
 public:
  // `ranks`: copies of the pool, on the last GPUs.
  explicit DecodeSide(int ranks);
  ~DecodeSide();
  DecodeSide(const DecodeSide&) = delete;
  DecodeSide& operator=(const DecodeSide&) = delete;

  // A line to it, and the next line from it; none if it has ended.
  void Tell(const std::string& line) const;
  std::string Hear() const;

  pid_t pid() const { return pid_; }

  // What either side allows the other for each step of its communicator.
  static constexpr absl::Duration kLimit = absl::Seconds(8);

  // In that process.
  static constexpr char kFlag[] = "--decode-side";
  static int Main(int ranks);

 private:
  pid_t pid_ = -1;
  int to_ = -1, from_ = -1;
};

}  // namespace tandem
