// SPDX-License-Identifier: Apache-2.0
// Goal: scratch memory and the first error. Method: nested scopes, alignment, reuse, growth past
// the first block.
#include "kernels/common/stream.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

TEST(StreamTest, KeepsTheFirstErrorOnly) {
  Stream stream;
  EXPECT_TRUE(stream.ok());
  stream.RecordError("first");
  stream.RecordError("second");
  EXPECT_FALSE(stream.ok());
  EXPECT_EQ(stream.error(), "first");
  EXPECT_EQ(stream.TakeError(), "first");
  EXPECT_TRUE(stream.ok());
}

TEST(StreamTest, ScopesNestAndMemoryIsUsedAgain) {
  Stream stream;
  float* before;
  {
    Scratch outer(stream);
    before = outer.Take<float>(100);
    before[99] = 7;
    {
      Scratch inner(stream);
      float* other = inner.Take<float>(1 << 20);
      other[(1 << 20) - 1] = 1;
      EXPECT_NE(other, before);
    }
    EXPECT_EQ(before[99], 7);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(outer.Take<uint8_t>(1)) % 64, 0u);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(outer.Take<uint8_t>(1)) % 64, 0u);
  }
  Scratch again(stream);
  EXPECT_EQ(again.Take<float>(100), before);
}

}  // namespace
}  // namespace tandem::kernels
