// SPDX-License-Identifier: Apache-2.0
// How the CUDA operations are timed: inside a graph, with cold caches, against the machine's own
// ceilings.
//
// A case queues one run of an operation on input set i. Bench captures one run on each of so many
// sets that together they exceed the L2 cache several times over, replays the graph, and takes the
// median over replays of the time a run. A row of the table has bytes, flop, time, and the share of
// the attainable: bytes over the measured copy bandwidth or flop over the measured bf16 rate,
// whichever takes longer.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/common/stream.h"

namespace tandem::kernels {

struct Ceilings {
  double bytes_per_second = 0;  // device-to-device copy, read and written bytes both counted
  double flop_per_second = 0;   // bf16 matrix product
};

struct BenchCase {
  std::string name;  // operation and shape: `quant_linear wq_b N=16384 K=1024`
  int64_t tokens = 0;
  int64_t bytes = 0;  // the fewest that one run must move
  int64_t flop = 0;
  int64_t set_bytes = 0;  // memory that one input set takes (0: bytes); sets = 4·L2 / set_bytes
  double bar = 0;         // the share that the issue asks for; 0: none
  double bar_us = 0;      // or the time
  // Makes the input sets; returns what queues one run on set i.
  std::function<std::function<void(int64_t set, Stream& stream)>(int64_t sets)> make;
};

class Bench {
 public:
  explicit Bench(const Ceilings& ceilings);
  ~Bench();
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  // Times a case and prints its row. Returns the seconds of one run.
  double Run(const BenchCase& bench_case);
  // Prints the head of the table.
  static void PrintHead();

 private:
  Ceilings ceilings_;
  void* queue_ = nullptr;
};

// Every family adds its cases: `static const Cases kMine("moe", [] { return std::vector<…>; });`
struct Cases {
  Cases(std::string family, std::vector<BenchCase> (*list)());
  static const std::vector<Cases>& All();
  std::string family;
  std::vector<BenchCase> (*list)();
};

// Device memory filled with pseudo-random bytes in which no 16-bit half is a NaN of bf16 and no
// byte one of E4M3; lives until its case has run.
uint8_t* RandomBytes(int64_t size, uint64_t seed);

}  // namespace tandem::kernels
