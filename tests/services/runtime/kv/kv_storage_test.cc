// SPDX-License-Identifier: Apache-2.0
// Goal: a shared pool is the same bytes on both sides, in host memory and in a device's; what does
// not fit together is refused; a mapper is seen until it is gone. Method: both sides in one
// process; the device is host memory that is handed over by its address.
#include "services/runtime/kv/kv_storage.h"

#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/kernels/common/backend/fake_device.h"

namespace tandem {
namespace {

class FakeGpu final : public kernels::FakeDevice {
 public:
  std::string Export(uint8_t* memory) override {
    return {reinterpret_cast<const char*>(&memory), sizeof memory};
  }
  uint8_t* Import(const std::string& exported) override {
    uint8_t* memory = nullptr;
    if (exported.size() == sizeof memory) std::memcpy(&memory, exported.data(), sizeof memory);
    imported += static_cast<int>(memory != nullptr);
    return memory;
  }
  void Unimport(uint8_t* /*memory*/) override { --imported; }
  void CopyMany(std::span<const kernels::CopyArgs> copies, kernels::Stream& stream) override {
    if (stores_arrive) FakeDevice::CopyMany(copies, stream);
  }

  int imported = 0;
  bool stores_arrive = true;
};

KvLayout SmallLayout() {
  ModelConfig config;
  config.num_hidden_layers = 2;
  config.compress_ratios = {0, 4};
  return *KvLayout::Create(config, {.pages = 3, .slots = 2});
}

KvStorage::Offer OfferOf(const KvStorage& storage, uint32_t mapper_id) {
  return {.name = storage.shared()->name(),
          .copies = static_cast<int>(storage.backends().size()),
          .gpu_memory = storage.gpu_memory(),
          .mapper_id = mapper_id};
}

// Every rank's copy is the same memory on both sides, and no other copy's.
void ExpectOnePool(KvStorage::Backends backends) {
  const KvLayout layout = SmallLayout();
  const auto ours = KvStorage::CreateShared(layout, backends);
  ASSERT_TRUE(ours.ok()) << ours.status();
  auto theirs = KvStorage::OpenShared(layout, OfferOf(**ours, 5), backends);
  ASSERT_TRUE(theirs.ok()) << theirs.status();
  std::string pattern((*ours)->pattern_bytes(), ' ');
  EXPECT_EQ(pattern.size(), backends.size() * KvStorage::kTestCellBytes);
  for (size_t i = 0; i < pattern.size(); ++i) pattern[i] = static_cast<char>(i);
  (*ours)->WriteTest(5, pattern);
  EXPECT_EQ((*theirs)->ReadTest(5), pattern);
  (*theirs)->Write(layout.bytes() - 3, "row");
  std::string row(3, ' ');
  (*ours)->Read(layout.bytes() - 3, absl::MakeSpan(row));
  EXPECT_EQ(row, "row");
  const KvView view = (*ours)->view();
  ASSERT_EQ(view.copies.size(), backends.size());
  EXPECT_EQ(view.base, view.copies[0]);
  for (size_t r = 0; r < backends.size(); ++r) {
    EXPECT_EQ(std::memcmp(view.OfRank(static_cast<int>(r)).base + layout.bytes() - 3, "row", 3), 0);
    for (size_t o = 0; o < r; ++o) {
      EXPECT_GE(static_cast<uint64_t>(std::abs(view.copies[r] - view.copies[o])), layout.bytes());
    }
  }
  EXPECT_TRUE((*ours)->shared()->MapperAlive(5));
  theirs->reset();
  EXPECT_FALSE((*ours)->shared()->MapperAlive(5));
}

TEST(KvStorageTest, ProcessesShareAPoolInHostMemory) {
  ExpectOnePool(KvStorage::OnHost());
  ExpectOnePool({&kernels::HostBackend(), &kernels::HostBackend(), &kernels::HostBackend()});
}

TEST(KvStorageTest, ProcessesShareAPoolOnGpus) {
  FakeGpu gpus[2];
  ExpectOnePool({&gpus[0]});
  ExpectOnePool({&gpus[0], &gpus[1]});
  EXPECT_EQ(gpus[0].imported, 0);
  EXPECT_EQ(gpus[1].imported, 0);
}

// Copies would arrive all the same.
TEST(KvStorageTest, TheTestsAnswerGoesTheWayOfRows) {
  FakeGpu gpus[2];
  const KvLayout layout = SmallLayout();
  const std::vector<kernels::Backend*> backends = {&gpus[0], &gpus[1]};
  const auto ours = KvStorage::CreateShared(layout, backends);
  ASSERT_TRUE(ours.ok()) << ours.status();
  const auto theirs = KvStorage::OpenShared(layout, OfferOf(**ours, 5), backends);
  ASSERT_TRUE(theirs.ok()) << theirs.status();
  const std::string pattern((*ours)->pattern_bytes(), 'p');
  (*ours)->WriteTest(5, pattern);
  gpus[1].stores_arrive = false;
  (*theirs)->WriteTest(5, Inverted(pattern));
  EXPECT_NE((*ours)->ReadTest(5), Inverted(pattern));
  gpus[1].stores_arrive = true;
  (*theirs)->WriteTest(5, Inverted(pattern));
  EXPECT_EQ((*ours)->ReadTest(5), Inverted(pattern));
}

TEST(KvStorageTest, APoolOfOtherRanksIsRefused) {
  FakeGpu gpus[2];
  const KvLayout layout = SmallLayout();
  const auto of_two = KvStorage::CreateShared(layout, {&gpus[0], &gpus[1]});
  const auto of_one = KvStorage::CreateShared(layout);
  ASSERT_TRUE(of_two.ok() && of_one.ok());
  EXPECT_EQ(KvStorage::OpenShared(layout, OfferOf(**of_two, 5), {&gpus[0]}).status().message(),
            "the offered pool is one of 2 ranks, but this worker has 1");
  const auto two = {&kernels::HostBackend(), &kernels::HostBackend()};
  EXPECT_EQ(KvStorage::OpenShared(layout, OfferOf(**of_one, 5), two).status().message(),
            "the offered pool is one of 1 ranks, but this worker has 2");
}

TEST(KvStorageTest, MemoryOfAnotherKindIsRefused) {
  FakeGpu gpu;
  const KvLayout layout = SmallLayout();
  const auto on_gpu = KvStorage::CreateShared(layout, {&gpu});
  const auto on_host = KvStorage::CreateShared(layout);
  ASSERT_TRUE(on_gpu.ok() && on_host.ok());
  EXPECT_EQ(KvStorage::OpenShared(layout, OfferOf(**on_gpu, 5)).status().message(),
            "the offered pool is in a GPU's memory, but cpu computes here");
  EXPECT_EQ(KvStorage::OpenShared(layout, OfferOf(**on_host, 5), {&gpu}).status().message(),
            "the offered pool is in host memory, but fake computes here");
  KvStorage::Offer bad = OfferOf(**on_gpu, 5);
  bad.gpu_memory = {"no handle"};
  EXPECT_TRUE(absl::IsFailedPrecondition(KvStorage::OpenShared(layout, bad, {&gpu}).status()));
}

TEST(KvStorageTest, APrivatePoolIsReadAndWritten) {
  FakeGpu gpu;
  const KvLayout layout = SmallLayout();
  const auto pool = KvStorage::CreatePrivate(layout, {&gpu});
  ASSERT_TRUE(pool.ok());
  EXPECT_EQ((*pool)->shared(), nullptr);
  (*pool)->Write(100, "bytes");
  std::string bytes(5, ' ');
  (*pool)->Read(100, absl::MakeSpan(bytes));
  EXPECT_EQ(bytes, "bytes");
}

}  // namespace
}  // namespace tandem
