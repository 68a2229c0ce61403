// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdlib>
#include <iomanip>
#include <iostream>

#include "kernels/common/contract.h"
#include "kernels/common/cuda/device_stream.h"
#include "tests/bench/kernels/cuda/bench.h"

namespace tandem::kernels {
namespace {

constexpr int kReplays = 15;
constexpr int64_t kCacheBytes = int64_t{4} * 64 * 1024 * 1024;
constexpr int64_t kMostSets = 400;
constexpr double kLeastSeconds = 1e-3;  // of one replay

void Check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::cerr << what << ": " << cudaGetErrorString(error) << "\n";
  std::abort();
}

__global__ void FillRandom(uint32_t* words, int64_t n, uint64_t seed) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < n;
       i += int64_t{gridDim.x} * blockDim.x) {
    uint64_t z = seed + 0x9E3779B97F4A7C15u * static_cast<uint64_t>(i + 1);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    // Bit 6 of every byte off: no all-ones exponent in either format.
    words[i] = static_cast<uint32_t>(z >> 32) & 0xBFBFBFBFu;
  }
}

double MedianSeconds(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

// Seconds of one run: one pass over all sets is captured, and replayed as often as a time needs.
double TimeGraph(const std::function<void(int64_t, Stream&)>& run, int64_t sets,
                 cudaStream_t queue) {
  Stream stream = MakeDeviceStream(queue);
  for (int64_t i = 0; i < sets; ++i) run(i, stream);  // allocates scratch, loads modules
  if (!Synchronize(stream)) std::cerr << stream.error() << "\n";
  KERNEL_CHECK(stream.ok());
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  Check(cudaStreamBeginCapture(queue, cudaStreamCaptureModeThreadLocal), "capture");
  for (int64_t i = 0; i < sets; ++i) run(i, stream);
  Check(cudaStreamEndCapture(queue, &graph), "end of capture");
  if (!stream.ok()) std::cerr << stream.error() << "\n";
  KERNEL_CHECK(stream.ok());
  Check(cudaGraphInstantiate(&executable, graph, 0), "instantiate");
  cudaEvent_t begin = nullptr, end = nullptr;
  Check(cudaEventCreate(&begin), "event");
  Check(cudaEventCreate(&end), "event");
  int passes = 1;
  std::vector<double> seconds;
  for (int replay = -3; replay < kReplays; ++replay) {
    Check(cudaEventRecord(begin, queue), "record");
    for (int pass = 0; pass < passes; ++pass) Check(cudaGraphLaunch(executable, queue), "replay");
    Check(cudaEventRecord(end, queue), "record");
    Check(cudaEventSynchronize(end), "run");
    float milliseconds = 0;
    Check(cudaEventElapsedTime(&milliseconds, begin, end), "elapsed");
    const double pass = 1e-3 * milliseconds / passes;
    if (replay >= 0) seconds.push_back(pass / static_cast<double>(sets));
    if (replay == -2) passes = static_cast<int>(std::clamp(kLeastSeconds / pass, 1.0, 100.0));
  }
  (void)cudaEventDestroy(begin);
  (void)cudaEventDestroy(end);
  (void)cudaGraphExecDestroy(executable);
  (void)cudaGraphDestroy(graph);
  return MedianSeconds(seconds);
}

std::vector<uint8_t*>& Allocations() {
  static std::vector<uint8_t*> allocations;
  return allocations;
}

}  // namespace

Bench::Bench(const Ceilings& ceilings) : ceilings_(ceilings) {
  cudaStream_t queue = nullptr;
  Check(cudaStreamCreateWithFlags(&queue, cudaStreamNonBlocking), "stream");
  queue_ = queue;
}

Bench::~Bench() {
  (void)cudaStreamDestroy(static_cast<cudaStream_t>(queue_));
}

void Bench::PrintHead() {
  std::cout << "| operation | tokens | MB | GFLOP | µs | GB/s | TFLOP/s | of attainable | bar |\n"
               "|---|--:|--:|--:|--:|--:|--:|--:|--:|\n";
}

double Bench::Run(const BenchCase& c) {
  const int64_t set_bytes = std::max<int64_t>(c.set_bytes > 0 ? c.set_bytes : c.bytes, 1);
  const int64_t sets = std::clamp<int64_t>((kCacheBytes + set_bytes - 1) / set_bytes, 2, kMostSets);
  const auto run = c.make(sets);
  // A copy of pageable memory returns when it is staged, and the queue does not wait for it.
  Check(cudaDeviceSynchronize(), "inputs");
  const double seconds = TimeGraph(run, sets, static_cast<cudaStream_t>(queue_));
  for (uint8_t* memory : Allocations()) (void)cudaFree(memory);
  Allocations().clear();
  const double bytes = static_cast<double>(c.bytes), flop = static_cast<double>(c.flop);
  const double floor =
      std::max(bytes / ceilings_.bytes_per_second, flop / ceilings_.flop_per_second);
  std::cout << "| " << c.name << " | " << c.tokens << std::fixed << std::setprecision(2) << " | "
            << bytes / 1e6 << " | " << flop / 1e9 << " | " << seconds * 1e6 << std::setprecision(0)
            << " | " << bytes / seconds / 1e9 << " | " << flop / seconds / 1e12 << " | "
            << 100 * floor / seconds << " % | ";
  if (c.bar > 0) {
    std::cout << 100 * c.bar << " %" << (floor / seconds >= c.bar ? "" : ": missed");
  } else if (c.bar_us > 0) {
    std::cout << c.bar_us << " µs" << (seconds * 1e6 <= c.bar_us ? "" : ": missed");
  }
  std::cout << " |" << std::endl;
  return seconds;
}

namespace {
std::vector<Cases>& Registry() {
  static std::vector<Cases> registry;
  return registry;
}
}  // namespace

Cases::Cases(std::string family, std::vector<BenchCase> (*list)())
    : family(std::move(family)), list(list) {
  Registry().push_back(*this);
}

const std::vector<Cases>& Cases::All() {
  return Registry();
}

uint8_t* RandomBytes(int64_t size, uint64_t seed) {
  void* memory = nullptr;
  const int64_t words = (size + 3) / 4;
  Check(cudaMalloc(&memory, static_cast<size_t>(4 * words)), "memory for the bench");
  FillRandom<<<1024, 256>>>(static_cast<uint32_t*>(memory), words, seed);
  Check(cudaDeviceSynchronize(), "random bytes");
  Allocations().push_back(static_cast<uint8_t*>(memory));
  return static_cast<uint8_t*>(memory);
}

}  // namespace tandem::kernels
