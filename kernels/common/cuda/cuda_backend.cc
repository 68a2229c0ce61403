// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/cuda_backend.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "kernels/common/contract.h"
#include "kernels/common/cuda/device_stream.h"

namespace tandem::kernels {
namespace {

void Must(cudaError_t error) {
  KERNEL_CHECK_EQ(error, cudaSuccess);
}

cudaStream_t QueueOf(const Stream& stream) {
  return static_cast<cudaStream_t>(stream.queue());
}

// Unlike a host function, a callback is also called when the device has failed: nobody waits for
// ever.
void CUDART_CB CallBack(cudaStream_t /*queue*/, cudaError_t /*error*/, void* data) {
  const std::unique_ptr<std::function<void()>> done(static_cast<std::function<void()>*>(data));
  (*done)();
}

class Cuda final : public Backend {
 public:
  Cuda(int index, const std::string& name) : index_(index), name_(name) {}
  ~Cuda() override {
    Enter();
    for (cudaStream_t queue : queues_) (void)cudaStreamDestroy(queue);
  }

  std::string Describe() const override { return name_; }

  uint8_t* Allocate(int64_t bytes) override {
    Enter();
    void* memory = nullptr;
    const cudaError_t error = cudaMalloc(&memory, static_cast<size_t>(std::max<int64_t>(bytes, 1)));
    if (error == cudaErrorMemoryAllocation) {
      (void)cudaGetLastError();  // told to the caller; not to the next launch
      return nullptr;
    }
    Must(error);
    return static_cast<uint8_t*>(memory);
  }
  void Release(uint8_t* memory) override {
    Enter();
    Must(cudaFree(memory));
  }
  bool ReadsHost() const override { return false; }

  uint8_t* AllocateStaging(int64_t bytes) override {
    Enter();
    void* memory = nullptr;
    Must(cudaMallocHost(&memory, static_cast<size_t>(std::max<int64_t>(bytes, 1))));
    return static_cast<uint8_t*>(memory);
  }
  void ReleaseStaging(uint8_t* memory) override {
    Enter();
    Must(cudaFreeHost(memory));
  }

  Stream MakeStream() override {
    Enter();
    cudaStream_t queue = nullptr;
    Must(cudaStreamCreateWithFlags(&queue, cudaStreamNonBlocking));
    const std::lock_guard<std::mutex> lock(mutex_);
    queues_.push_back(queue);
    return MakeDeviceStream(queue);
  }

  void Copy(const CopyArgs& copy, Stream& stream) override {
    Enter();
    Record(cudaMemcpyAsync(copy.to, copy.from, static_cast<size_t>(copy.bytes), cudaMemcpyDefault,
                           QueueOf(stream)),
           stream);
  }
  void CopyNow(const CopyArgs& copy) override {
    Enter();
    Must(cudaMemcpyAsync(copy.to, copy.from, static_cast<size_t>(copy.bytes), cudaMemcpyDefault,
                         cudaStreamPerThread));
    Must(cudaStreamSynchronize(cudaStreamPerThread));
  }
  void Notify(std::function<void()> done, Stream& stream) override {
    Enter();
    auto data = std::make_unique<std::function<void()>>(std::move(done));
    const cudaError_t error = cudaStreamAddCallback(QueueOf(stream), CallBack, data.get(), 0);
    Record(error, stream);
    if (error == cudaSuccess) {
      data.release();
    } else {
      (*data)();
    }
  }
  bool Synchronize(Stream& stream) override {
    Enter();
    return kernels::Synchronize(stream);
  }

 private:
  void Enter() const { Must(cudaSetDevice(index_)); }
  static void Record(cudaError_t error, Stream& stream) {
    if (error != cudaSuccess) stream.RecordError(cudaGetErrorString(error));
  }

  const int index_;
  const std::string name_;
  std::mutex mutex_;
  std::vector<cudaStream_t> queues_;
};

}  // namespace

std::unique_ptr<Backend> MakeCudaBackend(int index, const std::string& name) {
  return std::make_unique<Cuda>(index, name);
}

}  // namespace tandem::kernels
