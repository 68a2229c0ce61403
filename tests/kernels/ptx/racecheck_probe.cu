// SPDX-License-Identifier: Apache-2.0
// Goal: what compute-sanitizer's racecheck makes of the ways in which kernels here let warps meet.
// Method: blocks that pass words from one half of their warps to the other, over one or two slots
// of shared memory, each way right but those named wrong_. tests/gpu.sh runs each alone under the
// tool: a report on a right one is the tool's error, none on a wrong one as well.
//
//   racecheck_probe NAME    runs one; exits with 1 if a word is lost (a wrong one may lose some)
//   racecheck_probe         prints all names
#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstring>
#include <iostream>

#include "kernels/ptx/async_copy.cuh"
#include "kernels/ptx/mbarrier.cuh"
#include "kernels/ptx/named_barrier.cuh"

namespace tandem::kernels::cuda {
namespace {

constexpr int kThreads = 128, kHalf = kThreads / 2;
constexpr int kRounds = 8, kSlots = 2, kWords = 4;  // a thread's of a round, 16 bytes
constexpr int kTeams = 4, kTeamThreads = 128;
constexpr int kFull = 1, kEmpty = kFull + kSlots;  // barriers, each a slot's

struct Shared {
  uint4 words[kSlots][kHalf];
  uint64_t full[kSlots], empty[kSlots];
};

__device__ uint4 WordsOf(int round, int place) {
  const auto first = static_cast<uint32_t>((round * kHalf + place) * kWords);
  return make_uint4(first, first + 1, first + 2, first + 3);
}

// Counts what is not as it was made.
__device__ void Compare(const uint4& v, const uint4& e, int* lost) {
  if (v.x != e.x || v.y != e.y || v.z != e.z || v.w != e.w) atomicAdd(lost, 1);
}
// The place is another warp's.
__device__ void Check(const Shared& shared, int slot, int round, int* lost) {
  const int place = static_cast<int>(threadIdx.x + 32) % kHalf;
  Compare(shared.words[slot][place], WordsOf(round, place), lost);
}

// The first half stores, the second reads; all threads meet before and after.
__global__ void Block(int* lost) {
  __shared__ Shared shared;
  const int thread = static_cast<int>(threadIdx.x);
  for (int round = 0; round < kRounds; ++round) {
    if (thread < kHalf) shared.words[0][thread] = WordsOf(round, thread);
    __syncthreads();
    if (thread >= kHalf) Check(shared, 0, round, lost);
    __syncthreads();
  }
}

// Teams of four warps with a barrier of their own, where they meet once a round; the teams take
// different numbers of rounds, and then all meet, and each reads what all teams store
// (stream_wide.cuh). kCopies: the words of the rounds come by cp.async, a round ahead.
template <bool kCopies>
__global__ void Teams(int* lost, const uint4* from) {
  __shared__ uint4 words[kTeams][kSlots + 1][kTeamThreads];
  const int thread = static_cast<int>(threadIdx.x) % kTeamThreads;
  const int team = static_cast<int>(threadIdx.x) / kTeamThreads;
  const auto bring = [&](int round) {
    uint4* to = &words[team][round % (kSlots + 1)][thread];
    if constexpr (kCopies) {
      ptx::CopyAsync16(ptx::SharedAddress(to), from + round * kHalf + thread % kHalf);
      ptx::CopyAsyncCommit();
    } else {
      *to = WordsOf(round, thread % kHalf);
    }
  };
  const int rounds = kRounds - 1 - team;
  bring(0);
  for (int round = 0; round < rounds; ++round) {
    if constexpr (kCopies) ptx::CopyAsyncWait<0>();
    ptx::BarrierWait(1 + team, kTeamThreads);
    bring(round + 1);
    const int place = (thread + 32) % kTeamThreads;
    Compare(words[team][round % (kSlots + 1)][place], WordsOf(round, place % kHalf), lost);
  }
  if constexpr (kCopies) ptx::CopyAsyncWait<0>();
  __syncthreads();
  words[team][0][thread] = WordsOf(team, thread % kHalf);
  __syncthreads();
  for (int other = 0; other < kTeams; ++other) {
    Compare(words[other][0][kTeamThreads - 1 - thread],
            WordsOf(other, (kTeamThreads - 1 - thread) % kHalf), lost);
  }
}

// Warps that store and warps that read, two slots, as in sparse attention: who stores waits for a
// slot and arrives, who reads arrives and waits. Without kInOrder the store comes before that wait.
template <bool kInOrder>
__global__ void Named(int* lost) {
  __shared__ Shared shared;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < kHalf) {
    for (int round = 0; round < kRounds; ++round) {
      const int slot = round % kSlots;
      if (!kInOrder) shared.words[slot][thread] = WordsOf(round, thread);
      ptx::BarrierWait(kEmpty + slot, kThreads);
      if (kInOrder) shared.words[slot][thread] = WordsOf(round, thread);
      ptx::BarrierArrive(kFull + slot, kThreads);
    }
  } else {
    for (int slot = 0; slot < kSlots; ++slot) ptx::BarrierArrive(kEmpty + slot, kThreads);
    for (int round = 0; round < kRounds; ++round) {
      const int slot = round % kSlots;
      ptx::BarrierWait(kFull + slot, kThreads);
      Check(shared, slot, round, lost);
      if (round + kSlots < kRounds) ptx::BarrierArrive(kEmpty + slot, kThreads);
    }
  }
}

// The same with barriers in shared memory. kCopies: the words come by cp.async from `from`.
// kOneLane: a slot is given back by one lane for its warp (the rings of many tokens).
template <bool kCopies, bool kInOrder, bool kOneLane = false>
__global__ void Memory(int* lost, const uint4* from) {
  __shared__ Shared shared;
  const int thread = static_cast<int>(threadIdx.x);
  const auto full = [&](int slot) { return ptx::SharedAddress(&shared.full[slot]); };
  const auto empty = [&](int slot) { return ptx::SharedAddress(&shared.empty[slot]); };
  if (thread == 0) {
    for (int slot = 0; slot < kSlots; ++slot) {
      ptx::InitMbarrier(full(slot), kHalf);
      ptx::InitMbarrier(empty(slot), kOneLane ? kHalf / 32 : kHalf);
    }
  }
  __syncthreads();
  for (int round = 0; round < kRounds; ++round) {
    const int slot = round % kSlots;
    const uint32_t parity = round / kSlots % 2;
    if (thread < kHalf) {
      if (!kInOrder) shared.words[slot][thread] = WordsOf(round, thread);
      ptx::WaitMbarrier(empty(slot), parity ^ 1);
      if (kCopies) {
        ptx::CopyAsync16(ptx::SharedAddress(&shared.words[slot][thread]),
                         from + round * kHalf + thread);
        ptx::ArriveMbarrierAfterCopies(full(slot));
      } else {
        if (kInOrder) shared.words[slot][thread] = WordsOf(round, thread);
        ptx::ArriveMbarrier(full(slot));
      }
    } else {
      ptx::WaitMbarrier(full(slot), parity);
      Check(shared, slot, round, lost);
      if (kOneLane) __syncwarp();
      if (!kOneLane || thread % 32 == 0) ptx::ArriveMbarrier(empty(slot));
    }
  }
}

// Words by cp.async, groups counted, then all meet (the rings of the linears). kWaits: for the
// copy.
template <bool kWaits>
__global__ void Copies(int* lost, const uint4* from) {
  __shared__ Shared shared;
  const int thread = static_cast<int>(threadIdx.x);
  const auto copy = [&](int round) {
    if (thread < kHalf && round < kRounds) {
      ptx::CopyAsync16(ptx::SharedAddress(&shared.words[round % kSlots][thread]),
                       from + round * kHalf + thread);
    }
    ptx::CopyAsyncCommit();
  };
  copy(0);
  for (int round = 0; round < kRounds; ++round) {
    copy(round + 1);
    if (kWaits) ptx::CopyAsyncWait<1>();
    __syncthreads();
    if (thread >= kHalf) Check(shared, round % kSlots, round, lost);
    __syncthreads();
  }
}

// Stores and reads, and nobody waits.
__global__ void Nothing(int* lost) {
  __shared__ Shared shared;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < kHalf) shared.words[0][thread] = WordsOf(0, thread);
  if (thread >= kHalf) Check(shared, 0, 0, lost);
}

struct Way {
  const char* name;
  void (*run)(int* lost, const uint4* from);
};
constexpr Way kWays[] = {
    {"block", [](int* lost, const uint4*) { Block<<<2, kThreads>>>(lost); }},
    {"copies", [](int* lost, const uint4* from) { Copies<true><<<2, kThreads>>>(lost, from); }},
    {"teams",
     [](int* lost, const uint4* from) { Teams<false><<<2, kTeams * kTeamThreads>>>(lost, from); }},
    {"teams_copies",
     [](int* lost, const uint4* from) { Teams<true><<<2, kTeams * kTeamThreads>>>(lost, from); }},
    {"named", [](int* lost, const uint4*) { Named<true><<<2, kThreads>>>(lost); }},
    {"mbarrier",
     [](int* lost, const uint4* from) { Memory<false, true><<<2, kThreads>>>(lost, from); }},
    {"mbarrier_copies",
     [](int* lost, const uint4* from) { Memory<true, true><<<2, kThreads>>>(lost, from); }},
    {"mbarrier_lane",
     [](int* lost, const uint4* from) { Memory<true, true, true><<<2, kThreads>>>(lost, from); }},
    {"wrong_nothing", [](int* lost, const uint4*) { Nothing<<<2, kThreads>>>(lost); }},
    {"wrong_copies",
     [](int* lost, const uint4* from) { Copies<false><<<2, kThreads>>>(lost, from); }},
    {"wrong_named", [](int* lost, const uint4*) { Named<false><<<2, kThreads>>>(lost); }},
    {"wrong_mbarrier",
     [](int* lost, const uint4* from) { Memory<false, false><<<2, kThreads>>>(lost, from); }},
};

int Run(const Way& way) {
  int* lost = nullptr;
  uint4* from = nullptr;
  uint32_t words[kRounds * kHalf * kWords];
  for (uint32_t i = 0; i < kRounds * kHalf * kWords; ++i) words[i] = i;
  cudaMalloc(&lost, sizeof(int));
  cudaMalloc(&from, sizeof(words));
  cudaMemset(lost, 0, sizeof(int));
  cudaMemcpy(from, words, sizeof(words), cudaMemcpyHostToDevice);
  way.run(lost, from);
  int count = -1;
  const cudaError_t error = cudaMemcpy(&count, lost, sizeof(int), cudaMemcpyDeviceToHost);
  std::cout << way.name << ": " << cudaGetErrorString(error) << ", " << count << " lost\n";
  return error == cudaSuccess && (count == 0 || std::strncmp(way.name, "wrong", 5) == 0) ? 0 : 1;
}

}  // namespace
}  // namespace tandem::kernels::cuda

int main(int argc, char** argv) {
  using tandem::kernels::cuda::kWays;
  int failed = 0;
  for (const auto& way : kWays) {
    if (argc < 2) std::cout << way.name << "\n";
    if (argc > 1 && std::strcmp(argv[1], way.name) == 0) failed += Run(way);
  }
  return failed;
}
