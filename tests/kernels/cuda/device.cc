// SPDX-License-Identifier: Apache-2.0
#include "tests/kernels/cuda/device.h"

#include <algorithm>

#include "kernels/common/contract.h"

namespace tandem::kernels {

DeviceBytes::DeviceBytes(int64_t size) : size_(size) {
  void* data = nullptr;
  KERNEL_CHECK_EQ(cudaMalloc(&data, static_cast<size_t>(std::max<int64_t>(size, 1))), cudaSuccess);
  data_ = static_cast<uint8_t*>(data);
}

DeviceBytes::~DeviceBytes() {
  (void)cudaFree(data_);
}

void DeviceBytes::Write(const void* host, int64_t bytes, int64_t offset) {
  KERNEL_CHECK_LE(offset + bytes, size_);
  KERNEL_CHECK_EQ(cudaMemcpy(data_ + offset, host, static_cast<size_t>(bytes), cudaMemcpyDefault),
                  cudaSuccess);
  // A copy of pageable memory returns when it is staged, and the tests' streams do not wait for it.
  KERNEL_CHECK_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);
}

void DeviceBytes::Read(void* host, int64_t bytes, int64_t offset) const {
  KERNEL_CHECK_LE(offset + bytes, size_);
  KERNEL_CHECK_EQ(cudaMemcpy(host, data_ + offset, static_cast<size_t>(bytes), cudaMemcpyDefault),
                  cudaSuccess);
}

namespace {

int64_t Stride(const std::vector<const OwnedWeight*>& weights) {
  int64_t stride = 0;
  for (const OwnedWeight* weight : weights) {
    stride = std::max(stride, (kCudaKernels.prepared_bytes(weight->plain()) + 255) / 256 * 256);
  }
  return stride;
}

}  // namespace

DeviceWeights::DeviceWeights(const std::vector<const OwnedWeight*>& weights)
    : storage_(Stride(weights) * static_cast<int64_t>(weights.size())) {
  const int64_t stride = Stride(weights);
  for (size_t i = 0; i < weights.size(); ++i) {
    LinearWeight weight = weights[i]->plain();
    kCudaKernels.prepare_linear(
        &weight, {storage_.data() + stride * static_cast<int64_t>(i), static_cast<size_t>(stride)});
    weights_.push_back(weight);
  }
}

OnDevice::OnDevice() {
  KERNEL_CHECK_EQ(cudaStreamCreateWithFlags(&queue_, cudaStreamNonBlocking), cudaSuccess);
  stream = MakeDeviceStream(queue_);
}

OnDevice::~OnDevice() {
  EXPECT_TRUE(Synchronize(stream)) << stream.error();
  (void)cudaStreamDestroy(queue_);
}

}  // namespace tandem::kernels
