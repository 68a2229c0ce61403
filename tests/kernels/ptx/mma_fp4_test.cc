// SPDX-License-Identifier: Apache-2.0
// Goal: the emulated block-scaled product of FP4 is the PTX ISA's; no GPU needed. Method: the
// emulation's own code for all 32 lanes against plain matrices (fragment_model.h), bit by bit, for
// every selector, extreme scales and NaN scales.
#include "tests/kernels/gemm/fragment_model.h"
#include "tests/kernels/ptx/mma_block_scale_probe.h"

namespace tandem::kernels {
namespace {

class MmaFp4Test : public testing::Test {
 protected:
  void Compare(const WarpRegisters& warp, const ptx::ScaleSelect& select) {
    WarpRegisters actual = warp, expected = warp;
    EmulateFp4Warp(select, &actual);
    WarpMatrices m = ReadFp4Fragments(select, warp);
    MultiplyMatrices(m);
    WriteSums(m, &expected);
    ExpectSameSums(actual, expected);
  }
  Random random{std::random_device{}()};
};

TEST_F(MmaFp4Test, IsThePlainProductForEverySelector) {
  SCOPED_TRACE(random.Trace());
  for (int i = 0; i < cuda::kFp4ScaleSelects; ++i) {
    Compare(RandomRegisters(random, 127, 9), cuda::ProbedFp4Select(i));
  }
}

TEST_F(MmaFp4Test, HoldsAtEveryScale) {
  SCOPED_TRACE(random.Trace());
  for (int middle = 2; middle <= 252; middle += 10) {
    Compare(RandomRegisters(random, middle, 2), {2, 1, 2, 3});
  }
}

TEST_F(MmaFp4Test, ANanScaleSpoilsItsRowOrColumn) {
  SCOPED_TRACE(random.Trace());
  for (int trial = 0; trial < 32; ++trial) {
    WarpRegisters warp = RandomRegisters(random, 127, 3);
    warp.word[random.Below(32)][ptx::kMxScaleA + trial % 2] |= 0xFFu << (8 * random.Below(4));
    Compare(warp, cuda::ProbedFp4Select(trial % cuda::kFp4ScaleSelects));
  }
}

}  // namespace
}  // namespace tandem::kernels
