// SPDX-License-Identifier: Apache-2.0
// Goal: prefill and decode together answer as one process would, whatever the channel, the chunks
// and the neighbours; and memory comes back whatever goes wrong. Method: both workers in this
// process, goldens of tiny-v4, real gRPC.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/rpc/status.h"
#include "tests/e2e/workers/test_workers.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

constexpr v1::KvChannelKind kKinds[] = {v1::KV_CHANNEL_KIND_SHARED, v1::KV_CHANNEL_KIND_IPC,
                                        v1::KV_CHANNEL_KIND_GRPC};

Question AskFor(const Golden& golden) {
  return {.prompt = golden.prompt,
          .max_tokens = static_cast<int>(golden.answer.size()),
          .sampling = Greedy()};
}

TEST(WorkerPairTest, AnswersTheGoldensOverEveryChannelWithAnyChunk) {
  for (const v1::KvChannelKind kind : kKinds) {
    for (const int chunk : {7, 64, 512}) {
      TestDecode decode({});
      TestPrefill prefill({.chunk_tokens = chunk, .preferred = kind, .strict = true});
      for (const char* name : {"story_chat", "turns", "recall"}) {
        const Golden golden = TinyGolden(name);
        const Answer answer = Ask(prefill, decode, AskFor(golden));
        ASSERT_TRUE(answer.status.ok()) << answer.status;
        EXPECT_EQ(answer.tokens, golden.answer) << name << " kind " << kind << " chunk " << chunk;
        EXPECT_EQ(answer.reason, v1::FINISH_REASON_LENGTH);
      }
      EXPECT_TRUE(decode.AllFreeWithin(absl::Seconds(10)));
    }
  }
}

TEST(WorkerPairTest, ConcurrentPromptsDoNotSeeEachOther) {
  TestDecode decode({});
  TestPrefill prefill({.chunk_tokens = 48});
  const std::vector<std::string> names = {"story_chat", "story_think", "who",
                                          "turns",      "recall",      "turns"};
  std::vector<Answer> answers(names.size());
  {
    std::vector<std::unique_ptr<Thread>> clients;
    for (size_t i = 0; i < names.size(); ++i) {
      clients.push_back(std::make_unique<Thread>(
          "client", [&, i] { answers[i] = Ask(prefill, decode, AskFor(TinyGolden(names[i]))); }));
    }
  }
  for (size_t i = 0; i < names.size(); ++i) {
    ASSERT_TRUE(answers[i].status.ok()) << answers[i].status;
    EXPECT_EQ(answers[i].tokens, TinyGolden(names[i]).answer) << names[i];
  }
}

TEST(WorkerPairTest, MorePromptsThanStagingSlotsWaitTheirTurn) {
  TestDecode decode({.shared = false});
  TestPrefill prefill({.staging_slots = 1});
  std::vector<Answer> answers(4);
  {
    std::vector<std::unique_ptr<Thread>> clients;
    for (Answer& answer : answers) {
      clients.push_back(std::make_unique<Thread>(
          "client", [&] { answer = Ask(prefill, decode, AskFor(TinyGolden("who"))); }));
    }
  }
  for (const Answer& answer : answers)
    EXPECT_EQ(answer.tokens, TinyGolden("who").answer) << answer.status;
  EXPECT_THAT(prefill.Metrics(), HasSubstr("reason=\"downgrade\",transport=\"grpc\"} 1"))
      << "shared was wanted and not there";
}

TEST(WorkerPairTest, StrictRefusesADowngradeAndSaysWhy) {
  TestDecode decode({.shared = false});
  TestPrefill prefill({.strict = true});
  const Answer answer = Ask(prefill, decode, AskFor(TinyGolden("who")));
  EXPECT_EQ(answer.status.code(), absl::StatusCode::kFailedPrecondition) << answer.status;
  EXPECT_EQ(ReasonOf(answer.status), "CHANNEL_DOWNGRADE");
}

TEST(WorkerPairTest, AReservationThatIsNeverUsedExpires) {
  TestDecode decode({.lease_ttl = absl::Milliseconds(200)});
  const auto reservation = Reserve(decode, 1000);
  ASSERT_TRUE(reservation.ok());
  EXPECT_TRUE(decode.AllFreeWithin(absl::Seconds(10)));
  TestPrefill prefill({});
  const auto late = Prefill(prefill, AskFor(TinyGolden("who")), *reservation);
  EXPECT_EQ(late.status().code(), absl::StatusCode::kAborted) << late.status();
  EXPECT_EQ(ReasonOf(late.status()), "LEASE_LOST");
}

absl::Status Generate(TestDecode& decode, const v1::Reservation& reservation, uint32_t prompt) {
  grpc::ClientContext context;
  v1::DecodeServiceGenerateRequest request;
  *request.mutable_reservation() = reservation;
  request.set_prompt_tokens(prompt);
  request.set_max_tokens(2);
  *request.mutable_sampling() = Greedy();
  const auto reader = decode.stub().Generate(&context, request);
  v1::DecodeServiceGenerateResponse response;
  while (reader->Read(&response)) {
  }
  return FromGrpcStatus(reader->Finish());
}

TEST(WorkerPairTest, RowsThatWereNeverWrittenAreNotRead) {
  TestDecode decode({});
  for (const auto kind : kKinds) {
    TestPrefill prefill({.preferred = kind});
    for (const uint32_t lie : {400U, 2U}) {
      const auto reservation = Reserve(decode, 500);
      ASSERT_TRUE(reservation.ok());
      const Question question = {.prompt = {5, 6, 7}, .sampling = Greedy()};
      ASSERT_TRUE(Prefill(prefill, question, *reservation).ok());
      const absl::Status status = Generate(decode, *reservation, lie);
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
      EXPECT_EQ(status.message(),
                absl::StrCat("prompt_tokens: as many as prefill has read, 3, got ", lie));
      EXPECT_EQ(ReasonOf(Generate(decode, *reservation, 3)), "LEASE_LOST") << "it is free";
    }
  }
  EXPECT_TRUE(decode.AllFreeWithin(absl::Seconds(10)));
}

TEST(WorkerPairTest, APrefillWorkerConnectsOnlyWhereItsConfigSays) {
  TestDecode decode({});
  const Question question = AskFor(TinyGolden("who"));
  for (const std::string& allowed : {decode.endpoint(), std::string("127.0.0.1:*")}) {
    TestPrefill prefill({.decode_workers_allowed = {"10.0.0.1:1", allowed}});
    EXPECT_EQ(Ask(prefill, decode, question).tokens, TinyGolden("who").answer) << allowed;
    for (const char* elsewhere :
         {"10.0.0.1:2", "10.0.0.1", "127.0.0.1:", "127.0.0.1:1,10.0.0.2:1", "127.0.0.10:1",
          "dns:///127.0.0.1:1", "ipv4:127.0.0.1:1", "unix:/tmp/socket", "localhost:1"}) {
      v1::Reservation forged;
      forged.set_endpoint(elsewhere);
      const absl::Status status = Prefill(prefill, question, forged).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << elsewhere << ": " << status;
      EXPECT_EQ(ReasonOf(status), "ENDPOINT_NOT_ALLOWED");
      EXPECT_THAT(std::string(status.message()), HasSubstr(elsewhere));
    }
  }
}

TEST(WorkerPairTest, TooMuchIsRefusedWithTheBudgetNamed) {
  TestDecode decode({.pages = 4});
  const auto first = Reserve(decode, 3 * kPageTokens);
  ASSERT_TRUE(first.ok());
  const auto second = Reserve(decode, 2 * kPageTokens);
  EXPECT_EQ(ReasonOf(second.status()), "KV_BUDGET") << second.status();
  const auto absurd = Reserve(decode, 5 * kPageTokens);
  EXPECT_EQ(absurd.status().code(), absl::StatusCode::kInvalidArgument) << absurd.status();
}

// A prompt that is read token by token, of which the first has been read and most has not.
class Midway {
 public:
  Midway(TestPrefill& prefill, const v1::Reservation& reservation) {
    v1::PrefillRequest request;
    for (int i = 0; i < kTokens; ++i) request.add_token_ids(4 + (i * 7919) % 1800);
    *request.mutable_sampling() = Greedy();
    *request.mutable_reservation() = reservation;
    reader_ = prefill.stub().Prefill(&context_, request);
    v1::PrefillResponse response;
    EXPECT_TRUE(reader_->Read(&response));
    EXPECT_LT(response.progress().tokens(), kTokens / 2);
  }
  absl::Status Join() {
    v1::PrefillResponse response;
    while (reader_->Read(&response)) {
    }
    return FromGrpcStatus(reader_->Finish());
  }
  static constexpr int kTokens = 1200;

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::PrefillResponse>> reader_;
};

TEST(WorkerPairTest, AWriterThatIsReleasedMidwayGivesThePagesBack) {
  TestDecode decode({});
  TestPrefill prefill({.chunk_tokens = 1});
  const auto reservation = Reserve(decode, Midway::kTokens + 1);
  ASSERT_TRUE(reservation.ok());
  Midway prompt(prefill, *reservation);
  EXPECT_TRUE(Release(decode, *reservation).ok());
  const absl::Status result = prompt.Join();
  EXPECT_EQ(ReasonOf(result), "LEASE_LOST") << result;
  EXPECT_TRUE(decode.AllFreeWithin(absl::Seconds(10)));
}

TEST(WorkerPairTest, ADecodeWorkerThatGoesAwayEndsThePromptsOfItsLink) {
  auto decode = std::make_unique<TestDecode>(TestDecode::Options{});
  TestPrefill prefill({.chunk_tokens = 1});
  const auto reservation = Reserve(*decode, Midway::kTokens + 1);
  ASSERT_TRUE(reservation.ok());
  Midway prompt(prefill, *reservation);
  decode.reset();
  const absl::Status result = prompt.Join();
  EXPECT_EQ(result.code(), absl::StatusCode::kUnavailable) << result;
  // And a new one at another address is served as if nothing had been.
  TestDecode next({});
  EXPECT_EQ(Ask(prefill, next, AskFor(TinyGolden("who"))).tokens, TinyGolden("who").answer);
}

TEST(WorkerPairTest, SeededSamplingDoesNotDependOnTheChannelOrTheChunk) {
  Question question = AskFor(TinyGolden("story_chat"));
  question.sampling.set_temperature(1.5F);
  question.sampling.set_seed(123);
  std::vector<std::vector<int32_t>> all;
  for (const auto kind : kKinds) {
    for (const int chunk : {5, 100}) {
      TestDecode decode({});
      TestPrefill prefill({.chunk_tokens = chunk, .preferred = kind});
      all.push_back(Ask(prefill, decode, question).tokens);
      EXPECT_EQ(all.back(), all.front());
    }
  }
  question.sampling.set_seed(124);
  TestDecode decode({});
  TestPrefill prefill({});
  EXPECT_NE(Ask(prefill, decode, question).tokens, all.front());
}

// A prefill worker that asks on and on, about nothing, and does not read what it is told.
absl::Status AskWithoutListening(TestDecode& decode, int questions) {
  grpc::ClientContext context;
  SetDeadline(context, absl::Now() + absl::Seconds(60));
  const auto link = decode.stub().Link(&context);
  const v1::WatchResponse state = decode.State();
  v1::LinkRequest hello;
  hello.mutable_hello()->set_peer_incarnation(state.incarnation());
  *hello.mutable_hello()->mutable_kv_format() = state.kv_format();
  v1::LinkRequest choice;
  choice.mutable_choice()->set_kind(v1::KV_CHANNEL_KIND_GRPC);
  v1::LinkRequest begin;
  begin.mutable_begin_write()->set_lease_id(1);
  EXPECT_TRUE(link->Write(hello) && link->Write(choice));
  std::atomic<int> asked = 0;
  auto writer = std::make_unique<Thread>("writer", [&] {
    while (asked < questions && link->Write(begin)) ++asked;
    (void)link->WritesDone();
  });
  // Until it may not write any more, or has nothing more to say.
  for (int before = -1; before != asked;) {
    before = asked;
    absl::SleepFor(absl::Milliseconds(500));
  }
  v1::LinkResponse answer;
  while (link->Read(&answer)) {
  }
  writer.reset();
  return FromGrpcStatus(link->Finish());
}

TEST(WorkerPairTest, ALinkThatAsksWithoutListeningIsEnded) {
  TestDecode decode({.slots = 8});
  const absl::Status status = AskWithoutListening(decode, 50'000);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(ReasonOf(status), "QUEUE_FULL");
  EXPECT_THAT(std::string(status.message()), HasSubstr("1040 messages"));
  TestPrefill prefill({});
  EXPECT_EQ(Ask(prefill, decode, AskFor(TinyGolden("who"))).tokens, TinyGolden("who").answer);
}

// The pools that this process maps: others of this machine come and go.
std::set<std::string> MappedPools() {
  std::set<std::string> out;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (const size_t at = line.find("/dev/shm/tandem-kv-"); at != std::string::npos)
      out.insert(line.substr(at));
  }
  return out;
}

TEST(WorkerPairTest, LeavesNoSharedMemoryBehind) {
  std::set<std::string> pools;
  {
    TestDecode decode({});
    pools = MappedPools();
    ASSERT_EQ(pools.size(), 1U);
    EXPECT_TRUE(std::filesystem::exists(*pools.begin())) << *pools.begin();
  }
  EXPECT_FALSE(std::filesystem::exists(*pools.begin())) << *pools.begin();
  EXPECT_TRUE(MappedPools().empty());
}

}  // namespace
}  // namespace tandem
