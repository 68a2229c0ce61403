// SPDX-License-Identifier: Apache-2.0
// Goal: a closed link's pages come back once nobody can write them: never while its process maps
// the pool; on a GPU some time after that, for what was queued there; at once where rows come
// another way. Method: a mapper in this process, and given times.
#include "services/decode/links.h"

#include "gtest/gtest.h"

namespace tandem {
namespace {

constexpr size_t kBytes = 4096;
constexpr LinkId kLink = 3;

class LinksTest : public ::testing::Test {
 protected:
  // A link that is closed at once.
  void Close(Links& links, v1::KvChannelKind kind) {
    links.Open({.link = kLink, .kind = kind, .send = [](const v1::LinkResponse&) {}});
    links.Close({.link = kLink, .dispose = [this] { ++disposed_; }});
  }

  const absl::Time begin_ = absl::UnixEpoch();
  const std::unique_ptr<SharedMemory> pool_ = *SharedMemory::Create(kBytes);
  std::unique_ptr<SharedMemory> mapper_ = *SharedMemory::Open(pool_->name(), kBytes, kLink);
  int disposed_ = 0;
};

TEST_F(LinksTest, OnTheHostThePagesAreFreeOnceTheMappingIsGone) {
  Links links(pool_.get(), /*on_gpu=*/false);
  Close(links, v1::KV_CHANNEL_KIND_SHARED);
  EXPECT_TRUE(links.TakeDead(begin_).empty());
  EXPECT_TRUE(links.TakeDead(begin_ + absl::Hours(1)).empty());
  mapper_.reset();
  EXPECT_EQ(links.TakeDead(begin_ + absl::Hours(1)), std::vector<LinkId>{kLink});
  EXPECT_TRUE(links.TakeDead(begin_ + absl::Hours(1)).empty());
  EXPECT_EQ(disposed_, 1);
}

TEST_F(LinksTest, OnAGpuWhatWasQueuedMayRunOnForAWhile) {
  for (const v1::KvChannelKind kind : {v1::KV_CHANNEL_KIND_SHARED, v1::KV_CHANNEL_KIND_IPC}) {
    Links links(pool_.get(), /*on_gpu=*/true);
    Close(links, kind);
    if (mapper_ != nullptr) {
      EXPECT_TRUE(links.TakeDead(begin_).empty());
      EXPECT_TRUE(links.TakeDead(begin_ + absl::Hours(1)).empty());
      mapper_.reset();
    }
    const absl::Time gone = begin_ + absl::Hours(2);
    EXPECT_TRUE(links.TakeDead(gone).empty());
    EXPECT_TRUE(links.TakeDead(gone + absl::Seconds(1)).empty());
    EXPECT_EQ(links.TakeDead(gone + absl::Seconds(2)), std::vector<LinkId>{kLink});
  }
}

TEST_F(LinksTest, RowsThatCameAsBytesComeNoMore) {
  mapper_.reset();
  Links links(pool_.get(), /*on_gpu=*/true);
  Close(links, v1::KV_CHANNEL_KIND_GRPC);
  EXPECT_EQ(disposed_, 1);
  EXPECT_EQ(links.TakeDead(begin_), std::vector<LinkId>{kLink});
}

}  // namespace
}  // namespace tandem
