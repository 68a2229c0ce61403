// SPDX-License-Identifier: Apache-2.0
// Goal: what the host writes stands in the backend's memory after one copy, and the other way
// round; the same pieces lie at the same place in every step. Method: a backend that counts what it
// is asked for, on the host.
#include "kernels/common/backend/mirror.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "kernels/common/backend/memory.h"

namespace tandem::kernels {
namespace {

class CountingBackend final : public Backend {
 public:
  std::string Describe() const override { return "counting"; }
  uint8_t* Allocate(int64_t bytes) override {
    if (bytes > most) return nullptr;
    ++live;
    return HostBackend().Allocate(bytes);
  }
  void Release(uint8_t* memory) override {
    --live;
    HostBackend().Release(memory);
  }
  bool ReadsHost() const override { return false; }
  std::string Export(uint8_t* /*memory*/) override { return {}; }
  uint8_t* Import(const std::string& /*exported*/) override { return nullptr; }
  void Unimport(uint8_t* /*memory*/) override {}
  uint8_t* AllocateStaging(int64_t bytes) override { return Allocate(bytes); }
  void ReleaseStaging(uint8_t* memory) override { Release(memory); }
  Stream MakeStream() override { return {}; }
  void Copy(const CopyArgs& copy, Stream& /*stream*/) override {
    ++copies;
    CopyNow(copy);
  }
  void CopyNow(const CopyArgs& copy) override { HostBackend().CopyNow(copy); }
  void Notify(std::function<void()> done, Stream& stream) override {
    HostBackend().Notify(std::move(done), stream);
  }
  bool Synchronize(Stream& stream) override { return HostBackend().Synchronize(stream); }
  std::unique_ptr<Recording> Record(const std::function<void()>& queue, Stream& stream) override {
    return HostBackend().Record(queue, stream);
  }
  void Replay(const Recording& /*recording*/, Stream& /*stream*/) override {}

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
