// SPDX-License-Identifier: Apache-2.0
// Goal: CommTable's choice and its one line. Method: timings made up.
#include "services/runtime/parallel/comm_table.h"

#include "gtest/gtest.h"

namespace tandem {
namespace {

TEST(CommTableTest, TheFasterKindServesUpToItsLargestSize) {
  const CommTable table({{4096, 20e-6, 10e-6}, {8, 3e-6, 9e-6}, {64, 4e-6, 9e-6}});
  EXPECT_EQ(table.KindFor(1), CommKind::kPeer);
  EXPECT_EQ(table.KindFor(64), CommKind::kPeer);
  EXPECT_EQ(table.KindFor(65), CommKind::kNccl);
  EXPECT_EQ(table.KindFor(1 << 20), CommKind::kNccl);
  EXPECT_EQ(table.Verdict(), "peer to 64 bytes, nccl beyond");
}

TEST(CommTableTest, ATieIsThePeers) {
  const CommTable table({{8, 10e-6, 9.6e-6}, {64, 10e-6, 9.4e-6}});
  EXPECT_EQ(table.KindFor(8), CommKind::kPeer);
  EXPECT_EQ(table.KindFor(64), CommKind::kNccl);
}

TEST(CommTableTest, KindsMayAlternate) {
  const CommTable table({{8, 1, 2}, {16, 2, 1}, {32, 1, 2}});
  EXPECT_EQ(table.KindFor(9), CommKind::kNccl);
  EXPECT_EQ(table.KindFor(17), CommKind::kPeer);
  EXPECT_EQ(table.Verdict(), "peer to 8 bytes, nccl to 16 bytes, peer beyond");
}

TEST(CommTableTest, OneKindForAll) {
  EXPECT_EQ(CommTable(CommKind::kNccl).KindFor(1), CommKind::kNccl);
  EXPECT_EQ(CommTable(CommKind::kPeer).Verdict(), "peer for every size");
  EXPECT_EQ(CommTable({{8, 1, 2}, {16, 1, 2}}).Verdict(), "peer for every size");
}

}  // namespace
}  // namespace tandem
