// SPDX-License-Identifier: Apache-2.0
// Goal: what the plan says fits does fit, and is what the specification computes by hand (4.6, 4.7,
// 7.4). Method: the released configs on cards of known size.
#include "services/runtime/plan/worker_plan.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/kv/kv_layout.h"

namespace tandem {
namespace {

using testing::HasSubstr;

constexpr int64_t kGb = 1'000'000'000;

ModelConfig Released(const std::string& name) {
  return ModelConfig::FromFolder(std::string(TANDEM_SOURCE_DIR) + "/deploy/models/" + name).value();
}

MachinePlan PlanOf(const std::string& name, const PlanRequest& request) {
  return PlanMachine(Released(name), request).value();
}

TEST(WorkerPlanTest, FlashOnTwoCardsOf96) {
  const MachinePlan plan = PlanOf("v4-flash", {.gpus = 2, .gpu_bytes = 96 * kGb});
  ASSERT_EQ(plan.workers.size(), 4U);
  EXPECT_FALSE(plan.workers[0].fits());
  EXPECT_THAT(plan.workers[0].why, HasSubstr("of 96.0 GB"));
  const WorkerPlan& two = plan.workers[2];
  EXPECT_EQ(two.ranks, 2);
  EXPECT_FALSE(two.prefill);
  // 78 GB a card and what both hold: embedding, compressors, routers, hyper-connections.
  EXPECT_NEAR(static_cast<double>(two.weights), 79.2e9, 0.1e9);
  EXPECT_NEAR(static_cast<double>(two.replicated), 2.3e9, 0.1e9);
  EXPECT_NEAR(static_cast<double>(two.weights), (156.0e9 + 2.3e9) / 2, 0.1e9);
  EXPECT_GT(two.pages, 14'000);
  EXPECT_EQ(two.at_once, two.pages / 512);
  // Nothing is left for a second worker elsewhere; beside it one needs memory to work in alone.
  const WorkerPlan& both = plan.workers[3];
  EXPECT_EQ(both.weights, two.weights);
  EXPECT_GT(both.working, two.working);
  EXPECT_LT(both.pages, two.pages);
  EXPECT_GE(both.at_once, 1);
  EXPECT_EQ(plan.chosen, 3);
}

TEST(WorkerPlanTest, ThePoolIsAsLargeAsThereIsRoomFor) {
  const ModelConfig config = Released("v4-flash");
  const MachinePlan plan = PlanOf("v4-flash", {.gpus = 4, .gpu_bytes = 96 * kGb});
  for (const WorkerPlan& worker : plan.workers) {
    if (!worker.fits()) continue;
    const auto bytes = PoolBytes(config, {.pages = worker.pages, .slots = worker.slots});
    ASSERT_TRUE(bytes.ok());
    EXPECT_LE(*bytes, worker.pool);
    EXPECT_GT(*bytes + 4 * (1 << 20) + 100 * plan.page_bytes, worker.pool);
    const int64_t staging = worker.prefill ? worker.staging : 0;
    EXPECT_EQ(worker.weights + worker.working + worker.reserve + staging + worker.pool, 96 * kGb);
  }
  EXPECT_TRUE(plan.workers[5].fits());  // both on all four
  EXPECT_EQ(plan.chosen, 2);            // decode on two, prefill on the other two
}

// Rows that are not written in place wait in the prefill worker's staging pool: it has to hold the
// context, on GPUs that hold weights and working memory too.
TEST(WorkerPlanTest, APrefillWorkerApartHoldsTheContext) {
  const ModelConfig config = Released("v4-flash");
  PlanRequest request{.gpus = 4, .gpu_bytes = 96 * kGb, .context = 1 << 20, .sequences = 4};
  const MachinePlan roomy = PlanMachine(config, request).value();
  ASSERT_EQ(roomy.chosen, 2);
  const WorkerPlan& two = roomy.workers[2];
  EXPECT_EQ(two.staging_pages, 4096);
  EXPECT_EQ(two.staging, PoolBytes(config, {.pages = 4096, .slots = 16}).value());
  EXPECT_GT(two.reader, two.weights + two.staging + int64_t{2} * kGb);
  // Beside a decode worker rows are in place: what is there by default, on the same GPUs.
  EXPECT_EQ(roomy.workers[3].staging_pages, 256);
  EXPECT_EQ(roomy.workers[3].staging, PoolBytes(config, {.pages = 256, .slots = 16}).value());
  request.gpu_bytes = two.reader;
  EXPECT_EQ(PlanMachine(config, request).value().chosen, 2);
  // One byte too few for it, and too few beside it for both: both go on all four.
  request.gpu_bytes = two.reader - 1;
  EXPECT_EQ(PlanMachine(config, request).value().chosen, 5);
}

// What nvidia-smi said of both workers on the same two H200 (tests/bench/results/steps.md): pages
// of a plan must not be more than there is room for beside what driver and NCCL take.
TEST(WorkerPlanTest, CountsWhatTwoWorkersOnAnH200Took) {
  const ModelConfig config = Released("v4-flash");
  const WorkerBytes decode = BytesOf(config, {.ranks = 2,
                                              .tokens_per_step = 64,
                                              .context = 4000 * 256,
                                              .pool = {.pages = 4000, .slots = 64}})
                                 .value();
  const WorkerBytes prefill = BytesOf(config, {.ranks = 2,
                                               .tokens_per_step = 4096,
                                               .context = 1 << 20,
                                               .pool = {.pages = 256, .slots = 16}})
                                  .value();
  const int64_t counted = decode.total() + prefill.total() - prefill.weights;
  const int64_t measured = int64_t{84'000} << 20;
  EXPECT_GT(counted, measured + kGb / 2);
  EXPECT_LT(counted, measured + 2 * kGb);
}

TEST(WorkerPlanTest, AMillionTokens) {
  const MachinePlan flash =
      PlanOf("v4-flash", {.gpus = 2, .gpu_bytes = 96 * kGb, .context = 1 << 20, .sequences = 4});
  EXPECT_EQ(flash.page_bytes, 21 * (37'440 + 4'352) + 20 * 1'728);
  EXPECT_EQ(flash.slot_bytes, 43 * 2 * 37'440 + 21 * (65'536 + 16'384) + 20 * 524'288);
  // 3.69 GB of rows (FP4 keys; 4.04 with FP8 keys), the padding of HCA pages, and a slot.
  EXPECT_EQ(flash.sequence_bytes, 4096 * flash.page_bytes + flash.slot_bytes);
  EXPECT_NEAR(static_cast<double>(flash.sequence_bytes), 3.75e9, 0.01e9);
  EXPECT_GE(flash.workers[2].at_once, 3);
}

TEST(WorkerPlanTest, ProNeedsEightLargeCardsAWorker) {
  const MachinePlan small = PlanOf("v4-pro", {.gpus = 8, .gpu_bytes = 96 * kGb});
  EXPECT_EQ(small.chosen, -1);
  const MachinePlan large = PlanOf("v4-pro", {.gpus = 16, .gpu_bytes = 141 * kGb});
  ASSERT_EQ(large.chosen, 6);
  EXPECT_EQ(large.workers[6].ranks, 8);
  EXPECT_NEAR(static_cast<double>(large.weights.checkpoint), 850.7e9, 0.1e9);
  EXPECT_EQ(large.page_bytes, 30 * (37'440 + 4'352) + 31 * 1'728);
}

TEST(WorkerPlanTest, RanksThatDoNotDivideAreRefused) {
  // tiny-v4 has four groups; its MLPs, too narrow to be cut, are whole on every rank.
  const MachinePlan plan = PlanOf("tiny-v4", {.gpus = 8, .gpu_bytes = 24 * kGb});
  EXPECT_TRUE(plan.workers[0].fits());
  EXPECT_TRUE(plan.workers[4].fits());
  EXPECT_FALSE(plan.workers[6].fits());
  EXPECT_THAT(plan.workers[6].why, HasSubstr("o_groups must be a multiple of the 8 ranks"));
}

TEST(WorkerPlanTest, SlotsThatLeaveNoRoomForPages) {
  const MachinePlan plan =
      PlanOf("v4-flash", {.gpus = 2, .gpu_bytes = 96 * kGb, .sequences = 4096});
  EXPECT_FALSE(plan.workers[2].fits());
  EXPECT_THAT(plan.workers[2].why, HasSubstr("4096 slots do not fit"));
  EXPECT_EQ(plan.chosen, -1);
}

TEST(WorkerPlanTest, RequestsOutOfRange) {
  const ModelConfig config = Released("v4-flash");
  const auto said = [&config](const PlanRequest& request) {
    return std::string(PlanMachine(config, request).status().message());
  };
  EXPECT_THAT(said({.gpus = 0, .gpu_bytes = kGb}), HasSubstr("gpus must be from 1 to 1024, got 0"));
  EXPECT_THAT(said({.gpus = 1}), HasSubstr("gpu memory in bytes"));
  EXPECT_THAT(said({.gpus = 1, .gpu_bytes = kGb, .context = 1 << 21}),
              HasSubstr("context must be from 1 to 1048576, got 2097152"));
  EXPECT_THAT(said({.gpus = 1, .gpu_bytes = kGb, .sequences = 0}), HasSubstr("sequences"));
}

}  // namespace
}  // namespace tandem
