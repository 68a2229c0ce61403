// SPDX-License-Identifier: Apache-2.0
// Goal: answers that share a token stream are the answers that each would have alone, and nothing
// of them stays when a call or the stream goes. Method: goldens of tiny-v4, both workers in this
// process, real gRPC.
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/base/thread.h"
#include "services/runtime/rpc/status.h"
#include "tests/e2e/workers/test_workers.h"

namespace tandem {
namespace {

using ::testing::AnyOf;

// A stream of many answers, read by a thread of its own until it ends.
class Tokens {
 public:
  explicit Tokens(TestDecode& decode) : reader_(decode.answers().Tokens(&context_, {})) {
    v1::TokensResponse first;
    EXPECT_TRUE(reader_->Read(&first));
    name_ = first.stream();
    thread_ = std::make_unique<Thread>("tokens", [this] { Read(); });
  }
  ~Tokens() { Cancel(); }

  void Cancel() {
    context_.TryCancel();
    thread_.reset();
  }
  uint64_t name() const { return name_; }
  // Parts of an answer, once there are so many.
  std::vector<v1::DecodeServiceGenerateResponse> Await(uint64_t answer, size_t parts) {
    const auto there = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      return parts_[answer].size() >= parts;
    };
    absl::MutexLock lock(&mutex_);
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&there), absl::Seconds(30)));
    return parts_[answer];
  }

 private:
  void Read() {
    v1::TokensResponse message;
    while (reader_->Read(&message)) {
      absl::MutexLock lock(&mutex_);
      for (const v1::AnswerPart& part : message.parts()) {
        parts_[part.answer()].push_back(part.part());
      }
    }
    (void)reader_->Finish();
  }

  grpc::ClientContext context_;
  const std::unique_ptr<grpc::ClientReader<v1::TokensResponse>> reader_;
  uint64_t name_ = 0;
  absl::Mutex mutex_;
  std::map<uint64_t, std::vector<v1::DecodeServiceGenerateResponse>> parts_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Thread> thread_;
};

// An Answer call, made ready by Reserve and Prefill, that runs on a thread of its own.
class Call {
 public:
  struct Place {
    uint64_t stream = 0;
    uint64_t answer = 0;
  };
  Call(TestPrefill& prefill, TestDecode& decode, const Question& question, const Place& place) {
    const auto reservation =
        Reserve(decode, static_cast<int>(question.prompt.size()) + question.max_tokens);
    EXPECT_TRUE(reservation.ok());
    const auto done = Prefill(prefill, question, *reservation);
    EXPECT_TRUE(done.ok());
    first_ = done->first().id();
    *request_.mutable_request() = GenerateRequestOf(question, *reservation, first_);
    request_.set_stream(place.stream);
    request_.set_answer(place.answer);
    thread_ = std::make_unique<Thread>("answer", [this, &decode] {
      status_ = FromGrpcStatus(decode.answers().Answer(&context_, request_, &response_));
    });
  }

  void Cancel() { context_.TryCancel(); }
  const absl::Status& Join() {
    thread_.reset();
    return status_;
  }
  uint32_t first() const { return first_; }
  uint32_t parts() const { return response_.parts(); }

 private:
  grpc::ClientContext context_;
  v1::AnswerRequest request_;
  v1::AnswerResponse response_;
  uint32_t first_ = 0;
  absl::Status status_;
  std::unique_ptr<Thread> thread_;
};

Question AskFor(const Golden& golden) {
  return {.prompt = golden.prompt,
          .max_tokens = static_cast<int>(golden.answer.size()),
          .sampling = Greedy()};
}

// Far from its end when the test is.
Question AskForMuch() {
  Question question = AskFor(TinyGolden("who"));
  question.max_tokens = 2000;
  return question;
}

TEST(AnswersTest, SharedOnOneStreamEachIsItsGolden) {
  TestDecode decode({});
  TestPrefill prefill({});
  Tokens tokens(decode);
  const std::vector<std::string> names = {"story_chat", "turns", "recall", "who"};
  std::vector<std::unique_ptr<Call>> calls;
  for (size_t i = 0; i < names.size(); ++i) {
    calls.push_back(std::make_unique<Call>(prefill, decode, AskFor(TinyGolden(names[i])),
                                           Call::Place{.stream = tokens.name(), .answer = 70 + i}));
  }
  for (size_t i = 0; i < names.size(); ++i) {
    ASSERT_TRUE(calls[i]->Join().ok()) << calls[i]->Join();
    std::vector<int32_t> answer = {static_cast<int32_t>(calls[i]->first())};
    const auto parts = tokens.Await(70 + i, calls[i]->parts());
    EXPECT_EQ(parts.size(), calls[i]->parts());
    for (const auto& part : parts) {
      EXPECT_EQ(part.has_queue(), &part == &parts.front());
      for (const v1::SampledToken& token : part.tokens()) {
        answer.push_back(static_cast<int32_t>(token.id()));
      }
    }
    EXPECT_EQ(answer, TinyGolden(names[i]).answer) << names[i];
    EXPECT_EQ(parts.back().reason(), v1::FINISH_REASON_LENGTH);
  }
  EXPECT_TRUE(decode.AllFreeWithin(absl::Seconds(10)));
}

TEST(AnswersTest, ACallThatIsCancelledEndsItsAnswerAlone) {
  TestDecode decode({});
  TestPrefill prefill({});
  Tokens tokens(decode);
  Call goes(prefill, decode, AskForMuch(), {.stream = tokens.name(), .answer = 1});
  Call stays(prefill, decode, AskFor(TinyGolden("turns")), {.stream = tokens.name(), .answer = 2});
  (void)tokens.Await(1, 2);
  goes.Cancel();
  EXPECT_EQ(goes.Join().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(stays.Join().ok()) << stays.Join();
  EXPECT_TRUE(decode.AllFreeWithin(absl::Seconds(10)));
}

TEST(AnswersTest, TheEndOfTheStreamEndsWhatIsOnItAlone) {
  TestDecode decode({});
  TestPrefill prefill({});
  Tokens tokens(decode);
  Tokens others(decode);
  EXPECT_NE(tokens.name(), others.name());
  Call one(prefill, decode, AskForMuch(), {.stream = tokens.name(), .answer = 1});
  Call two(prefill, decode, AskForMuch(), {.stream = tokens.name(), .answer = 2});
  Call other(prefill, decode, AskFor(TinyGolden("turns")), {.stream = others.name(), .answer = 1});
  (void)tokens.Await(2, 2);
  tokens.Cancel();
  // That it is gone may show in what is written first.
  const auto ended = AnyOf(absl::StatusCode::kCancelled, absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(one.Join().code(), ended);
  EXPECT_THAT(two.Join().code(), ended);
  EXPECT_TRUE(other.Join().ok()) << other.Join();
  Call late(prefill, decode, AskForMuch(), {.stream = tokens.name(), .answer = 3});
  EXPECT_EQ(ReasonOf(late.Join()), "WORKER_LOST") << late.Join();
}

TEST(AnswersTest, AStreamTooManyIsRefused) {
  TestDecode decode({});
  std::vector<std::unique_ptr<Tokens>> open;
  for (size_t i = 0; i < TokenStreams::kMost; ++i) open.push_back(std::make_unique<Tokens>(decode));
  grpc::ClientContext context;
  SetDeadline(context, absl::Now() + absl::Seconds(30));
  const auto reader = decode.answers().Tokens(&context, {});
  v1::TokensResponse none;
  EXPECT_FALSE(reader->Read(&none));
  EXPECT_EQ(ReasonOf(FromGrpcStatus(reader->Finish())), "QUEUE_FULL");
}

}  // namespace
}  // namespace tandem
