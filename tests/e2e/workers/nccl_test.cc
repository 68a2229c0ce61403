// SPDX-License-Identifier: Apache-2.0
// Goal: prefill and decode hand rows over by NCCL as by any other kind, where they have no better
// one; and what NCCL cannot do, or stops doing, costs a downgrade or a link, never a page or a
// wrong answer. Method: both workers in this process, their pools on GPUs and their network made
// up.
#include <memory>
#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/rpc/channel.h"
#include "services/runtime/rpc/status.h"
#include "tests/e2e/workers/fake_gpu.h"
#include "tests/e2e/workers/gated_gpu.h"
#include "tests/e2e/workers/test_workers.h"
#include "tests/services/runtime/transfer/nccl/fake_nccl.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

constexpr v1::KvChannelKind kNccl = v1::KV_CHANNEL_KIND_NCCL;

Question AskFor(const Golden& golden) {
  return {.prompt = golden.prompt,
          .max_tokens = static_cast<int>(golden.answer.size()),
          .sampling = Greedy()};
}

Question Long() {
  Question question{.max_tokens = 8, .prompt_logprobs = true, .sampling = Greedy()};
  for (int i = 0; i < 1200; ++i) question.prompt.push_back(4 + (i * 7919) % 1800);
  return question;
}

class NcclTest : public testing::Test {
 protected:
  TestDecode::Options Decode() { return {.backend = &first_, .nccl = &nccl_}; }
  TestPrefill::Options Prefill() {
    return {.preferred = kNccl, .strict = true, .backend = &second_, .nccl = &nccl_};
  }

  FakeGpu first_{"0000:01:00.0"}, second_{"0000:02:00.0"};
  FakeNccl nccl_;
};

TEST_F(NcclTest, AnswersAsInPlaceWhateverTheChunk) {
  const Question question = Long();
  TestDecode reference({});
  TestPrefill in_place({.chunk_tokens = 512});
  const Answer expected = Ask(in_place, reference, question);
  ASSERT_TRUE(expected.status.ok()) << expected.status;
  for (const int chunk : {100, 700}) {
    {
      TestDecode decode(Decode());
      TestPrefill::Options options = Prefill();
      options.chunk_tokens = chunk;
      TestPrefill prefill(options);
      for (int i = 0; i < 2; ++i) {
        const Answer answer = Ask(prefill, decode, question);
        EXPECT_EQ(answer.tokens, expected.tokens) << chunk << answer.status;
        EXPECT_EQ(answer.prompt_logprobs, expected.prompt_logprobs) << chunk;
      }
      EXPECT_TRUE(decode.AllFreeWithin(absl::Seconds(10)));
      EXPECT_THAT(prefill.Metrics(), HasSubstr("transport=\"nccl\"} 1"));
    }
    EXPECT_EQ(nccl_.alive(), 0) << "torn down with the peer";
  }
}

TEST_F(NcclTest, PagesInARowCountAsOneRun) {
  TestDecode decode(Decode());
  TestPrefill::Options options = Prefill();
  options.chunk_tokens = 2048;
  TestPrefill prefill(options);
  const Question question = Long();
  ASSERT_TRUE(Ask(prefill, decode, question).status.ok());
  // What a pool that nobody has used yet gives out is in a row.
  const KvLayout layout = KvLayout::Create(TinyModel().config(), {.pages = 5, .slots = 1}).value();
  const std::vector<int32_t> pages = {0, 1, 2, 3, 4};
  const auto extents =
      layout.Extents({.slot = 0, .pages = pages}, static_cast<int64_t>(question.prompt.size()));
  KvCursor begin;
  const size_t runs = TakeRuns(extents, layout.bytes(), begin).size();
  EXPECT_LT(runs, extents.size());
  EXPECT_THAT(prefill.Metrics(),
              HasSubstr(absl::StrCat("tandem_kv_transfer_descriptors_sum{model_name=\"tiny-v4\",",
                                     "role=\"prefill\",direction=\"write\",transport=\"nccl\"} ",
                                     runs, "\n")));
}

TEST_F(NcclTest, ComesAfterIpcAndBeforeBytes) {
  TestDecode::Options hidden = Decode();
  hidden.shared = false;
  TestDecode decode(hidden);
  TestPrefill::Options options = Prefill();
  options.preferred = v1::KV_CHANNEL_KIND_SHARED;
  options.strict = false;
  TestPrefill prefill(options);
  const Golden golden = TinyGolden("who");
  EXPECT_EQ(Ask(prefill, decode, AskFor(golden)).tokens, golden.answer);
  EXPECT_THAT(prefill.Metrics(), HasSubstr("transport=\"nccl\"} 1"));
  EXPECT_THAT(prefill.Metrics(), HasSubstr("reason=\"downgrade\",transport=\"nccl\"} 1"));
  TestDecode mapped(Decode());
  EXPECT_EQ(Ask(prefill, mapped, AskFor(golden)).tokens, golden.answer);
  EXPECT_THAT(prefill.Metrics(), HasSubstr("transport=\"ipc\"} 1"));
}

TEST_F(NcclTest, WhereItFailsRowsGoAsBytesOrTheReasonIsSaid) {
  const Golden golden = TinyGolden("who");
  TestPrefill::Options options = Prefill();
  const auto try_it = [&](const char* why) {
    SCOPED_TRACE(why);
    TestDecode decode(Decode());
    options.strict = true;
    {
      TestPrefill strict(options);
      const Answer refused = Ask(strict, decode, AskFor(golden));
      EXPECT_EQ(ReasonOf(refused.status), "CHANNEL_DOWNGRADE") << refused.status;
      EXPECT_THAT(std::string(refused.status.message()), HasSubstr(why));
    }
    options.strict = false;
    TestPrefill prefill(options);
    EXPECT_EQ(Ask(prefill, decode, AskFor(golden)).tokens, golden.answer);
    EXPECT_THAT(prefill.Metrics(), HasSubstr("transport=\"grpc\"} 1"));
  };
  nccl_.no_id = true;
  try_it("there is no network");
  nccl_.no_id = false;
  nccl_.refuses = true;
  try_it("two ranks on one GPU");
  nccl_.refuses = false;
  nccl_.stuck = true;
  options.nccl_limit = absl::Milliseconds(300);
  try_it("not there within 300ms");
  options.nccl_limit = Prefill().nccl_limit;
  nccl_.stuck = false;
  nccl_.corrupts = true;
  try_it("other bytes came than were sent");
}

TEST_F(NcclTest, AWorkerWithoutItSaysSo) {
  TestDecode::Options bare = Decode();
  bare.nccl = nullptr;
  TestDecode decode(bare);
  TestPrefill prefill(Prefill());
  const Answer refused = Ask(prefill, decode, AskFor(TinyGolden("who")));
  EXPECT_THAT(std::string(refused.status.message()),
              HasSubstr("nccl is required, but nccl: the decode worker has none"));
  TestPrefill::Options none = Prefill();
  none.nccl = nullptr;
  TestPrefill without(none);
  TestDecode able(Decode());
  EXPECT_THAT(std::string(Ask(without, able, AskFor(TinyGolden("who"))).status.message()),
              HasSubstr("nccl: it is not used here"));
}

// The request fails as with a lost worker, for the router to try again; the next one has a new
// link.
TEST_F(NcclTest, ATransferThatHangsCostsItsLinkAndNoPage) {
  TestDecode decode(Decode());
  TestPrefill::Options options = Prefill();
  options.nccl_limit = absl::Seconds(2);  // of what succeeds as well
  TestPrefill prefill(options);
  const Golden golden = TinyGolden("recall");
  ASSERT_EQ(Ask(prefill, decode, AskFor(golden)).tokens, golden.answer);
  nccl_.stuck = true;
  const Answer lost = Ask(prefill, decode, Long());
  EXPECT_EQ(lost.status.code(), absl::StatusCode::kUnavailable) << lost.status;
  EXPECT_TRUE(decode.AllFreeWithin(absl::Seconds(10)));
  nccl_.stuck = false;
  EXPECT_EQ(Ask(prefill, decode, AskFor(golden)).tokens, golden.answer);
  EXPECT_TRUE(decode.AllFreeWithin(absl::Seconds(10)));
}

// The decode worker is silent in the middle of a transfer, and its reader goes away: nobody else
// has to wait for it.
// The long prompt, parts of which are under way.
std::unique_ptr<grpc::ClientReader<v1::PrefillResponse>> BeginLong(
    TestPrefill& prefill, const v1::Reservation& reservation, grpc::ClientContext& context) {
  v1::PrefillRequest request;
  for (const int32_t token : Long().prompt) request.add_token_ids(token);
  *request.mutable_sampling() = Greedy();
  *request.mutable_reservation() = reservation;
  auto reader = prefill.stub().Prefill(&context, request);
  v1::PrefillResponse response;
  for (int i = 0; i < 5; ++i) reader->Read(&response);
  return reader;
}

TEST_F(NcclTest, AHungTransferThatIsCancelledKeepsNobodyWaiting) {
  TestDecode decode(Decode());
  TestPrefill::Options options = Prefill();
  options.nccl_limit = absl::Seconds(60);
  TestPrefill prefill(options);
  const Golden golden = TinyGolden("recall");
  ASSERT_EQ(Ask(prefill, decode, AskFor(golden)).tokens, golden.answer);
  const auto reservation = Reserve(decode, 1300);
  ASSERT_TRUE(reservation.ok());
  nccl_.stuck = true;
  {
    grpc::ClientContext context;
    const auto reader = BeginLong(prefill, *reservation, context);
    context.TryCancel();
    (void)reader->Finish();
    EXPECT_TRUE(Release(decode, *reservation).ok());
  }
  for (int i = 0; i < 10; ++i) {
    grpc::ClientContext context;
    SetDeadline(context, Clock::Real().Now() + absl::Seconds(10));
    const auto refused = prefill.stub().Prefill(&context, v1::PrefillRequest());
    EXPECT_EQ(refused->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    absl::SleepFor(absl::Milliseconds(50));
  }
  EXPECT_FALSE(decode.AllFreeWithin(absl::Milliseconds(100))) << "rows may still come";
  nccl_.stuck = false;
  EXPECT_TRUE(decode.AllFreeWithin(absl::Seconds(10)));
  EXPECT_EQ(Ask(prefill, decode, AskFor(golden)).tokens, golden.answer) << "over the same link";
}

TEST_F(NcclTest, ADecodeWorkerThatGoesAwayMidwayEndsTheTransfer) {
  auto decode = std::make_unique<TestDecode>(Decode());
  TestPrefill prefill(Prefill());
  const Golden golden = TinyGolden("who");
  ASSERT_EQ(Ask(prefill, *decode, AskFor(golden)).tokens, golden.answer);
  const auto reservation = Reserve(*decode, 1300);
  ASSERT_TRUE(reservation.ok());
  nccl_.stuck = true;
  absl::Status result;
  {
    const Thread client("client",
                        [&] { result = tandem::Prefill(prefill, Long(), *reservation).status(); });
    absl::SleepFor(absl::Milliseconds(200));
    decode.reset();
  }
  EXPECT_EQ(result.code(), absl::StatusCode::kUnavailable) << result;
  nccl_.stuck = false;
  TestDecode next(Decode());
  EXPECT_EQ(Ask(prefill, next, AskFor(golden)).tokens, golden.answer);
}

// Its messages wait on this side's GPU as long as they may: nobody else has to.
TEST_F(NcclTest, ADecodeWorkerThatGoesAwayWhileItsQueueStandsKeepsNobodyWaiting) {
  GatedGpu gated("0000:02:00.0");
  auto decode = std::make_unique<TestDecode>(Decode());
  TestDecode other({.shared = false});
  TestPrefill::Options options = Prefill();
  options.strict = false;
  options.backend = &gated;
  options.nccl_limit = absl::Minutes(1);
  TestPrefill prefill(options);
  const Golden golden = TinyGolden("who");
  ASSERT_EQ(Ask(prefill, *decode, AskFor(golden)).tokens, golden.answer);
  ASSERT_EQ(Ask(prefill, other, AskFor(golden)).tokens, golden.answer);
  const auto reservation = Reserve(*decode, 1300);
  ASSERT_TRUE(reservation.ok());
  gated.Shut();
  const absl::Cleanup open = [&gated] { gated.Open(); };
  absl::Status result;
  {
    const Thread client("client",
                        [&] { result = tandem::Prefill(prefill, Long(), *reservation).status(); });
    EXPECT_TRUE(gated.AwaitOrder());
    decode.reset();
  }
  EXPECT_EQ(result.code(), absl::StatusCode::kUnavailable) << result;
  grpc::ClientContext probe;
  SetDeadline(probe, Clock::Real().Now() + absl::Seconds(30));
  ASSERT_EQ(prefill.stub().Prefill(&probe, v1::PrefillRequest())->Finish().error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Ask(prefill, other, AskFor(golden)).tokens, golden.answer);
}

TEST_F(NcclTest, APrefillWorkerThatGoesAwayMidwayLeavesNoPage) {
  TestDecode decode(Decode());
  {
    TestPrefill::Options options = Prefill();
    options.nccl_limit = absl::Seconds(2);
    TestPrefill prefill(options);
    const Golden golden = TinyGolden("who");
    ASSERT_EQ(Ask(prefill, decode, AskFor(golden)).tokens, golden.answer);
    nccl_.stuck = true;
    const auto reservation = Reserve(decode, 1300);
    ASSERT_TRUE(reservation.ok());
    grpc::ClientContext context;
    const auto reader = BeginLong(prefill, *reservation, context);
  }
  EXPECT_TRUE(decode.AllFreeWithin(absl::Seconds(10)));
  EXPECT_EQ(nccl_.alive(), 0);
}

}  // namespace
}  // namespace tandem
