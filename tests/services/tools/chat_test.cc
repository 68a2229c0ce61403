// SPDX-License-Identifier: Apache-2.0
// Goal: `tandem chat` is a conversation as a person at a terminal has it: answers stream, reasoning
// is dim, Ctrl-C ends an answer and not the conversation, Ctrl-D ends well. Method: the program on
// a pseudo-terminal against the three processes; what is shown, and what the router was asked, is
// compared with the same conversation over the public API.
#include <signal.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/e2e/client.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/exposition.h"
#include "tests/services/tools/terminal.h"

namespace tandem {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kFirst[] =
    "Tom has 5 apples. Ana gives Tom 7 more, and then Tom loses 3. How many apples does Tom have "
    "now?";
constexpr char kSecond[] = "Sam sells 26 cookies on Saturday and 34 on Wednesday. How many in all?";
constexpr char kDim[] = "\x1b[2m";
constexpr char kPlain[] = "\x1b[0m";
constexpr uint32_t kTokens = 120;

// What a terminal shows, taken apart.
struct Shown {
  std::string dim;
  std::string plain;
  int dim_pieces = 0;
};
Shown TakeApart(std::string text) {
  Shown out;
  // The terminal's own: what Ctrl-C looks like, and its ends of lines.
  text = absl::StrReplaceAll(text, {{"^C", ""}, {"\r\n", "\n"}});
  for (size_t at = 0; at < text.size();) {
    const size_t begin = text.find(kDim, at);
    out.plain += text.substr(at, begin == std::string::npos ? begin : begin - at);
    if (begin == std::string::npos) break;
    const size_t end = text.find(kPlain, begin);
    out.dim += text.substr(begin + sizeof(kDim) - 1, end - begin - sizeof(kDim) + 1);
    ++out.dim_pieces;
    at = end + sizeof(kPlain) - 1;
  }
  return out;
}

class ChatTest : public ::testing::TestWithParam<bool> {  // thinking
 protected:
  static void SetUpTestSuite() {
    // The plain kernels are slow enough to be interrupted.
    cluster_ = new Cluster({.worker_extra = "kernels: KERNELS_CPU_REFERENCE"});
    ASSERT_TRUE(cluster_->WaitReady(absl::Seconds(60)).ok()) << cluster_->log("router");
  }
  static void TearDownTestSuite() { delete cluster_; }

  static std::unique_ptr<Terminal> Chat(const Cluster& cluster,
                                        const std::vector<std::string>& more = {}) {
    std::vector<std::string> command = {TANDEM_BINARY_DIR "/tandem", "chat",          "--target",
                                        cluster.endpoint("router"),  "--temperature", "0"};
    command.insert(command.end(), more.begin(), more.end());
    if (GetParam()) command.push_back("--thinking");
    auto chat = std::make_unique<Terminal>(command);
    EXPECT_EQ(chat->ReadUntil("> "), "> ");
    return chat;
  }
  static std::unique_ptr<Terminal> Chat() {
    return Chat(*cluster_, {"--max-tokens", absl::StrCat(kTokens)});
  }
  // Of all requests so far, what their answers may take.
  static double TokensAllowed(const Cluster& cluster) {
    const auto seen = ScrapeMetrics(cluster.metrics_endpoint("router"));
    return seen.ok() ? seen->Sum("vllm:request_params_max_tokens_sum") : -1;
  }
  static void Ask(Terminal& chat, const std::string& question) {
    chat.Type(question + "\n");
    EXPECT_EQ(chat.ReadUntil("\r\n"), question + "\r\n");  // the echo
  }
  // What is shown up to the next prompt, that not included.
  static Shown Answer(Terminal& chat) {
    std::string text = chat.ReadUntil("\r\n> ");
    EXPECT_TRUE(text.ends_with("\r\n> ")) << text;
    text.resize(text.size() - std::min<size_t>(text.size(), 4));
    return TakeApart(text);
  }

  // The same over the API.
  static v1::GenerateRequest Conversation() { return GreedyChat(kFirst, GetParam(), kTokens); }
  static Outcome Expected(const v1::GenerateRequest& request) {
    const Outcome outcome = Generate(*cluster_->NewClient(), request);
    EXPECT_TRUE(outcome.status.ok()) << outcome.status;
    return outcome;
  }
  static void ExpectShown(const Shown& shown, const Choice& choice) {
    EXPECT_EQ(shown.dim, choice.reasoning);
    const bool both = !choice.reasoning.empty() && !choice.text.empty();
    EXPECT_EQ(shown.plain, (both ? "\n\n" : "") + choice.text);
  }
  // The router's line of its newest request.
  static std::string LastRequest() {
    const std::string log = cluster_->log("router");
    return log.substr(log.rfind(" request id="));
  }

  static Cluster* cluster_;
};

Cluster* ChatTest::cluster_ = nullptr;

TEST_P(ChatTest, StreamsAnAnswerWithItsReasoningDim) {
  const Outcome expected = Expected(Conversation());
  ASSERT_FALSE(expected.only().text.empty());
  EXPECT_EQ(expected.only().reasoning.empty(), !GetParam());
  const std::string before = LastRequest();
  const auto chat = Chat();
  Ask(*chat, kFirst);
  const std::string beginning = chat->ReadUntil(GetParam() ? kPlain : " ");
  EXPECT_EQ(LastRequest(), before) << "the first piece came with the end";
  Shown shown = TakeApart(beginning);
  const Shown rest = Answer(*chat);
  if (GetParam()) {
    EXPECT_GT(rest.dim_pieces, 3);
  }
  shown.dim += rest.dim;
  shown.plain += rest.plain;
  ExpectShown(shown, expected.only());
  chat->Type(kCtrlD);
  EXPECT_EQ(chat->Wait(absl::Seconds(10)), 0);
}

TEST_P(ChatTest, CtrlCEndsTheAnswerAndKeepsTheConversation) {
  v1::GenerateRequest conversation = Conversation();
  const Choice whole = Expected(conversation).only();
  const auto chat = Chat();
  Ask(*chat, kFirst);
  Shown cut = TakeApart(chat->ReadUntil(GetParam() ? kPlain : " "));
  const absl::Time typed = absl::Now();
  chat->Type(kCtrlC);
  const Shown rest = Answer(*chat);
  EXPECT_LT(absl::Now() - typed, absl::Seconds(3));
  cut.dim += rest.dim;
  cut.plain += rest.plain;
  const std::string said = GetParam() ? cut.dim : cut.plain;
  const std::string all = GetParam() ? whole.reasoning : whole.text;
  EXPECT_LT(said.size(), all.size()) << "it was not interrupted";
  EXPECT_EQ(said, all.substr(0, said.size()));
  // The router learns of it a moment later.
  for (int i = 0; i < 500 && LastRequest().find("outcome=cancelled") == std::string::npos; ++i)
    absl::SleepFor(absl::Milliseconds(10));
  EXPECT_THAT(LastRequest(), HasSubstr("outcome=cancelled"));

  v1::Message& answer = *conversation.mutable_chat()->add_messages();
  answer.set_role("assistant");
  answer.set_reasoning(cut.dim);
  answer.set_content(cut.plain);
  v1::Message& question = *conversation.mutable_chat()->add_messages();
  question.set_role("user");
  question.set_content(kSecond);
  const Outcome expected = Expected(conversation);
  Ask(*chat, kSecond);
  ExpectShown(Answer(*chat), expected.only());
  EXPECT_THAT(LastRequest(), HasSubstr(absl::StrCat(" prompt_tokens=", expected.prompt_tokens)));
  EXPECT_GT(expected.prompt_tokens,
            Expected(GreedyChat(kSecond, GetParam(), kTokens)).prompt_tokens);
  chat->Type(kCtrlD);
  EXPECT_EQ(chat->Wait(absl::Seconds(10)), 0);
  EXPECT_TRUE(cluster_->WaitAllFree("decode-0", absl::Seconds(10)).ok());
}

TEST_P(ChatTest, AnAnswerThatIsCutSaysSo) {
  const auto chat = Chat(*cluster_, {"--max-tokens", "5"});
  Ask(*chat, kFirst);
  EXPECT_THAT(Answer(*chat).plain, EndsWith("\n(cut at 5 tokens: --max-tokens)"));
  chat->Type(kCtrlD);
  EXPECT_EQ(chat->Wait(absl::Seconds(10)), 0);
}

TEST_P(ChatTest, AnAnswerHasRoomToReason) {
  const double before = TokensAllowed(*cluster_);
  const auto chat = Chat(*cluster_);
  Ask(*chat, kFirst);
  EXPECT_THAT(Answer(*chat).plain, Not(HasSubstr("(cut at")));
  EXPECT_EQ(TokensAllowed(*cluster_) - before, 8192);
}

TEST_P(ChatTest, AnAnswerGetsWhatTheContextHas) {
  constexpr int kContext = 400;
  const Cluster cluster({.worker_extra = absl::StrCat("context_tokens_max: ", kContext)});
  ASSERT_TRUE(cluster.WaitReady(absl::Seconds(60)).ok());
  const double before = TokensAllowed(cluster);
  const auto chat = Chat(cluster);
  Ask(*chat, kFirst);
  EXPECT_THAT(Answer(*chat).plain, Not(HasSubstr("error")));
  const auto prompt = Expected(Conversation()).prompt_tokens;
  EXPECT_EQ(TokensAllowed(cluster) - before, kContext - prompt);
}

TEST_P(ChatTest, CtrlCAtThePromptDoesWhatItAlwaysDoes) {
  const auto chat = Chat();
  chat->Type(kCtrlC);
  EXPECT_EQ(chat->Wait(absl::Seconds(10)), 128 + SIGINT);
}

TEST_P(ChatTest, ARouterThatIsAwayIsSaidAndTheNextQuestionIsAnswered) {
  const auto chat = Chat();
  cluster_->Kill("router");
  Ask(*chat, kFirst);
  EXPECT_THAT(chat->ReadUntil("> "), HasSubstr("error: UNAVAILABLE"));
  cluster_->Start("router");
  ASSERT_TRUE(cluster_->WaitReady(absl::Seconds(60)).ok());
  const Outcome expected = Expected(GreedyChat(kSecond, GetParam(), kTokens));
  Ask(*chat, kSecond);
  ExpectShown(Answer(*chat), expected.only());
  chat->Type(kCtrlD);
  EXPECT_EQ(chat->Wait(absl::Seconds(10)), 0);
}

INSTANTIATE_TEST_SUITE_P(Modes, ChatTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Thinking" : "Chat"; });

}  // namespace
}  // namespace tandem
