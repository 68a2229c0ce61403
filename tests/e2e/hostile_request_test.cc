// SPDX-License-Identifier: Apache-2.0
// Goal: whatever a client sends, it gets one clear error (the right code; field, limit and value
// named) and nobody else notices. Method: a table of bad requests through the real router; after
// each part a good request is answered as the golden says, and all memory is free.
#include <cmath>
#include <fstream>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "services/runtime/rpc/status.h"
#include "tests/e2e/client.h"
#include "tests/e2e/cluster.h"

namespace tandem {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

constexpr uint32_t kBillion = 1'000'000'000;
const float kNan = std::numeric_limits<float>::quiet_NaN();
const float kInf = std::numeric_limits<float>::infinity();

struct Golden {
  std::vector<uint32_t> prompt;
  std::vector<uint32_t> answer;
};

Golden LoadGolden() {
  std::ifstream file(TANDEM_SOURCE_DIR "/tests/golden/model/golden_tiny.json");
  const nlohmann::json one = nlohmann::json::parse(file).at("cases").at("who");
  Golden golden{.prompt = one.at("prompt").get<std::vector<uint32_t>>(), .answer = {}};
  for (const auto& step : one.at("decode"))
    golden.answer.push_back(step.at("token").get<uint32_t>());
  return golden;
}

class HostileRequestTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    cluster_ = new Cluster({});
    ASSERT_TRUE(cluster_->WaitReady(absl::Seconds(60)).ok()) << cluster_->log("router");
  }
  static void TearDownTestSuite() { delete cluster_; }

  void TearDown() override {
    const Golden golden = LoadGolden();
    v1::GenerateRequest good = GreedyRequest(golden.prompt, golden.answer.size());
    good.set_ignore_eos(true);
    const Outcome outcome = Generate(*client_, good);
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_EQ(outcome.only().tokens, golden.answer);
    EXPECT_TRUE(cluster_->WaitAllFree("decode-0", absl::Seconds(10)).ok());
  }

  struct Case {
    std::function<void(v1::GenerateRequest&)> spoil;
    std::vector<std::string> said;  // parts of the message: field, limit, value
    StatusCode code = StatusCode::kInvalidArgument;
  };
  void Refuses(const std::vector<Case>& cases) {
    for (const Case& one : cases) {
      v1::GenerateRequest request = GreedyRequest({0, 5}, 4);
      one.spoil(request);
      const Outcome outcome = Generate(*client_, request, {.deadline = absl::Seconds(20)});
      EXPECT_EQ(outcome.status.code(), one.code) << one.said.front() << ": " << outcome.status;
      for (const std::string& part : one.said)
        EXPECT_THAT(std::string(outcome.status.message()), HasSubstr(part));
      EXPECT_TRUE(outcome.choices.empty()) << one.said.front();
      EXPECT_LT(outcome.took, absl::Seconds(10)) << one.said.front();
    }
  }

  static v1::Sampling& SamplingOf(v1::GenerateRequest& request) {
    return *request.mutable_sampling();
  }

  static Cluster* cluster_;
  const std::unique_ptr<v1::InferenceService::Stub> client_ = cluster_->NewClient();
};

Cluster* HostileRequestTest::cluster_ = nullptr;

TEST_F(HostileRequestTest, SamplingNumbersOutOfRangeAreNamed) {
  using Request = v1::GenerateRequest;
  std::vector<Case> cases;
  const auto add = [&](const std::string& field, void (v1::Sampling::*set)(float),
                       const std::vector<float>& values) {
    for (const float value : values) {
      cases.push_back({.spoil = [=](Request& r) { (SamplingOf(r).*set)(value); },
                       .said = {absl::StrCat("sampling.", field, ": ", value)}});
    }
  };
  add("temperature", &v1::Sampling::set_temperature, {kNan, kInf, -kInf, -1, 101});
  add("top_p", &v1::Sampling::set_top_p, {kNan, 0, 1.1F, -1});
  add("min_p", &v1::Sampling::set_min_p, {kNan, 2, -1});
  add("repetition_penalty", &v1::Sampling::set_repetition_penalty, {kNan, 0, -1, 11, kInf});
  add("presence_penalty", &v1::Sampling::set_presence_penalty, {kNan, -2.5F, 3});
  add("frequency_penalty", &v1::Sampling::set_frequency_penalty, {kNan, -kInf, 3});
  for (const uint32_t n : {0U, 17U, kBillion}) {
    cases.push_back({.spoil = [=](Request& r) { SamplingOf(r).set_n(n); },
                     .said = {"sampling.n: ", absl::StrCat(n), "16"}});
  }
  Refuses(cases);
}

TEST_F(HostileRequestTest, SmallestAndLargestLegalNumbersAreAnswered) {
  const std::vector<std::function<void(v1::Sampling&)>> extremes = {
      [](v1::Sampling& s) { s.set_top_k(std::numeric_limits<uint32_t>::max()); },
      [](v1::Sampling& s) { s.set_top_k(1U << 31); },
      [](v1::Sampling& s) { s.set_top_p(std::numeric_limits<float>::denorm_min()); },
      [](v1::Sampling& s) { s.set_min_p(1); },
      [](v1::Sampling& s) { s.set_temperature(std::numeric_limits<float>::denorm_min()); },
      [](v1::Sampling& s) { s.set_temperature(100); },
      [](v1::Sampling& s) { s.set_repetition_penalty(1e-3F); },
      [](v1::Sampling& s) { s.set_repetition_penalty(10); },
  };
  for (size_t i = 0; i < extremes.size(); ++i) {
    v1::GenerateRequest request = GreedyRequest({0, 5}, 4);
    SamplingOf(request).set_temperature(1);
    extremes[i](SamplingOf(request));
    request.set_logprobs(20);
    request.set_ignore_eos(true);
    const Outcome outcome = Generate(*client_, request, {.deadline = absl::Seconds(20)});
    EXPECT_TRUE(outcome.status.ok()) << i << ": " << outcome.status;
  }
}

TEST_F(HostileRequestTest, LengthsAndListsOutOfRangeAreNamed) {
  using Request = v1::GenerateRequest;
  const auto add_stops = [](Request& r, int count, size_t bytes) {
    for (int i = 0; i < count; ++i) r.add_stop(std::string(bytes, 'a'));
  };
  Refuses({
      {.spoil = [](Request& r) { r.set_logprobs(kBillion); },
       .said = {"logprobs: ", "20", "1000000000"}},
      {.spoil = [](Request& r) { r.set_max_tokens(0); }, .said = {"max_tokens: 0", "limit of 1"}},
      {.spoil = [](Request& r) { r.set_max_tokens(0xFFFFFFFF); },
       .said = {"max_tokens: 4294967295", "limit"}},
      {.spoil = [=](Request& r) { add_stops(r, 1, 0); }, .said = {"stop[0]: ", "0 bytes", "256"}},
      {.spoil = [=](Request& r) { add_stops(r, 1, 257); }, .said = {"stop[0]: ", "257", "256"}},
      {.spoil = [=](Request& r) { add_stops(r, 1, 1'000'000); }, .said = {"stop[0]: ", "1000000"}},
      {.spoil = [=](Request& r) { add_stops(r, 10'000, 3); }, .said = {"stop: ", "10000", "64"}},
      // Sixty-four faults at once must still fit an answer's trailers.
      {.spoil = [=](Request& r) { add_stops(r, 64, 300); }, .said = {"stop[7]: ", "56 more"}},
      {.spoil = [](Request& r) { r.mutable_stop_token_ids()->Resize(1025, 1); },
       .said = {"stop_token_ids: ", "1025", "1024"}},
      {.spoil = [](Request& r) { r.add_stop_token_ids(kBillion); },
       .said = {"stop_token_ids[0]: ", "1000000000"}},
  });
}

TEST_F(HostileRequestTest, PromptsThatCannotBeReadAreNamed) {
  using Request = v1::GenerateRequest;
  Refuses({
      {.spoil = [](Request& r) { r.clear_input(); }, .said = {"input: ", "required"}},
      {.spoil = [](Request& r) { r.set_text(""); }, .said = {"input: ", "0 tokens"}},
      {.spoil = [](Request& r) { r.mutable_token_ids()->clear_ids(); },
       .said = {"input: ", "0 tokens"}},
      {.spoil = [](Request& r) { r.mutable_token_ids()->add_ids(0xFFFFFFFF); },
       .said = {"token_ids.ids[2]: 4294967295"}},
      {.spoil = [](Request& r) { r.mutable_token_ids()->mutable_ids()->Resize(1'000'000, 5); },
       .said = {"1000000 tokens", "limit"}},
      {.spoil = [](Request& r) { r.set_text(std::string(1'000'000, 'a')); },
       .said = {"tokens", "limit"}},
      {.spoil = [](Request& r) { r.set_text(std::string(17U << 20, 'a')); },
       .said = {"larger than max"},
       .code = StatusCode::kResourceExhausted},
      {.spoil = [](Request& r) { r.set_model("gpt"); }, .said = {"model: \"gpt\"", "tiny-v4"}},
      {.spoil = [](Request& r) { r.set_model(std::string(1'000'000, 'm')); }, .said = {"model: "}},
      {.spoil = [](Request& r) { r.set_request_id(std::string(129, 'x')); },
       .said = {"request_id: ", "129", "128"}},
      {.spoil = [](Request& r) { r.set_request_id("a\nb"); }, .said = {"request_id: ", "control"}},
      {.spoil = [](Request& r) { r.set_thinking(v1::THINKING_ON); }, .said = {"thinking: "}},
      {.spoil = [](Request& r) { r.set_reasoning_effort(v1::REASONING_EFFORT_MAX); },
       .said = {"reasoning_effort: ", "chat"}},
  });
}

TEST_F(HostileRequestTest, ConversationsThatMakeNoSenseAreNamed) {
  using Request = v1::GenerateRequest;
  const auto chat = [](Request& r) -> v1::Chat& {
    r = GreedyChat("hello", false, 4);
    return *r.mutable_chat();
  };
  const auto tools = [chat](const std::string& json) {
    return Case{.spoil = [=](Request& r) { chat(r).set_tools_json(json); },
                .said = {"chat.tools_json: "}};
  };
  const auto format = [chat](const std::string& json) {
    return Case{.spoil = [=](Request& r) { chat(r).set_response_format_json(json); },
                .said = {"chat.response_format_json: "}};
  };
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  Refuses({
      {.spoil = [=](Request& r) { chat(r).clear_messages(); },
       .said = {"chat.messages: ", "empty"}},
      {.spoil = [=](Request& r) { chat(r).mutable_messages(0)->set_role("wizard"); },
       .said = {"chat.messages[0].role: ", "wizard"}},
      {.spoil =
           [=](Request& r) { chat(r).mutable_messages(0)->set_role(std::string(1'000'000, 'w')); },
       .said = {"chat.messages[0].role: "}},
      {.spoil =
           [=](Request& r) {
             chat(r).mutable_messages(0)->set_role("\u20ac" + std::string(900, '\x01'));
           },
       .said = {"chat.messages[0].role: "}},
      {.spoil =
           [=](Request& r) {
             chat(r);
             r.set_thinking(static_cast<v1::Thinking>(9));
           },
       .said = {"thinking: 9"}},
      {.spoil =
           [=](Request& r) {
             chat(r);
             r.set_reasoning_effort(v1::REASONING_EFFORT_MAX);
           },
       .said = {"reasoning_effort: ", "THINKING_ON"}},
      tools("{"),
      tools("[1]"),
      tools("{}"),
      tools(deep),
      tools("\"x\""),
      tools("[{\"function\":[]}]"),
      tools("[" + std::string(1'000'000, ' ')),
      format("["),
      format("[]"),
      format(deep),
      format("nul"),
      format("{\"a\":1e999}"),
  });
}

TEST_F(HostileRequestTest, ToolsThatFillTheContextAreAPromptTooLong) {
  Refuses({{.spoil =
                [](v1::GenerateRequest& r) {
                  r = GreedyChat("hello", false, 4);
                  r.mutable_chat()->set_tools_json(
                      "[{\"type\":\"function\",\"function\":{\"name\":\"" +
                      std::string(1'000'000, 'q') + "\"}}]");
                },
            .said = {"tokens", "limit"}}});
}

TEST_F(HostileRequestTest, ARunningIdIsRefusedAndThenFreeAgain) {
  v1::GenerateRequest request = GreedyRequest({0, 5}, 2000);
  request.set_ignore_eos(true);
  request.set_request_id("once");
  absl::Status second;
  const auto other = cluster_->NewClient();
  const Outcome first = Generate(*client_, request, {.cancel_when = [&](int tokens) {
    if (tokens > 0 && second.ok()) second = Generate(*other, request).status;
    return !second.ok();
  }});
  EXPECT_EQ(second.code(), StatusCode::kAlreadyExists) << second;
  EXPECT_THAT(std::string(second.message()), HasSubstr("request_id: \"once\""));
  EXPECT_EQ(first.status.code(), StatusCode::kCancelled);
  ASSERT_TRUE(cluster_->WaitAllFree("decode-0", absl::Seconds(10)).ok());
  request.set_max_tokens(2);
  // The router frees the id when it has seen both workers' ends, a moment after they are free.
  const absl::Time limit = absl::Now() + absl::Seconds(10);
  absl::Status again;
  do {
    again = Generate(*client_, request).status;
  } while (again.code() == StatusCode::kAlreadyExists && absl::Now() < limit);
  EXPECT_TRUE(again.ok()) << again;
}

TEST_F(HostileRequestTest, OtherCallsRefuseTheSame) {
  v1::DetokenizeRequest detokenize;
  detokenize.add_token_ids(kBillion);
  v1::DetokenizeResponse text;
  grpc::ClientContext first;
  const grpc::Status bad_id = client_->Detokenize(&first, detokenize, &text);
  EXPECT_EQ(bad_id.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(bad_id.error_message(), HasSubstr("token_ids[0]: 1000000000"));
  v1::TokenizeResponse ids;
  grpc::ClientContext second;
  const grpc::Status no_input = client_->Tokenize(&second, {}, &ids);
  EXPECT_EQ(no_input.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(no_input.error_message(), HasSubstr("input: "));
  v1::CancelRequest cancel;
  cancel.set_request_id(std::string(1'000'000, 'x'));
  v1::CancelResponse cancelled;
  grpc::ClientContext third;
  EXPECT_TRUE(client_->Cancel(&third, cancel, &cancelled).ok());
  EXPECT_FALSE(cancelled.found());
}

}  // namespace
}  // namespace tandem
