// SPDX-License-Identifier: Apache-2.0
// Goal: a recording that fails is an answer, and its stream can be used as if nothing had been
// tried; one that is made can be replayed. Method: a capture that CUDA refuses, one in which an
// operation fails, and one that is well; behind each the same copy runs. Runs where there is a GPU.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <memory>

#include "kernels/common/cuda/cuda_backend.h"

namespace tandem::kernels {
namespace {

class CudaBackendTest : public ::testing::Test {
 protected:
  static constexpr int64_t kBytes = 256;

  ~CudaBackendTest() override {
    backend_->Release(memory_);
    backend_->ReleaseStaging(staging_);
  }

  void Copy() { backend_->Copy({.to = memory_, .from = staging_, .bytes = kBytes}, stream_); }

  // Whether a copy arrives, whatever lay there.
  void ExpectUsable() {
    EXPECT_TRUE(stream_.ok()) << stream_.error();
    EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
    staging_[0] = ++value_;
    Copy();
    EXPECT_TRUE(backend_->Synchronize(stream_)) << stream_.error();
    EXPECT_EQ(Value(), value_);
  }

  uint8_t Value() {
    uint8_t value = 0;
    backend_->CopyNow({.to = &value, .from = memory_, .bytes = 1});
    return value;
  }

  const std::unique_ptr<Backend> backend_ = MakeCudaBackend(0, "gpu");
  Stream stream_ = backend_->MakeStream();
  uint8_t* const memory_ = backend_->Allocate(kBytes);
  uint8_t* const staging_ = backend_->AllocateStaging(kBytes);
  uint8_t value_ = 0;
};

TEST_F(CudaBackendTest, WhatIsRecordedRunsWhenItIsReplayed) {
  ExpectUsable();
  const Recorded made = backend_->Record([this] { Copy(); }, stream_);
  ASSERT_NE(made.recording, nullptr) << made.error;
  EXPECT_EQ(made.recording->launches(), 0);
  const uint8_t before = value_;
  staging_[0] = ++value_;
  EXPECT_TRUE(backend_->Synchronize(stream_));
  EXPECT_EQ(Value(), before);
  backend_->Replay(*made.recording, stream_);
  EXPECT_TRUE(backend_->Synchronize(stream_)) << stream_.error();
  EXPECT_EQ(Value(), value_);
}

TEST_F(CudaBackendTest, ACaptureThatCudaRefusesLeavesTheStreamUsable) {
  const auto wait = [this] {
    Copy();
    (void)cudaStreamSynchronize(static_cast<cudaStream_t>(stream_.queue()));
  };
  const Recorded made = backend_->Record(wait, stream_);
  EXPECT_EQ(made.recording, nullptr);
  EXPECT_NE(made.error, "");
  ExpectUsable();
  EXPECT_NE(backend_->Record([this] { Copy(); }, stream_).recording, nullptr);
}

TEST_F(CudaBackendTest, AnOperationThatFailsInACaptureLeavesTheStreamUsable) {
  const auto fail = [this] {
    Copy();
    stream_.RecordError("no such kernel");
    Copy();
  };
  const Recorded made = backend_->Record(fail, stream_);
  EXPECT_EQ(made.recording, nullptr);
  EXPECT_EQ(made.error, "no such kernel");
  ExpectUsable();
}

}  // namespace
}  // namespace tandem::kernels
