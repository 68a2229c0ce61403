// SPDX-License-Identifier: Apache-2.0
// Goal: once the largest step has run, a step takes no memory from the heap.
// Method: this binary counts every operator new; a prefill chunk and a decode batch run twice, the
// second time counted.
#include <atomic>
#include <cstdlib>
#include <new>
#include <vector>

#include "gtest/gtest.h"
#include "tests/services/runtime/model/golden.h"

namespace {

std::atomic<int64_t> allocations{0};

}  // namespace

void* operator new(size_t size) {
  ++allocations;
  void* memory = std::malloc(size);
  if (memory == nullptr) std::abort();
  return memory;
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}

namespace tandem {
namespace {

TEST(AllocationTest, AStepTakesNothingFromTheHeap) {
  const LoadedModel& loaded = ModelNamed("tiny", kernels::kCpuKernels);
  const auto model = MakeModel(loaded, kernels::kCpuKernels);
  Pool pool(loaded.config(), {.pages = 8, .slots = 4});
  const std::vector<int32_t> tokens = LoadGolden("golden_tiny.json")[0].prompt;
  const auto all = absl::MakeConstSpan(tokens);
  const int32_t pages[4][2] = {{0, 1}, {2, 3}, {4, 5}, {6, 7}};
  const auto step = [&](int first, int count, int sequences) {
    SequenceChunk chunks[4];
    for (int s = 0; s < sequences; ++s) {
      chunks[s] = {
          .tokens = all.subspan(first, count), .start = first, .slot = s, .pages = pages[s]};
    }
    const int64_t before = allocations;
    model->Forward(absl::MakeSpan(chunks, sequences), pool.view(), [](const LogitsBlock&) {});
    return allocations - before;
  };
  EXPECT_GT(step(0, 64, 4), 0);  // the counter counts: kernels take their scratch here
  step(64, 64, 4);
  EXPECT_EQ(step(0, 64, 4), 0);
  EXPECT_EQ(step(64, 64, 4), 0);
  EXPECT_EQ(step(128, 1, 4), 0);
}

}  // namespace
}  // namespace tandem
