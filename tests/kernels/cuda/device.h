// SPDX-License-Identifier: Apache-2.0
// What the tests of the CUDA table share: tensors on the device, weights in its own form, and a
// fixture with a stream.
//
// A test makes host tensors, runs the CPU reference on them, moves copies to the device, runs the
// CUDA operation there and fetches the result. Outputs start poisoned.
#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "kernels/common/cuda/device_stream.h"
#include "kernels/kernel_table.h"
#include "tests/kernels/testing.h"

namespace tandem::kernels {

// Bytes on the device, freed at the end.
class DeviceBytes {
 public:
  explicit DeviceBytes(int64_t size);
  ~DeviceBytes();
  DeviceBytes(const DeviceBytes&) = delete;
  DeviceBytes& operator=(const DeviceBytes&) = delete;

  uint8_t* data() const { return data_; }
  int64_t size() const { return size_; }
  void Write(const void* host, int64_t bytes, int64_t offset = 0);
  void Read(void* host, int64_t bytes, int64_t offset = 0) const;

 private:
  uint8_t* data_ = nullptr;
  int64_t size_ = 0;
};

// A tensor on the device, with the values of a host tensor (poison, if that is poisoned).
template <typename T, int kRank>
class DeviceTensor {
 public:
  explicit DeviceTensor(const Tensor<T, kRank>& host)
      : host_(host), bytes_(static_cast<int64_t>(host.values.size() * sizeof(T))) {
    bytes_.Write(host.values.data(), bytes_.size());
  }
  TensorView<T, kRank> view() const {
    TensorView<T, kRank> view = host_.view;
    view.data = reinterpret_cast<T*>(bytes_.data());
    return view;
  }
  operator TensorView<T, kRank>() const { return view(); }        // NOLINT
  operator TensorView<const T, kRank>() const { return view(); }  // NOLINT
  Tensor<T, kRank> Fetch() const {
    Tensor<T, kRank> out = host_;
    bytes_.Read(out.values.data(), bytes_.size());
    return out;
  }

 private:
  Tensor<T, kRank> host_;
  DeviceBytes bytes_;
};

// The weights in the CUDA table's form, evenly spaced in one block as moe_experts wants them.
class DeviceWeights {
 public:
  explicit DeviceWeights(const std::vector<const OwnedWeight*>& weights);
  const LinearWeight& operator[](int64_t i) const { return weights_[i]; }

 private:
  DeviceBytes storage_;
  std::vector<LinearWeight> weights_;
};

// Makes a stream, and fails the test if anything that ran on it failed.
class OnDevice : public testing::Test {
 protected:
  OnDevice();
  ~OnDevice() override;
  // Waits for the device; call before fetching.
  void Wait() { ASSERT_TRUE(Synchronize(stream)) << stream.error(); }

 private:
  cudaStream_t queue_ = nullptr;

 protected:
  const KernelTable& cuda = kCudaKernels;
  const KernelTable& reference = kCpuReferenceKernels;
  Stream stream;  // the device's
  Stream host;    // the reference's
};

}  // namespace tandem::kernels
