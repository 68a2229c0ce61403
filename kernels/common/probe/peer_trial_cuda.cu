// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <random>
#include <thread>

#include "kernels/common/probe/peer_trial.h"

namespace tandem::kernels {
namespace {

constexpr int64_t kBytes = int64_t{64} << 20;
constexpr int64_t kWords = kBytes / 4;
constexpr int kRounds = 8;
constexpr int kThreads = 512;
constexpr int kBlocks = 1024;

// Differs from word to word and from trial to trial: old bytes are not taken for new ones.
__device__ uint32_t PatternAt(int64_t word, uint32_t seed) {
  uint32_t x = static_cast<uint32_t>(word) ^ seed;
  x = (x ^ (x >> 16)) * 0x7feb352du;
  return x ^ (x >> 15);
}

__global__ void __launch_bounds__(kThreads) FillKernel(uint32_t* to, uint32_t seed) {
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < kWords;
       i += int64_t{gridDim.x} * kThreads) {
    to[i] = PatternAt(i, seed);
  }
}

__global__ void __launch_bounds__(kThreads) CopyKernel(const uint4* from, uint4* to) {
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < kWords / 4;
       i += int64_t{gridDim.x} * kThreads) {
    to[i] = from[i];
  }
}

__global__ void __launch_bounds__(kThreads)
    CompareKernel(const uint32_t* data, uint32_t seed, unsigned* wrong) {
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < kWords;
       i += int64_t{gridDim.x} * kThreads) {
    if (data[i] != PatternAt(i, seed)) atomicAdd(wrong, 1u);
  }
}

// One GPU's memory and queue. Given back unless something failed: then the queue may never end.
class Side {
 public:
  Side(int device, double limit_seconds) : device_(device), limit_(limit_seconds) {
    Do("memory", [this] { return cudaMalloc(&source_, kBytes); });
    Do("memory", [this] { return cudaMalloc(&target_, kBytes); });
    Do("memory", [this] { return cudaMalloc(&wrong_, sizeof(unsigned)); });
    Do("queue", [this] { return cudaStreamCreateWithFlags(&queue_, cudaStreamNonBlocking); });
    Do("event", [this] { return cudaEventCreate(&begin_); });
    Do("event", [this] { return cudaEventCreate(&end_); });
  }
  ~Side() {
    if (abandoned_ || !fault_.empty()) return;
    (void)cudaSetDevice(device_);
    (void)cudaEventDestroy(begin_);
    (void)cudaEventDestroy(end_);
    (void)cudaStreamDestroy(queue_);
    (void)cudaFree(source_);
    (void)cudaFree(target_);
    (void)cudaFree(wrong_);
  }
  Side(const Side&) = delete;
  Side& operator=(const Side&) = delete;

  const std::string& fault() const { return fault_; }
  // Another GPU's queue that never ends may still use this memory.
  void Abandon() { abandoned_ = true; }
  uint32_t* source() const { return source_; }
  uint32_t* target() const { return target_; }
  cudaStream_t queue() const { return queue_; }

  // Calls it with this GPU current; after a fault nothing is called any more.
  void Do(const char* what, const std::function<cudaError_t()>& call) {
    if (!fault_.empty()) return;
    cudaError_t error = cudaSetDevice(device_);
    if (error == cudaSuccess) error = call();
    if (error == cudaSuccess) return;
    (void)cudaGetLastError();
    fault_ = std::string(what) + ": " + cudaGetErrorString(error);
  }
  // Waits for what is queued, no longer than the limit.
  void Wait(const char* what) {
    const auto begin = std::chrono::steady_clock::now();
    Do(what, [this] { return cudaEventRecord(end_, queue_); });
    while (fault_.empty()) {
      const cudaError_t state = cudaEventQuery(end_);
      if (state == cudaSuccess) return;
      if (state != cudaErrorNotReady) return Do(what, [state] { return state; });
      const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - begin;
      if (waited.count() > limit_) {
        fault_ = std::string(what) + ": did not end within " + std::to_string(limit_) + " s";
        return;
      }
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  }

  void Fill(uint32_t* data, uint32_t seed) {
    Do("fill", [&] {
      FillKernel<<<kBlocks, kThreads, 0, queue_>>>(data, seed);
      return cudaGetLastError();
    });
    Wait("fill");
  }
  // That `data` is what Fill made of the seed.
  void Compare(const char* what, const uint32_t* data, uint32_t seed) {
    unsigned wrong = 0;
    Do(what, [&] { return cudaMemsetAsync(wrong_, 0, sizeof wrong, queue_); });
    Do(what, [&] {
      CompareKernel<<<kBlocks, kThreads, 0, queue_>>>(data, seed, wrong_);
      return cudaGetLastError();
    });
    Wait(what);
    Do(what, [&] { return cudaMemcpy(&wrong, wrong_, sizeof wrong, cudaMemcpyDeviceToHost); });
    if (fault_.empty() && wrong != 0) {
      fault_ = std::string(what) + ": " + std::to_string(wrong) + " of " + std::to_string(kWords) +
               " words arrived wrong";
    }
  }
  // Rate of a copy of all bytes, queued some times over after one that warms up.
  double Rate(const char* what, const std::function<cudaError_t()>& copy) {
    Do(what, copy);
    Wait(what);
    Do(what, [this] { return cudaEventRecord(begin_, queue_); });
    for (int i = 0; i < kRounds; ++i) Do(what, copy);
    Wait(what);
    float milliseconds = 0;
    Do(what, [&] { return cudaEventElapsedTime(&milliseconds, begin_, end_); });
    return fault_.empty() ? kRounds * static_cast<double>(kBytes) / milliseconds / 1e6 : 0;
  }

 private:
  const int device_;
  const double limit_;
  std::string fault_;
  bool abandoned_ = false;
  uint32_t* source_ = nullptr;
  uint32_t* target_ = nullptr;
  unsigned* wrong_ = nullptr;
  cudaStream_t queue_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

bool Reach(Side& side, int device, int peer) {
  if (device == peer) return true;
  int reachable = 0;
  side.Do("peer access", [&] { return cudaDeviceCanAccessPeer(&reachable, device, peer); });
  if (reachable == 0) return false;
  side.Do("peer access", [&] {
    const cudaError_t error = cudaDeviceEnablePeerAccess(peer, 0);
    return error == cudaErrorPeerAccessAlreadyEnabled ? cudaSuccess : error;
  });
  (void)cudaGetLastError();  // of an access that was on already
  return side.fault().empty();
}

// Loads or stores of `mover`'s processors.
double KernelRate(const char* what, Side& mover, const uint32_t* from, uint32_t* to) {
  return mover.Rate(what, [&] {
    CopyKernel<<<kBlocks, kThreads, 0, mover.queue()>>>(reinterpret_cast<const uint4*>(from),
                                                        reinterpret_cast<uint4*>(to));
    return cudaGetLastError();
  });
}

}  // namespace

PeerRates TryPeer(int device, int peer, double limit_seconds) {
  const uint32_t seed = std::random_device()();
  Side near(device, limit_seconds), far(peer, limit_seconds);
  PeerRates out{.reachable = Reach(near, device, peer)};
  far.Fill(far.source(), seed);
  // Without access the driver takes the copy through the host's memory.
  out.copy_gbps = near.Rate("copy", [&] {
    return cudaMemcpyPeerAsync(near.target(), device, far.source(), peer, kBytes, near.queue());
  });
  near.Compare("copy", near.target(), seed);
  if (out.reachable && near.fault().empty() && far.fault().empty()) {
    far.Fill(far.source(), seed + 1);
    out.read_gbps = KernelRate("loads", near, far.source(), near.target());
    near.Compare("loads", near.target(), seed + 1);
    near.Fill(near.source(), seed + 2);
    out.write_gbps = KernelRate("stores", near, near.source(), far.target());
    if (near.fault().empty()) far.Compare("stores", far.target(), seed + 2);
  }
  out.fault = near.fault().empty() ? far.fault() : near.fault();
  if (!out.fault.empty()) near.Abandon(), far.Abandon();
  return out;
}

HostRates TryHost(int device, double limit_seconds) {
  Side gpu(device, limit_seconds);
  void* host = nullptr;
  gpu.Do("pinned memory", [&] { return cudaMallocHost(&host, kBytes); });
  HostRates out;
  out.to_gpu_gbps = gpu.Rate("copy to the GPU", [&] {
    return cudaMemcpyAsync(gpu.target(), host, kBytes, cudaMemcpyHostToDevice, gpu.queue());
  });
  out.from_gpu_gbps = gpu.Rate("copy from the GPU", [&] {
    return cudaMemcpyAsync(host, gpu.target(), kBytes, cudaMemcpyDeviceToHost, gpu.queue());
  });
  out.fault = gpu.fault();
  if (out.fault.empty() && host != nullptr) (void)cudaFreeHost(host);
  return out;
}

}  // namespace tandem::kernels
