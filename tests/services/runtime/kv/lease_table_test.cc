// SPDX-License-Identifier: Apache-2.0
// Goal: memory is freed exactly once, and never while an in-place writer may still write. Method:
// each edge of the state machine by hand, then random events against a model of who may write
// where.
#include "services/runtime/kv/lease_table.h"

#include <map>
#include <random>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/base/clock.h"

namespace tandem {
namespace {

constexpr LinkId kLink = 7;

class LeaseTableTest : public ::testing::Test {
 protected:
  Grant MustGrant(int64_t tokens = 300) {
    auto grant = table_.GrantLease(tokens, clock_.Now());
    EXPECT_TRUE(grant.ok()) << grant.status();
    return *grant;
  }
  absl::Status EndWrite(const LeaseKey& key, LinkId link, int64_t tokens = 290) {
    return table_.EndWrite(key, {.link = link, .tokens = tokens}, clock_.Now());
  }
  bool AllFree() const {
    return table_.pool().pages_free() == 8 && table_.pool().slots_free() == 4;
  }

  ManualClock clock_;
  LeaseTable table_{{.incarnation = 11, .seed = 5, .ttl = absl::Seconds(10)},
                    PagePool(/*pages=*/8, /*slots=*/4)};
};

TEST_F(LeaseTableTest, AGoodLifeEndsWithAllMemoryFree) {
  const Grant grant = MustGrant();
  EXPECT_EQ(grant.pages.size(), 2U);
  ASSERT_TRUE(table_.BeginWrite(grant.key, kLink, /*in_place=*/true).ok());
  ASSERT_TRUE(EndWrite(grant.key, kLink).ok());
  const auto committed = table_.Commit(grant.key, 290);
  ASSERT_TRUE(committed.ok());
  EXPECT_EQ(committed->pages, grant.pages);
  clock_.Advance(absl::Hours(1));
  EXPECT_TRUE(table_.Expire(clock_.Now()).empty()) << "what is committed does not expire";
  table_.Finish(grant.key);
  EXPECT_TRUE(AllFree());
}

TEST_F(LeaseTableTest, RefusesAnythingOutOfOrderOrOutOfDate) {
  const Grant grant = MustGrant();
  EXPECT_EQ(table_.Commit(grant.key, 290).status().code(), absl::StatusCode::kAborted)
      << "nothing was written yet";
  EXPECT_FALSE(EndWrite(grant.key, kLink).ok());
  LeaseKey stale = grant.key;
  ++stale.epoch;
  EXPECT_FALSE(table_.BeginWrite(stale, kLink, true).ok());
  stale = grant.key;
  ++stale.incarnation;
  EXPECT_FALSE(table_.BeginWrite(stale, kLink, true).ok());
  ASSERT_TRUE(table_.BeginWrite(grant.key, kLink, true).ok());
  EXPECT_FALSE(table_.BeginWrite(grant.key, kLink, true).ok()) << "one writer, once";
  EXPECT_FALSE(table_.WritableByBytes(grant.key).ok()) << "an in-place writer sends no bytes";
  EXPECT_FALSE(table_.Commit(grant.key, 290).ok()) << "still being written to";
}

TEST_F(LeaseTableTest, AnotherNumberOfTokensThanWereFilledEndsTheLease) {
  for (const int64_t filled : {290, 0}) {
    const Grant grant = MustGrant();
    ASSERT_TRUE(table_.BeginWrite(grant.key, kLink, /*in_place=*/true).ok());
    ASSERT_TRUE(EndWrite(grant.key, kLink, filled).ok());
    const auto committed = table_.Commit(grant.key, 291);
    EXPECT_EQ(committed.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(committed.status().message(),
              absl::StrCat("as many as prefill has read, ", filled, ", got 291"));
    EXPECT_TRUE(AllFree());
    EXPECT_EQ(table_.Commit(grant.key, filled).status().code(), absl::StatusCode::kAborted);
  }
}

TEST_F(LeaseTableTest, TimeAloneNeverFreesWhatAnInPlaceWriterCanReach) {
  const Grant grant = MustGrant();
  EXPECT_EQ(table_.counts().pages_writing, 0);
  ASSERT_TRUE(table_.BeginWrite(grant.key, kLink, /*in_place=*/true).ok());
  EXPECT_EQ(table_.counts().pages_writing, 2);
  const auto revoked = table_.Release(grant.key);
  ASSERT_EQ(revoked.size(), 1U);
  EXPECT_EQ(revoked[0].link, kLink);
  EXPECT_FALSE(AllFree());
  EXPECT_EQ(table_.counts().pages_quarantined, 2);
  EXPECT_EQ(table_.counts().pages_writing, 0);
  clock_.Advance(absl::Hours(1));
  EXPECT_TRUE(table_.Expire(clock_.Now()).empty());
  table_.LinkLost(kLink);
  EXPECT_FALSE(AllFree()) << "a lost connection is not a dead process";
  table_.LinkDead(kLink);
  EXPECT_TRUE(AllFree());
}

TEST_F(LeaseTableTest, AWriterThatSaysItIsDoneEndsTheQuarantine) {
  const Grant grant = MustGrant();
  ASSERT_TRUE(table_.BeginWrite(grant.key, kLink, /*in_place=*/true).ok());
  EXPECT_EQ(table_.Release(grant.key).size(), 1U);
  EXPECT_FALSE(AllFree());
  EXPECT_FALSE(EndWrite(grant.key, kLink).ok()) << "too late to be of use";
  EXPECT_TRUE(AllFree());
}

TEST_F(LeaseTableTest, ByteWritersNeedNoQuarantine) {
  const Grant grant = MustGrant();
  ASSERT_TRUE(table_.BeginWrite(grant.key, kLink, /*in_place=*/false).ok());
  EXPECT_TRUE(table_.WritableByBytes(grant.key).ok());
  EXPECT_EQ(table_.Release(grant.key).size(), 1U);
  EXPECT_TRUE(AllFree());
  EXPECT_FALSE(table_.WritableByBytes(grant.key).ok());
}

// A long prompt, or one that waits behind others: longer than any lease that nobody has taken up.
TEST_F(LeaseTableTest, ALeaseLastsAsLongAsItsWriter) {
  for (const bool in_place : {true, false}) {
    const Grant grant = MustGrant();
    clock_.Advance(absl::Seconds(9));
    ASSERT_TRUE(table_.BeginWrite(grant.key, kLink, in_place).ok());
    clock_.Advance(absl::Minutes(10));
    EXPECT_TRUE(table_.Expire(clock_.Now()).empty());
    EXPECT_EQ(table_.WritableByBytes(grant.key).ok(), !in_place);
    EXPECT_EQ(table_.WritableByLink(grant.key, kLink).ok(), in_place);
    ASSERT_TRUE(EndWrite(grant.key, kLink).ok());
    // And whoever reads it has the same time as its writer had to begin.
    clock_.Advance(absl::Seconds(9));
    EXPECT_TRUE(table_.Expire(clock_.Now()).empty());
    ASSERT_TRUE(table_.Commit(grant.key, 290).ok());
    table_.Finish(grant.key);
    EXPECT_TRUE(AllFree());
  }
}

TEST_F(LeaseTableTest, AWriterThatIsGoneLeavesNothingBehind) {
  const Grant in_place = MustGrant();
  const Grant bytes = MustGrant();
  ASSERT_TRUE(table_.BeginWrite(in_place.key, kLink, /*in_place=*/true).ok());
  ASSERT_TRUE(table_.BeginWrite(bytes.key, kLink, /*in_place=*/false).ok());
  table_.LinkLost(kLink);
  EXPECT_EQ(table_.counts().writing, 0);
  EXPECT_EQ(table_.counts().quarantined, 1);
  table_.LinkDead(kLink);
  EXPECT_TRUE(AllFree());
  // One that has given up has ended as well: then nobody needs to hear of it.
  const Grant given_up = MustGrant();
  ASSERT_TRUE(table_.BeginWrite(given_up.key, kLink, /*in_place=*/true).ok());
  ASSERT_TRUE(EndWrite(given_up.key, kLink, 0).ok());
  clock_.Advance(absl::Seconds(10));
  EXPECT_EQ(table_.Expire(clock_.Now()), std::vector{given_up.key});
  EXPECT_TRUE(AllFree());
}

TEST_F(LeaseTableTest, UnusedAndUncommittedGrantsExpire) {
  const Grant unused = MustGrant();
  const Grant filled = MustGrant();
  ASSERT_TRUE(table_.BeginWrite(filled.key, kLink, true).ok());
  ASSERT_TRUE(EndWrite(filled.key, kLink).ok());
  clock_.Advance(absl::Seconds(10) - absl::Nanoseconds(1));
  EXPECT_TRUE(table_.Expire(clock_.Now()).empty());
  clock_.Advance(absl::Nanoseconds(1));
  EXPECT_THAT(table_.Expire(clock_.Now()), ::testing::UnorderedElementsAre(unused.key, filled.key));
  EXPECT_TRUE(AllFree());
}

// The model: pages that a live in-place writer was granted and has not ended must never be granted
// again, and time does not end its lease.
TEST_F(LeaseTableTest, RandomEventsNeverHandOutAPageThatSomebodyCanWrite) {
  std::mt19937 random(4242);
  std::vector<Grant> known;
  std::map<uint64_t, std::pair<LinkId, std::set<int>>> writers;  // lease id → link, pages
  for (int step = 0; step < 20000; ++step) {
    clock_.Advance(absl::Milliseconds(random() % 400));
    const uint32_t event = random() % 8;
    if (event == 0) {
      const auto grant = table_.GrantLease(1 + random() % 600, clock_.Now());
      if (!grant.ok()) continue;
      for (const auto& [id, writer] : writers) {
        for (const int page : grant->pages)
          ASSERT_FALSE(writer.second.contains(page)) << "step " << step;
      }
      known.push_back(*grant);
      continue;
    }
    if (event == 1) {
      for (const LeaseKey& key : table_.Expire(clock_.Now()))
        ASSERT_FALSE(writers.contains(key.lease_id)) << "step " << step;
    }
    if (event == 2 && random() % 20 == 0) {
      const LinkId link = random() % 3;
      std::erase_if(writers, [link](const auto& writer) { return writer.second.first == link; });
      table_.LinkDead(link);
    }
    if (event == 3) table_.LinkLost(random() % 3);
    if (known.empty()) continue;
    const Grant& grant = known[random() % known.size()];
    const LinkId link = random() % 3;
    if (event == 4 && table_.BeginWrite(grant.key, link, true).ok()) {
      writers[grant.key.lease_id] = {link, {grant.pages.begin(), grant.pages.end()}};
    }
    if (event == 5 && writers.contains(grant.key.lease_id)) {
      const LinkId writer = writers[grant.key.lease_id].first;
      writers.erase(grant.key.lease_id);
      if (EndWrite(grant.key, writer).ok() && random() % 2 == 0 &&
          table_.Commit(grant.key, 290).ok()) {
        table_.Finish(grant.key);
      }
    }
    if (event == 6) table_.Release(grant.key);
  }
  for (LinkId link = 0; link < 3; ++link) table_.LinkDead(link);
  clock_.Advance(absl::Hours(1));
  table_.Expire(clock_.Now());
  EXPECT_TRUE(AllFree());
}

}  // namespace
}  // namespace tandem
