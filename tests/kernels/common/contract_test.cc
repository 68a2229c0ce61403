// SPDX-License-Identifier: Apache-2.0
// Goal: a broken contract ends the process and says which and with what. Method: death tests.
#include "kernels/common/contract.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

TEST(ContractDeathTest, NamesTheConditionAndBothValues) {
  const int64_t rows = 3;
  EXPECT_DEATH(KERNEL_CHECK_EQ(rows, 4), "kernel contract violated: rows == 4; rows = 3; 4 = 4");
  EXPECT_DEATH(KERNEL_CHECK_MULTIPLE(rows, 2), "rows");
  KERNEL_CHECK_LE(rows, 3);
}

TEST(ContractDeathTest, OperationsCheckTheirShapes) {
  Tensor<Bf16, 2> x(2, 8), y(2, 9);
  Tensor<Bf16, 1> weight(8);
  Stream stream;
  EXPECT_DEATH(kCpuKernels.rms_norm({.x = x, .weight = weight, .y = y}, stream), "shape");
}

}  // namespace
}  // namespace tandem::kernels
