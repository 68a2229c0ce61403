// SPDX-License-Identifier: Apache-2.0
// Goal: a prompt of V4-Flash gets from pool to pool in GPU memory, to the byte, and what is left to
// wait for at its end is short. Method: pools on the first and the last GPU of this machine, one
// and the same if there is one; time is printed.
#include <iostream>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "kernels/common/cuda/cuda_backend.h"
#include "kernels/common/probe/gpu_list.h"
#include "services/runtime/transfer/ipc_channel.h"

namespace tandem {
namespace {

constexpr int kTokens = 8192;
constexpr int kChunk = 4096;

KvLayout FlashLayout(KvLayout::Size size) {
  const auto config = ModelConfig::FromFolder(TANDEM_SOURCE_DIR "/deploy/models/v4-flash");
  return KvLayout::Create(config.value(), size).value();
}

class IpcChannelCudaTest : public testing::Test {
 protected:
  IpcChannelCudaTest()
      : near_(kernels::MakeCudaBackend(0, "near")),
        far_(
            kernels::MakeCudaBackend(std::max<int>(1, kernels::ListGpus().gpus.size()) - 1, "far")),
        staging_{.storage =
                     *KvStorage::CreatePrivate(FlashLayout({.pages = 64, .slots = 2}), near_only_),
                 .pages = PagePool(64, 2)},
        copier_(near_only_) {
    auto pool = *KvStorage::CreatePrivate(FlashLayout({.pages = 128, .slots = 4}), far_only_);
    pool_ = pool.get();
    channel_ = std::make_unique<IpcChannel>(staging_, copier_, std::move(pool));
    std::mt19937_64 random(1);
    std::string bytes(staging_.storage->layout().bytes(), '\0');
    for (size_t i = 0; i + 8 <= bytes.size(); i += 8) {
      const uint64_t word = random();
      std::copy_n(reinterpret_cast<const char*>(&word), 8, &bytes[i]);
    }
    staging_.storage->Write(0, bytes);
  }

  // How long the end of a prompt waits for its rows.
  absl::Duration HandOver(const Grant& lease, bool ahead) {
    const auto place = channel_->Open(lease, kTokens);
    EXPECT_TRUE(place.ok()) << place.status();
    if (ahead) {
      channel_->Advance(lease.key, kTokens - kChunk);
      absl::SleepFor(absl::Milliseconds(50));  // the last chunk is computed
    }
    const absl::Time begin = absl::Now();
    channel_->Write(lease.key, kTokens);
    absl::Notification passed;
    channel_->Fence(lease.key, [&](const absl::Status& status) {
      EXPECT_TRUE(status.ok()) << status;
      passed.Notify();
    });
    passed.WaitForNotification();
    const absl::Duration waited = absl::Now() - begin;
    Compare({.slot = place->slot, .pages = place->pages},
            {.slot = lease.slot, .pages = lease.pages});
    channel_->Close(lease.key);
    return waited;
  }

  void Compare(const KvPlacement& here, const KvPlacement& there) const {
    const auto from = staging_.storage->layout().Extents(here, kTokens);
    const auto to = pool_->layout().Extents(there, kTokens);
    for (size_t i = 0; i < from.size(); ++i) {
      std::string sent(from[i].bytes, '\0'), arrived(from[i].bytes, '\0');
      staging_.storage->Read(from[i].offset, absl::MakeSpan(sent));
      pool_->Read(to[i].offset, absl::MakeSpan(arrived));
      ASSERT_EQ(sent, arrived) << "extent " << i;
    }
  }

  std::unique_ptr<kernels::Backend> near_, far_;
  kernels::Backend* const near_only_[1] = {near_.get()};
  kernels::Backend* const far_only_[1] = {far_.get()};
  StagingPool staging_;
  KvCopier copier_;
  KvStorage* pool_ = nullptr;
  std::unique_ptr<IpcChannel> channel_;
};

TEST_F(IpcChannelCudaTest, APromptOfFlashArrives) {
  std::vector<int> pages(kTokens / kPageTokens);
  std::iota(pages.begin(), pages.end(), 40);
  for (const bool ahead : {false, true, false, true}) {
    const Grant lease{.key = {.lease_id = 1}, .slot = 2, .pages = pages};
    std::cout << kTokens << " tokens, " << (ahead ? "half of it ahead" : "all at the end") << ": "
              << absl::ToDoubleMilliseconds(HandOver(lease, ahead)) << " ms\n";
  }
  std::reverse(pages.begin(), pages.end());  // no two pages are neighbours on both sides
  const Grant scattered{.key = {.lease_id = 2}, .slot = 1, .pages = pages};
  std::cout << kTokens << " tokens in scattered pages, all at the end: "
            << absl::ToDoubleMilliseconds(HandOver(scattered, false)) << " ms\n";
}

}  // namespace
}  // namespace tandem
