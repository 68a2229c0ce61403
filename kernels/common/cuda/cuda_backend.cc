// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/cuda/cuda_backend.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

#include "kernels/common/backend/copy_many.h"
#include "kernels/common/contract.h"
#include "kernels/common/cuda/device_stream.h"
#include "kernels/common/cuda/queue_watcher.h"

namespace tandem::kernels {
namespace {

void Must(cudaError_t error) {
  KERNEL_CHECK_EQ(error, cudaSuccess);
}

cudaStream_t QueueOf(const Stream& stream) {
  return static_cast<cudaStream_t>(stream.queue());
}

// A CUDA graph.
class Graph final : public Recording {
 public:
  Graph(cudaGraphExec_t executable, int64_t launches)
      : executable_(executable), launches_(launches) {}
  ~Graph() override { (void)cudaGraphExecDestroy(executable_); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  int64_t launches() const override { return launches_; }
  cudaGraphExec_t executable() const { return executable_; }

 private:
  const cudaGraphExec_t executable_;
  const int64_t launches_;
};

class Cuda final : public Backend {
 public:
  Cuda(int index, const std::string& name) : index_(index), name_(name), watcher_(index) {}
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

  std::string Export(uint8_t* memory) override {
    Enter();
    cudaIpcMemHandle_t handle;
    if (cudaIpcGetMemHandle(&handle, memory) != cudaSuccess) {
      (void)cudaGetLastError();
      return {};
    }
    return std::string(reinterpret_cast<const char*>(&handle), sizeof handle) + PciAddress();
  }
  uint8_t* Import(const std::string& exported) override {
    Enter();
    cudaIpcMemHandle_t handle;
    if (exported.size() <= sizeof handle) return nullptr;
    std::memcpy(&handle, exported.data(), sizeof handle);
    void* memory = nullptr;
    if (cudaIpcOpenMemHandle(&memory, handle, cudaIpcMemLazyEnablePeerAccess) != cudaSuccess) {
      (void)cudaGetLastError();
      return nullptr;
    }
    return static_cast<uint8_t*>(memory);
  }
  void Unimport(uint8_t* memory) override {
    Enter();
    (void)cudaIpcCloseMemHandle(memory);
  }
  bool Holds(const std::string& exported) const override {
    return exported.substr(std::min(exported.size(), sizeof(cudaIpcMemHandle_t))) == PciAddress();
  }

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
    Note(cudaMemcpyAsync(copy.to, copy.from, static_cast<size_t>(copy.bytes), cudaMemcpyDefault,
                         QueueOf(stream)),
         stream);
  }
  void CopyMany(std::span<const CopyArgs> copies, Stream& stream) override {
    Enter();
    kernels::CopyMany(copies, stream);
  }
  void CopyNow(const CopyArgs& copy) override {
    Enter();
    Must(cudaMemcpyAsync(copy.to, copy.from, static_cast<size_t>(copy.bytes), cudaMemcpyDefault,
                         cudaStreamPerThread));
    Must(cudaStreamSynchronize(cudaStreamPerThread));
  }
  void CopyManyNow(std::span<const CopyArgs> copies) override {
    Enter();
    Stream stream = MakeDeviceStream(cudaStreamPerThread);
    kernels::CopyMany(copies, stream);
    KERNEL_CHECK(kernels::Synchronize(stream));
  }
  void Notify(std::function<void()> done, Stream& stream) override {
    Enter();
    Note(watcher_.Tell(QueueOf(stream), std::move(done)), stream);
  }
  bool Synchronize(Stream& stream) override {
    Enter();
    return kernels::Synchronize(stream);
  }

  bool Finished(Stream& stream) override {
    Enter();
    const cudaError_t state = cudaStreamQuery(QueueOf(stream));
    if (state == cudaErrorNotReady) return false;
    (void)Note(state, stream);
    return true;
  }

  Recorded Record(const std::function<void()>& queue, Stream& stream) override {
    Enter();
    if (!stream.ok()) return {.recording = nullptr, .error = stream.error()};
    // Relaxed: other threads copy meanwhile, and ask this GPU for memory.
    cudaError_t error = cudaStreamBeginCapture(QueueOf(stream), cudaStreamCaptureModeRelaxed);
    if (error != cudaSuccess) return NotRecorded(error);
    queue();
    cudaGraph_t graph = nullptr;
    // Ends the capture, whatever became of it.
    error = cudaStreamEndCapture(QueueOf(stream), &graph);
    std::string refused = stream.TakeError();  // by an operation that could not be captured
    const bool captured = error == cudaSuccess && refused.empty();
    Recorded out = captured ? Instantiate(graph, stream) : NotRecorded(error);
    if (!refused.empty()) out.error = std::move(refused);
    if (graph != nullptr) (void)cudaGraphDestroy(graph);
    return out;
  }
  void Replay(const Recording& recording, Stream& stream) override {
    Enter();
    Note(cudaGraphLaunch(static_cast<const Graph&>(recording).executable(), QueueOf(stream)),
         stream);
  }

 private:
  void Enter() const { Must(cudaSetDevice(index_)); }
  // Names the GPU to other processes, which may number it otherwise.
  std::string PciAddress() const {
    char address[32] = {};
    Must(cudaDeviceGetPCIBusId(address, sizeof address, index_));
    return address;
  }
  // The error is told to the caller; not to the next launch.
  static Recorded NotRecorded(cudaError_t error) {
    (void)cudaGetLastError();
    return {.recording = nullptr, .error = cudaGetErrorString(error)};
  }
  // Takes all the memory that replays need.
  static Recorded Instantiate(cudaGraph_t graph, const Stream& stream) {
    cudaGraphExec_t executable = nullptr;
    cudaError_t error = cudaGraphInstantiate(&executable, graph, 0);
    if (error != cudaSuccess) return NotRecorded(error);
    error = cudaGraphUpload(executable, QueueOf(stream));
    if (error == cudaSuccess)
      return {.recording = std::make_unique<Graph>(executable, KernelsOf(graph)), .error = {}};
    (void)cudaGraphExecDestroy(executable);
    return NotRecorded(error);
  }
  static int64_t KernelsOf(cudaGraph_t graph) {
    size_t size = 0;
    Must(cudaGraphGetNodes(graph, nullptr, &size));
    std::vector<cudaGraphNode_t> nodes(size);
    Must(cudaGraphGetNodes(graph, nodes.data(), &size));
    return std::count_if(nodes.begin(), nodes.end(), [](cudaGraphNode_t node) {
      cudaGraphNodeType type;
      Must(cudaGraphNodeGetType(node, &type));
      return type == cudaGraphNodeTypeKernel;
    });
  }
  // Whether it went well; if not, the stream knows.
  static bool Note(cudaError_t error, Stream& stream) {
    if (error != cudaSuccess) stream.RecordError(cudaGetErrorString(error));
    return error == cudaSuccess;
  }

  const int index_;
  const std::string name_;
  std::mutex mutex_;
  std::vector<cudaStream_t> queues_;
  QueueWatcher watcher_;
};

}  // namespace

std::unique_ptr<Backend> MakeCudaBackend(int index, const std::string& name) {
  return std::make_unique<Cuda>(index, name);
}

}  // namespace tandem::kernels
