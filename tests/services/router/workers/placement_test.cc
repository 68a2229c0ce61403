// SPDX-License-Identifier: Apache-2.0
// Goal: only pairs that can work together are placed, the least loaded first, and a refusal says
// why. Method: tables of views.
#include "services/router/workers/placement.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/rpc/status.h"

namespace tandem {
namespace {

v1::WatchResponse State(uint64_t layout, uint32_t running = 0) {
  v1::WatchResponse state;
  state.mutable_kv_format()->set_layout_hash(layout);
  state.mutable_kv_format()->set_page_tokens(256);
  state.set_running(running);
  state.set_pages_free(100);
  state.set_slots_free(10);
  state.set_context_tokens_max(10'000);
  return state;
}

WorkerView Worker(uint64_t layout, uint32_t running = 0) {
  return {.endpoint = "w", .usable = true, .state = MakeState(State(layout, running))};
}

absl::StatusOr<PlacedPair> PlaceAmong(const std::vector<WorkerView>& prefill,
                                      const std::vector<WorkerView>& decode,
                                      uint32_t tokens = 1000) {
  return Place({.tokens = tokens, .prefill = prefill, .decode = decode});
}

TEST(PlacementTest, LeastLoadedOfEachSideIsTaken) {
  const auto placed = PlaceAmong({Worker(1, 3), Worker(1, 1)}, {Worker(1, 0), Worker(1, 2)});
  ASSERT_TRUE(placed.ok()) << placed.status();
  EXPECT_EQ(placed->prefill, 1);
  EXPECT_EQ(placed->decode, 0);
}

TEST(PlacementTest, OwnAssignmentsCountBeforeTheWorkerTellsOfThem) {
  WorkerView busy = Worker(1);
  busy.assigned = 1;
  const auto placed = PlaceAmong({busy, Worker(1)}, {busy, Worker(1)});
  ASSERT_TRUE(placed.ok());
  EXPECT_EQ(placed->prefill, 1);
  EXPECT_EQ(placed->decode, 1);
}

// One long prompt is more work than many short ones.
TEST(PlacementTest, PrefillWorkersAreWeighedByTokens) {
  const auto reader = [](uint32_t prompts, uint64_t tokens) {
    v1::WatchResponse state = State(1, prompts);
    state.set_tokens_waiting(tokens);
    return WorkerView{.usable = true, .state = MakeState(state)};
  };
  EXPECT_EQ(PlaceAmong({reader(1, 900'000), reader(9, 900)}, {Worker(1)})->prefill, 1);
  EXPECT_EQ(PlaceAmong({reader(3, 0), reader(2, 0)}, {Worker(1)})->prefill, 1) << "equal";
  // What this router has sent there and the worker does not tell of yet.
  WorkerView told = reader(0, 0);
  told.unread = 1000;
  EXPECT_EQ(PlaceAmong({told, reader(9, 900)}, {Worker(1)})->prefill, 1);
  told.unread = 10;
  EXPECT_EQ(PlaceAmong({told, reader(9, 900)}, {Worker(1)})->prefill, 0);
  // An older worker among them.
  EXPECT_EQ(PlaceAmong({reader(1, 900'000), Worker(1, 2)}, {Worker(1)})->prefill, 0);
  WorkerView down = Worker(1);
  down.usable = false;
  EXPECT_EQ(PlaceAmong({down, reader(1, 900'000), reader(9, 900)}, {Worker(1)})->prefill, 2);
}

TEST(PlacementTest, RoomComesBeforeLoad) {
  v1::WatchResponse little = State(1);
  little.set_pages_free(3);  // 1000 tokens need 4.
  const WorkerView full = {.usable = true, .state = MakeState(little)};
  EXPECT_EQ(PlaceAmong({Worker(1)}, {full, Worker(1, 9)})->decode, 1);
  // With no room anywhere the worker itself says no.
  EXPECT_TRUE(PlaceAmong({Worker(1)}, {full}).ok());
}

TEST(PlacementTest, WhatHasRefusedAsMuchIsPassedOver) {
  WorkerView full = Worker(1);
  full.refused_tokens = 1000;
  EXPECT_EQ(PlaceAmong({Worker(1)}, {full, Worker(1, 9)})->decode, 1);
  const absl::Status none = PlaceAmong({Worker(1)}, {full, full}).status();
  EXPECT_EQ(none.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(none), "KV_BUDGET");
  EXPECT_TRUE(PlaceAmong({Worker(1)}, {full}, 999).ok()) << "less may fit";
}

TEST(PlacementTest, PlacesAreBoundByPagesAndBySlots) {
  EXPECT_EQ(PlacesFor(State(1), 1000), 10);     // slots
  EXPECT_EQ(PlacesFor(State(1), 20 * 256), 5);  // 100 pages
  EXPECT_EQ(PlacesFor(State(1), 101 * 256), 0);
}

TEST(PlacementTest, FormatsAreNeverMixed) {
  const auto placed = PlaceAmong({Worker(1), Worker(2, 9)}, {Worker(2)});
  ASSERT_TRUE(placed.ok());
  EXPECT_EQ(placed->prefill, 1);
  const absl::Status none = PlaceAmong({Worker(1)}, {Worker(2)}).status();
  EXPECT_EQ(none.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(none), "LAYOUT_MISMATCH");
}

TEST(PlacementTest, WhatIsDownIsNotUsedAndSaid) {
  WorkerView down = Worker(1);
  down.usable = false;
  EXPECT_EQ(PlaceAmong({down, Worker(1, 9)}, {Worker(1)})->prefill, 1);
  const absl::Status prefill = PlaceAmong({down}, {Worker(1)}).status();
  EXPECT_EQ(ReasonOf(prefill), "NO_WORKER");
  EXPECT_THAT(std::string(prefill.message()), testing::HasSubstr("prefill"));
  const absl::Status decode = PlaceAmong({Worker(1)}, {}).status();
  EXPECT_EQ(ReasonOf(decode), "NO_WORKER");
  EXPECT_THAT(std::string(decode.message()), testing::HasSubstr("decode"));
}

TEST(PlacementTest, WhatNoWorkerCanEverHoldIsRefused) {
  EXPECT_EQ(ReasonOf(PlaceAmong({Worker(1)}, {Worker(1)}, 10'001).status()), "KV_BUDGET");
}

}  // namespace
}  // namespace tandem
