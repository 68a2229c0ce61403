// SPDX-License-Identifier: Apache-2.0
// Goal: an error keeps its code, message, reason and details over the wire. Method: every builder,
// there and back.
#include "services/runtime/rpc/status.h"

#include "gtest/gtest.h"

namespace tandem {
namespace {

TEST(StatusTest, EveryReasonSurvivesTheWire) {
  const Retry retry = {.message = "later", .after = absl::Milliseconds(1500)};
  const std::vector<std::pair<absl::Status, std::string>> cases = {
      {InvalidField("n", "0 is below 1"), "INVALID_FIELD"},
      {PromptTooLong({.limit = 7, .got = 9}), "PROMPT_TOO_LONG"},
      {DuplicateRequest("a"), "DUPLICATE_REQUEST"},
      {QueueFull(retry), "QUEUE_FULL"},
      {KvBudget(retry), "KV_BUDGET"},
      {SlowReader(retry), "SLOW_READER"},
      {NoWorker(retry), "NO_WORKER"},
      {WorkerLost(retry), "WORKER_LOST"},
      {Draining(retry), "DRAINING"},
      {DeadlinePassed("prefill"), "DEADLINE"},
      {LayoutMismatch("a, b"), "LAYOUT_MISMATCH"},
      {VersionMismatch("a, b"), "VERSION_MISMATCH"},
      {ChannelDowngrade("a, b"), "CHANNEL_DOWNGRADE"},
      {EndpointNotAllowed("h:1"), "ENDPOINT_NOT_ALLOWED"},
      {LeaseLost("epoch 3"), "LEASE_LOST"},
  };
  for (const auto& [status, reason] : cases) {
    const absl::Status back = FromGrpcStatus(ToGrpcStatus(status));
    EXPECT_EQ(back, status);
    EXPECT_EQ(ReasonOf(back), reason);
    EXPECT_EQ(DetailsOf(back).info.domain(), "inference.tandem");
  }
}

TEST(StatusTest, DetailsSayFieldLimitAndWhenToRetry) {
  const ErrorDetails fields = DetailsOf(InvalidFields(
      {{.field = "n", .description = "0"}, {.field = "top_p", .description = "nan"}}));
  ASSERT_EQ(fields.bad_request.field_violations_size(), 2);
  EXPECT_EQ(fields.bad_request.field_violations(1).field(), "top_p");
  const ErrorDetails length = DetailsOf(PromptTooLong({.limit = 7, .got = 9}));
  EXPECT_EQ(length.info.metadata().at("limit"), "7");
  EXPECT_EQ(length.info.metadata().at("got"), "9");
  const ErrorDetails retry =
      DetailsOf(QueueFull({.message = "x", .after = absl::Milliseconds(1500)}));
  EXPECT_EQ(retry.retry.retry_delay().seconds(), 1);
  EXPECT_EQ(retry.retry.retry_delay().nanos(), 500'000'000);
}

TEST(StatusTest, ForeignDetailsAreNoDetails) {
  const absl::Status back =
      FromGrpcStatus(grpc::Status(grpc::StatusCode::INTERNAL, "broken", "\xff\xff not a proto"));
  EXPECT_EQ(back, absl::InternalError("broken"));
  EXPECT_EQ(ReasonOf(back), "");
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
}

}  // namespace
}  // namespace tandem
