// SPDX-License-Identifier: Apache-2.0
// Goal: every device has its whole table. Method: no slot of any table is null; names tell tables
// apart.
#include "kernels/select.h"

#include <cstring>
#include <string>

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

class SelectTest : public OnTable {};
ON_EVERY_TABLE(SelectTest);

TEST_P(SelectTest, EverySlotOfTheTableIsFilled) {
  static_assert(sizeof(KernelTable) % sizeof(void*) == 0);
  for (size_t at = 0; at < sizeof(KernelTable); at += sizeof(void*)) {
    void* slot;
    std::memcpy(&slot, reinterpret_cast<const char*>(&kernels) + at, sizeof(slot));
    EXPECT_NE(slot, nullptr) << at / sizeof(void*);
  }
}

TEST(SelectTablesTest, HaveTheirOwnNames) {
  EXPECT_EQ(std::string(SelectKernels(Device::kCpu).name), "cpu");
  EXPECT_EQ(std::string(SelectKernels(Device::kCpuReference).name), "cpu_reference");
}

TEST(SelectTablesTest, AGpuThatIsNotThereIsExplained) {
  const Gpu gpu = SelectGpu(1 << 20);
  EXPECT_EQ(gpu.backend, nullptr);
  EXPECT_FALSE(gpu.why.empty());
}

}  // namespace
}  // namespace tandem::kernels
