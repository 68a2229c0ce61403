// SPDX-License-Identifier: Apache-2.0
// Goal: every field has its limit, and what is past it is named with limit and value. Method: a
// table of one wrong field each.
#include "services/router/request_validator.h"

#include <cmath>
#include <functional>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/rpc/status.h"

namespace tandem {
namespace {

using testing::HasSubstr;

const RequestLimits kLimits = {.model = "tiny",
                               .vocab_size = 100,
                               .context_tokens_max = 50,
                               .logprobs_max = 20,
                               .choices_max = 4,
                               .max_tokens_default = 16};

v1::GenerateRequest Valid() {
  v1::GenerateRequest request;
  request.mutable_chat()->add_messages()->set_role("user");
  return request;
}

struct Case {
  std::string field;
  std::function<void(v1::GenerateRequest&)> spoil;
  std::string says;
};

std::vector<Case> Cases() {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  return {
      {"request_id", [](auto& r) { r.set_request_id(std::string(129, 'a')); }, "129 bytes"},
      {"request_id", [](auto& r) { r.set_request_id("a\nb"); }, "control"},
      {"model", [](auto& r) { r.set_model("other"); }, "\"tiny\" is"},
      {"input", [](auto& r) { r.clear_chat(); }, "required"},
      {"chat.messages", [](auto& r) { r.mutable_chat()->clear_messages(); }, "empty"},
      {"token_ids.ids[1]",
       [](auto& r) {
         r.mutable_token_ids()->add_ids(99);
         r.mutable_token_ids()->add_ids(100);
       },
       "100 is not below the vocabulary size of 100"},
      {"sampling.temperature", [nan](auto& r) { r.mutable_sampling()->set_temperature(nan); },
       "nan is outside of 0 to 100"},
      {"sampling.temperature", [](auto& r) { r.mutable_sampling()->set_temperature(-1); },
       "-1 is outside"},
      {"sampling.temperature", [](auto& r) { r.mutable_sampling()->set_temperature(INFINITY); },
       "inf is outside"},
      {"sampling.top_p", [](auto& r) { r.mutable_sampling()->set_top_p(0); }, "above 0 to 1"},
      {"sampling.top_p", [](auto& r) { r.mutable_sampling()->set_top_p(1.5); }, "1.5"},
      {"sampling.min_p", [](auto& r) { r.mutable_sampling()->set_min_p(2); }, "0 to 1"},
      {"sampling.repetition_penalty",
       [](auto& r) { r.mutable_sampling()->set_repetition_penalty(0); },
       "0 is outside of 0.001 to 10"},
      {"sampling.presence_penalty", [](auto& r) { r.mutable_sampling()->set_presence_penalty(3); },
       "-2 to 2"},
      {"sampling.frequency_penalty",
       [nan](auto& r) { r.mutable_sampling()->set_frequency_penalty(nan); }, "nan"},
      {"sampling.n", [](auto& r) { r.mutable_sampling()->set_n(0); }, "0 is outside of 1 to 4"},
      {"sampling.n", [](auto& r) { r.mutable_sampling()->set_n(5); }, "5"},
      {"max_tokens", [](auto& r) { r.set_max_tokens(0); }, "0 is below"},
      {"stop[0]", [](auto& r) { r.add_stop(""); }, "0 bytes"},
      {"stop[0]", [](auto& r) { r.add_stop(std::string(257, 'a')); }, "257 bytes"},
      {"stop",
       [](auto& r) {
         for (int i = 0; i < 65; ++i) r.add_stop("a");
       },
       "65 texts"},
      {"stop_token_ids[0]", [](auto& r) { r.add_stop_token_ids(4'000'000'000U); }, "4000000000"},
      {"logprobs", [](auto& r) { r.set_logprobs(1'000'000'000); }, "limit of 20"},
      {"thinking", [](auto& r) { r.set_thinking(static_cast<v1::Thinking>(9)); }, "9"},
      {"thinking",
       [](auto& r) {
         r.set_text("a");
         r.set_thinking(v1::THINKING_ON);
       },
       "needs a chat"},
      {"reasoning_effort", [](auto& r) { r.set_reasoning_effort(v1::REASONING_EFFORT_MAX); },
       "THINKING_ON"},
  };
}

TEST(RequestValidatorTest, EachWrongFieldIsNamedWithLimitAndValue) {
  for (const Case& c : Cases()) {
    v1::GenerateRequest request = Valid();
    ASSERT_TRUE(ValidateRequest(request, kLimits).ok());
    c.spoil(request);
    const absl::Status status = ValidateRequest(request, kLimits);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.field;
    EXPECT_EQ(ReasonOf(status), "INVALID_FIELD") << c.field;
    const auto details = DetailsOf(status).bad_request;
    ASSERT_EQ(details.field_violations_size(), 1) << c.field << ": " << status;
    EXPECT_EQ(details.field_violations(0).field(), c.field);
    EXPECT_THAT(details.field_violations(0).description(), HasSubstr(c.says));
  }
}

TEST(RequestValidatorTest, AllViolationsAreReportedTogether) {
  v1::GenerateRequest request = Valid();
  request.set_logprobs(21);
  request.set_max_tokens(0);
  request.mutable_sampling()->set_top_p(7);
  EXPECT_EQ(DetailsOf(ValidateRequest(request, kLimits)).bad_request.field_violations_size(), 3);
}

TEST(RequestValidatorTest, AnswerFitsIntoTheContext) {
  v1::GenerateRequest request = Valid();
  EXPECT_EQ(AnswerTokensMax(request, 10, kLimits).value(), 16U);
  EXPECT_EQ(AnswerTokensMax(request, 40, kLimits).value(), 10U);
  const absl::Status full = AnswerTokensMax(request, 50, kLimits).status();
  EXPECT_EQ(ReasonOf(full), "PROMPT_TOO_LONG");
  EXPECT_EQ(DetailsOf(full).info.metadata().at("limit"), "49");
  EXPECT_EQ(DetailsOf(full).info.metadata().at("got"), "50");
  EXPECT_EQ(ReasonOf(AnswerTokensMax(request, 0, kLimits).status()), "INVALID_FIELD");
  request.set_max_tokens(40);
  EXPECT_EQ(AnswerTokensMax(request, 10, kLimits).value(), 40U);
  const absl::Status wide = AnswerTokensMax(request, 11, kLimits).status();
  EXPECT_THAT(std::string(wide.message()), HasSubstr("40 is above the limit of 39"));
}

TEST(RequestValidatorTest, AbsentSamplingTakesTheModelsDefaultsThenTheContracts) {
  v1::GenerateRequest request = Valid();
  v1::SamplingParams params = ResolveSampling(request, {.temperature = 0.6, .top_p = 0.95});
  EXPECT_FLOAT_EQ(params.temperature(), 0.6);
  EXPECT_FLOAT_EQ(params.top_p(), 0.95);
  EXPECT_EQ(params.repetition_penalty(), 1);
  EXPECT_FALSE(params.has_logprobs());
  request.mutable_sampling()->set_temperature(0);
  request.set_logprobs(0);
  params = ResolveSampling(request, {.temperature = 0.6, .top_p = 0.95});
  EXPECT_EQ(params.temperature(), 0);
  EXPECT_TRUE(params.has_logprobs());
}

}  // namespace
}  // namespace tandem
