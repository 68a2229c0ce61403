// SPDX-License-Identifier: Apache-2.0
// Goal: what the host writes stands in the backend's memory after one copy, and the other way
// round; the same pieces lie at the same place in every step. Method: a backend that counts what it
// is asked for, on the host.
#include "kernels/common/backend/mirror.h"

#include <gtest/gtest.h>

#include "kernels/common/backend/memory.h"
#include "tests/kernels/common/backend/fake_device.h"

namespace tandem::kernels {
namespace {

class CountingBackend final : public FakeDevice {
 public:
  uint8_t* Allocate(int64_t bytes) override {
    if (bytes > most) return nullptr;
    ++live;
    return FakeDevice::Allocate(bytes);
  }
  void Release(uint8_t* memory) override {
    --live;
    FakeDevice::Release(memory);
  }
  void Copy(const CopyArgs& copy, Stream& /*stream*/) override {
    ++copies;
    CopyNow(copy);
  }

  int64_t most = int64_t{1} << 20;
  int live = 0;
  int copies = 0;
};

TEST(MirrorTest, AllPiecesTravelByOneCopy) {
  CountingBackend backend;
  Stream stream;
  {
    Mirror mirror(backend);
    mirror.Reset(Mirror::Room<int32_t>(3) + Mirror::Room<double>(100));
    const auto small = mirror.Take<int32_t>(3);
    const auto large = mirror.Take<double>(100);
    small.host[2] = 7;
    large.host[99] = 0.5;
    mirror.ToDevice(stream);
    EXPECT_EQ(backend.copies, 1);
    EXPECT_EQ(small.device[2], 7);
    EXPECT_EQ(large.device[99], 0.5);
    small.device[2] = 8;
    mirror.ToHost(stream);
    EXPECT_EQ(small.host[2], 8);
  }
  EXPECT_EQ(backend.live, 0);
}

TEST(MirrorTest, PiecesStayWhereTheyAreUntilMoreRoomIsNeeded) {
  CountingBackend backend;
  Mirror mirror(backend);
  mirror.Reset(1000);
  const auto* const first = mirror.Take<uint8_t>(1000).device;
  for (const int64_t room : {1000, 10, 1000}) {
    mirror.Reset(room);
    EXPECT_EQ(mirror.Take<uint8_t>(room).device, first);
  }
  mirror.Reset(100'000);
  (void)mirror.Take<uint8_t>(100'000);
}

TEST(MirrorTest, AnEmptyStepCopiesNothing) {
  CountingBackend backend;
  Stream stream;
  Mirror mirror(backend);
  mirror.Reset(0);
  (void)mirror.Take<int32_t>(0);
  mirror.ToDevice(stream);
  mirror.ToHost(stream);
  EXPECT_EQ(backend.copies, 0);
}

TEST(MirrorDeathTest, MoreThanTheRoomIsABug) {
  Mirror mirror(HostBackend());
  mirror.Reset(64);
  EXPECT_DEATH((void)mirror.Take<uint8_t>(4096), "capacity");
}

TEST(MemoryTest, SaysWhatIsMissingAndGivesAllBack) {
  CountingBackend backend;
  {
    Memory memory(backend);
    const Buffer<float> buffer(memory, 64);
    EXPECT_EQ(buffer.View(4, 16).size(), 64);
    EXPECT_TRUE(memory.ok());
    EXPECT_EQ(memory.bytes(), 256);
    EXPECT_EQ(memory.Take(int64_t{1} << 30), nullptr);
    EXPECT_FALSE(memory.ok());
  }
  EXPECT_EQ(backend.live, 0);
}

}  // namespace
}  // namespace tandem::kernels
