// SPDX-License-Identifier: Apache-2.0
// Goal: prefill and decode on two GPUs hand rows over by copies, and the kind of channel that
// counts is what the link found, not what was hoped. Method: both workers in this process, their
// pools on GPUs that are made up; goldens and equality with the answer over shared memory.
#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/rpc/status.h"
#include "tests/e2e/workers/fake_gpu.h"
#include "tests/e2e/workers/gated_gpu.h"
#include "tests/e2e/workers/test_workers.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

Question AskFor(const Golden& golden) {
  return {.prompt = golden.prompt,
          .max_tokens = static_cast<int>(golden.answer.size()),
          .sampling = Greedy()};
}

std::string Links(const std::string& transport) {
  return absl::StrCat("transport=\"", transport, "\"} 1");
}

std::string Downgrades(const std::string& transport, int count) {
  return absl::StrCat("reason=\"downgrade\",transport=\"", transport, "\"} ", count);
}

TEST(TwoGpusTest, SharedBecomesIpcWithAWordOfIt) {
  FakeGpu first("0000:01:00.0"), second("0000:02:00.0");
  TestDecode decode({.backend = &first});
  TestPrefill prefill({.backend = &second});
  const Golden golden = TinyGolden("story_chat");
  EXPECT_EQ(Ask(prefill, decode, AskFor(golden)).tokens, golden.answer);
  EXPECT_TRUE(decode.AllFreeWithin(absl::Seconds(10)));
  EXPECT_THAT(prefill.Metrics(), HasSubstr(Downgrades("ipc", 1)));
  EXPECT_THAT(prefill.Metrics(), HasSubstr(Downgrades("grpc", 0))) << "nobody is woken";
  EXPECT_THAT(prefill.Metrics(), HasSubstr(Links("ipc")));
}

TEST(TwoGpusTest, OneGpuIsSharedInPlace) {
  FakeGpu gpu("0000:01:00.0"), same("0000:01:00.0");
  TestDecode decode({.backend = &gpu});
  TestPrefill prefill({.strict = true, .backend = &same});
  const Golden golden = TinyGolden("who");
  EXPECT_EQ(Ask(prefill, decode, AskFor(golden)).tokens, golden.answer);
  EXPECT_TRUE(decode.AllFreeWithin(absl::Seconds(10)));
  EXPECT_THAT(prefill.Metrics(), HasSubstr(Downgrades("ipc", 0)));
  EXPECT_THAT(prefill.Metrics(), HasSubstr(Links("shared")));
}

TEST(TwoGpusTest, IpcThatWasWantedIsNoDowngrade) {
  FakeGpu first("0000:01:00.0"), second("0000:02:00.0");
  TestDecode decode({.backend = &first});
  TestPrefill prefill({.preferred = v1::KV_CHANNEL_KIND_IPC, .strict = true, .backend = &second});
  const Golden golden = TinyGolden("turns");
  EXPECT_EQ(Ask(prefill, decode, AskFor(golden)).tokens, golden.answer);
  EXPECT_TRUE(decode.AllFreeWithin(absl::Seconds(10)));
  EXPECT_THAT(prefill.Metrics(), HasSubstr(Downgrades("ipc", 0)));
}

TEST(TwoGpusTest, StrictSaysWhatItMisses) {
  FakeGpu first("0000:01:00.0"), second("0000:02:00.0");
  TestDecode apart({.backend = &first});
  TestPrefill shared({.strict = true, .backend = &second});
  const Answer refused = Ask(shared, apart, AskFor(TinyGolden("who")));
  EXPECT_EQ(ReasonOf(refused.status), "CHANNEL_DOWNGRADE") << refused.status;
  EXPECT_THAT(std::string(refused.status.message()),
              HasSubstr("shared is required, but the decode worker's pool is on another GPU"));
  TestDecode hidden({.shared = false, .backend = &first});
  TestPrefill ipc({.preferred = v1::KV_CHANNEL_KIND_IPC, .strict = true, .backend = &second});
  const Answer none = Ask(ipc, hidden, AskFor(TinyGolden("who")));
  EXPECT_THAT(std::string(none.status.message()), HasSubstr("ipc is required, but")) << none.status;
}

// Where copies reach the other GPU and its own stores do not, rows would be lost without a word.
TEST(TwoGpusTest, RowsThatWouldNotArriveAreSentAsBytes) {
  FakeGpu first("0000:01:00.0"), second("0000:02:00.0");
  second.loses_stores = true;
  TestDecode decode({.backend = &first});
  TestPrefill prefill({.preferred = v1::KV_CHANNEL_KIND_IPC, .backend = &second});
  const Golden golden = TinyGolden("who");
  EXPECT_EQ(Ask(prefill, decode, AskFor(golden)).tokens, golden.answer);
  EXPECT_TRUE(decode.AllFreeWithin(absl::Seconds(10)));
  EXPECT_THAT(prefill.Metrics(), HasSubstr(Downgrades("grpc", 1)));
  EXPECT_THAT(prefill.Metrics(), HasSubstr(Links("grpc")));
}

// Pages go ahead of the rest from the second chunk on; a chunk ends anywhere in a page.
TEST(TwoGpusTest, LongPromptsArriveWholeWhateverTheChunk) {
  Question question{.max_tokens = 8, .prompt_logprobs = true, .sampling = Greedy()};
  for (int i = 0; i < 1200; ++i) question.prompt.push_back(4 + (i * 7919) % 1800);
  TestDecode reference({});
  TestPrefill in_place({.chunk_tokens = 512});
  const Answer expected = Ask(in_place, reference, question);
  ASSERT_TRUE(expected.status.ok()) << expected.status;
  FakeGpu first("0000:01:00.0"), second("0000:02:00.0");
  for (const int chunk : {100, 256, 700, 2048}) {
    TestDecode decode({.backend = &first});
    TestPrefill prefill({.chunk_tokens = chunk,
                         .preferred = v1::KV_CHANNEL_KIND_IPC,
                         .strict = true,
                         .backend = &second});
    const Answer answer = Ask(prefill, decode, question);
    EXPECT_EQ(answer.tokens, expected.tokens) << chunk << answer.status;
    EXPECT_EQ(answer.prompt_logprobs, expected.prompt_logprobs) << chunk;
    EXPECT_TRUE(decode.AllFreeWithin(absl::Seconds(10)));
  }
}

// The reader of a prompt is gone while its rows stand still on their way: who goes another way does
// not wait for them, and the decode worker keeps their pages until they are there.
TEST(TwoGpusTest, CopiesOfACancelledPromptKeepNobodyWaiting) {
  FakeGpu first("0000:01:00.0"), same("0000:02:00.0");
  GatedGpu second("0000:02:00.0");
  TestDecode apart({.backend = &first}), together({.backend = &same});
  TestPrefill prefill({.link_timeout = absl::Minutes(10), .backend = &second});
  const Golden golden = TinyGolden("recall");
  ASSERT_EQ(Ask(prefill, together, AskFor(golden)).tokens, golden.answer);
  second.Shut();
  const absl::Cleanup open = [&second] { second.Open(); };
  const auto reservation = Reserve(apart, static_cast<int>(golden.prompt.size()));
  ASSERT_TRUE(reservation.ok());
  grpc::ClientContext context;
  v1::PrefillRequest request;
  request.mutable_token_ids()->Add(golden.prompt.begin(), golden.prompt.end());
  *request.mutable_sampling() = Greedy();
  *request.mutable_reservation() = *reservation;
  const auto reader = prefill.stub().Prefill(&context, request);
  ASSERT_TRUE(second.AwaitOrder());
  context.TryCancel();
  (void)reader->Finish();
  EXPECT_TRUE(Release(apart, *reservation).ok());
  // The loop takes the cancel before it looks at this.
  grpc::ClientContext probe;
  SetDeadline(probe, Clock::Real().Now() + absl::Seconds(60));
  ASSERT_EQ(prefill.stub().Prefill(&probe, v1::PrefillRequest())->Finish().error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Ask(prefill, together, AskFor(golden)).tokens, golden.answer);
  EXPECT_FALSE(apart.AllFreeWithin(absl::Milliseconds(100))) << "rows may still come";
  second.Open();
  EXPECT_TRUE(apart.AllFreeWithin(absl::Seconds(60)));
  EXPECT_EQ(Ask(prefill, apart, AskFor(golden)).tokens, golden.answer) << "over the same link";
}

}  // namespace
}  // namespace tandem
