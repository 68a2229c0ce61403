// SPDX-License-Identifier: Apache-2.0
// Goal: pieces of a prompt's rows land where they belong whatever their size, nothing lands outside
// the lease, and where its rows go is worked out once a call. Method: the loop's share alone, piece
// by piece.
#include "services/decode/write_kv_reactor.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

constexpr int kTokens = 700;

class CopyPieceTest : public ::testing::Test {
 protected:
  absl::Status Copy(int tokens, uint32_t extent, uint64_t offset, std::string data) {
    v1::WriteKvRequest piece;
    piece.set_extent(extent);
    piece.set_offset(offset);
    piece.set_data(std::move(data));
    return CopyPiece({.tokens = tokens, .extents = &extents_, .piece = &piece, .reply = {}},
                     memory_, *pool_);
  }
  std::string Read(const KvExtent& extent) const {
    std::string out(extent.bytes, '\0');
    pool_->Read(extent.offset, absl::MakeSpan(out));
    return out;
  }
  std::string Everything() const { return Read({.offset = 0, .bytes = pool_->layout().bytes()}); }

  const std::unique_ptr<KvStorage> pool_ = [] {
    ModelConfig config;
    config.num_hidden_layers = 3;
    config.compress_ratios = {0, 4, 128};
    return *KvStorage::CreatePrivate(KvLayout::Create(config, {.pages = 8, .slots = 2}).value());
  }();
  const Grant memory_{.key = {}, .slot = 1, .pages = {6, 2, 3}};
  const std::vector<KvExtent> expected_ =
      pool_->layout().Extents({.slot = 1, .pages = memory_.pages}, kTokens);
  std::vector<KvExtent> extents_;  // the call's
};

TEST_F(CopyPieceTest, PiecesOfAnySizeLandInTheirExtents) {
  std::string all;
  for (const KvExtent& extent : expected_) {
    for (uint64_t i = 0; i < extent.bytes; ++i)
      all.push_back(static_cast<char>(all.size() * 2654435761U >> 13));
  }
  for (const uint64_t size : {uint64_t{5000}, uint64_t{100'000}, uint64_t{all.size()}}) {
    extents_.clear();
    pool_->Write(0, std::string(pool_->layout().bytes(), 'x'));
    KvCursor at;
    for (uint64_t begin = 0; begin < all.size(); begin += size) {
      const KvCursor here = at;
      const absl::Status status =
          Copy(kTokens, static_cast<uint32_t>(here.extent), here.offset, all.substr(begin, size));
      ASSERT_TRUE(status.ok()) << status;
      (void)TakeRuns(expected_, size, at);
    }
    size_t begin = 0;
    for (const KvExtent& extent : expected_) {
      ASSERT_EQ(Read(extent), all.substr(begin, extent.bytes)) << size;
      begin += extent.bytes;
    }
  }
}

TEST_F(CopyPieceTest, WhereRowsGoIsWorkedOutAtTheFirstPieceAlone) {
  ASSERT_TRUE(Copy(kTokens, 0, 0, "a").ok());
  ASSERT_EQ(extents_.size(), expected_.size());
  const KvExtent elsewhere{.offset = pool_->layout().bytes() - 64, .bytes = 64};
  extents_[1] = elsewhere;
  ASSERT_TRUE(Copy(kTokens, 1, 60, "here").ok());
  EXPECT_THAT(Read(elsewhere), HasSubstr("here"));
}

TEST_F(CopyPieceTest, NothingLandsOutsideTheLease) {
  pool_->Write(0, std::string(pool_->layout().bytes(), 'x'));
  const std::string before = Everything();
  EXPECT_THAT(Copy(0, 0, 0, "a").message(), HasSubstr("tokens: 1 to 768 (reserved), got 0"));
  EXPECT_THAT(Copy(769, 0, 0, "a").message(), HasSubstr("tokens"));
  const auto last = static_cast<uint32_t>(expected_.size() - 1);
  const uint64_t bytes = expected_.back().bytes;
  EXPECT_THAT(Copy(kTokens, last + 1, 0, "a").message(), HasSubstr("extent: below"));
  EXPECT_THAT(Copy(kTokens, last, bytes, "a").message(), HasSubstr("offset: below"));
  EXPECT_THAT(Copy(kTokens, last, ~uint64_t{0}, "a").message(), HasSubstr("offset: below"));
  EXPECT_THAT(Copy(kTokens, last, bytes - 1, "ab").message(), HasSubstr("data: at most 1 bytes"));
  EXPECT_EQ(Everything(), before);
  EXPECT_TRUE(Copy(kTokens, last, bytes - 1, "a").ok());
}

}  // namespace
}  // namespace tandem
