// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <initializer_list>
#include <iostream>
#include <optional>
#include <string>

#include "services/runtime/base/thread.h"
#include "services/runtime/rpc/channel.h"
#include "services/tools/client.h"
#include "services/tools/request_flags.h"
#include "services/tools/verbs.h"

namespace tandem {
namespace {

sigset_t Signals(std::initializer_list<int> numbers) {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : numbers) sigaddset(&set, number);
  return set;
}

// While it lives, Ctrl-C cancels the call. SIGINT and SIGUSR1, with which the destructor wakes the
// waiting thread, are blocked in every thread.
class CancelOnInterrupt {
 public:
  explicit CancelOnInterrupt(grpc::ClientContext& context)
      : thread_("interrupt", [&context] {
          const sigset_t awaited = Signals({SIGINT, SIGUSR1});
          int number = 0;
          while (sigwait(&awaited, &number) == 0 && number == SIGINT) context.TryCancel();
        }) {}
  ~CancelOnInterrupt() { kill(getpid(), SIGUSR1); }

 private:
  Thread thread_;
};

// A router that was away is noticed only while somebody waits for it.
constexpr absl::Duration kConnectTimeout = absl::Seconds(2);

// At the prompt Ctrl-C does what it always does.
bool ReadLine(std::string& line) {
  const sigset_t interrupt = Signals({SIGINT});
  pthread_sigmask(SIG_UNBLOCK, &interrupt, nullptr);
  std::cout << "> " << std::flush;
  const bool read = static_cast<bool>(std::getline(std::cin, line));
  pthread_sigmask(SIG_BLOCK, &interrupt, nullptr);
  return read;
}

// One answer on the terminal; what was said is what the next turn knows of it.
class Turn {
 public:
  void Add(const v1::GenerateResponse& event) {
    if (event.has_finished()) finished_ = event.finished();
    if (!event.has_delta()) return;
    const v1::Delta& delta = event.delta();
    if (!delta.reasoning().empty()) Show("\x1b[2m", delta.reasoning(), "\x1b[0m");
    if (!delta.text().empty()) {
      if (!said_.reasoning().empty() && said_.content().empty()) std::cout << "\n\n";
      Show("", delta.text(), "");
    }
    said_.mutable_reasoning()->append(delta.reasoning());
    said_.mutable_content()->append(delta.text());
    for (const v1::ToolCall& call : delta.tool_calls()) {
      Show("\x1b[2m", call.name() + "(" + call.arguments_json() + ")\n", "\x1b[0m");
      *said_.add_tool_calls() = call;
    }
  }
  v1::Message Said() {
    said_.set_role("assistant");
    return said_;
  }
  // An answer that ends in the midst of a sentence says why; it may have been reasoning all along.
  void End() const {
    std::cout << std::endl;
    if (finished_.reason() != v1::FINISH_REASON_LENGTH) return;
    std::cerr << "(cut at " << finished_.usage().completion_tokens() << " tokens: --max-tokens)\n";
  }

 private:
  void Show(const char* before, const std::string& text, const char* after) const {
    std::cout << (terminal_ ? before : "") << text << (terminal_ ? after : "") << std::flush;
  }

  const bool terminal_ = isatty(STDOUT_FILENO) == 1;
  v1::Message said_;
  v1::Finished finished_;
};

// Tokens of an answer, its reasoning among them, where --max-tokens says nothing: a server's
// default may end in the midst of reasoning. Not all that the context holds: memory is reserved for
// it.
constexpr uint32_t kAnswerTokens = 8192;

// As many, or what the context has room for. Nothing where the router does not say: the call will.
std::optional<uint32_t> AnswerRoom(v1::InferenceService::Stub& stub, const Connection& connection,
                                   const v1::GenerateRequest& request, absl::Time deadline) {
  grpc::ClientContext info_context, prompt_context;
  for (grpc::ClientContext* context : {&info_context, &prompt_context}) {
    connection.Authorize(*context);
    SetDeadline(*context, deadline);
  }
  v1::GetModelInfoResponse info;
  if (!stub.GetModelInfo(&info_context, {}, &info).ok()) return std::nullopt;
  v1::TokenizeRequest ask;
  *ask.mutable_chat() = request.chat();
  ask.set_thinking(request.thinking());
  ask.set_reasoning_effort(request.reasoning_effort());
  v1::TokenizeResponse prompt;
  if (!stub.Tokenize(&prompt_context, ask, &prompt).ok()) return std::nullopt;
  const auto prompt_tokens = static_cast<uint32_t>(prompt.token_ids_size());
  if (prompt_tokens >= info.context_tokens_max()) return std::nullopt;
  return std::min(std::max(kAnswerTokens, info.max_tokens_default()),
                  info.context_tokens_max() - prompt_tokens);
}

// The answer to the conversation so far.
absl::StatusOr<v1::Message> Answer(v1::InferenceService::Stub& stub, const Connection& connection,
                                   const v1::GenerateRequest& request, absl::Time deadline) {
  grpc::ClientContext context;
  connection.Authorize(context);
  SetDeadline(context, deadline);
  Turn turn;
  const CancelOnInterrupt interrupt(context);
  const absl::Status status =
      Generate({.stub = stub,
                .request = request,
                .context = context,
                .on_event = [&turn](const v1::GenerateResponse& event) { turn.Add(event); }});
  turn.End();
  if (status.ok() || absl::IsCancelled(status)) return turn.Said();
  return status;
}

void Say(v1::GenerateRequest& request, const std::string& role, const std::string& content) {
  v1::Message* message = request.mutable_chat()->add_messages();
  message->set_role(role);
  message->set_content(content);
}

std::vector<FlagSpec> ChatFlags() {
  std::vector<FlagSpec> specs = CommonFlags();
  specs.push_back({"system", "TEXT", "the system message"});
  specs.push_back({"help", "", "print this"});
  return specs;
}

int Usage(const absl::Status& status) {
  std::cerr << "tandem chat: " << status.message() << "; --help says what there is\n";
  return 2;
}

}  // namespace

int RunChat(const std::vector<std::string>& arguments) {
  const auto flags = Flags::Parse(ChatFlags(), arguments);
  if (!flags.ok()) return Usage(flags.status());
  if (flags->Has("help")) {
    std::cout << "tandem chat: a conversation; Ctrl-C cancels an answer, Ctrl-D ends. Without "
                 "--max-tokens an\nanswer takes "
              << kAnswerTokens
              << " tokens at most, reasoning included, or what the context has room for.\n\n"
              << Flags::Help(ChatFlags());
    return 0;
  }
  v1::GenerateRequest request;
  const absl::Status applied = ApplyCommonFlags(*flags, request);
  if (!applied.ok()) return Usage(applied);
  if (flags->Has("system")) Say(request, "system", flags->Text("system"));

  // Before gRPC makes threads, which inherit it.
  const sigset_t ours = Signals({SIGINT, SIGUSR1});
  pthread_sigmask(SIG_BLOCK, &ours, nullptr);
  const auto connection = ConnectionOf(*flags);
  if (!connection.ok()) return Usage(connection.status());
  const Channel channel(connection->channel);
  const auto stub = channel.NewStub<v1::InferenceService>();
  std::string line;
  while (ReadLine(line)) {
    if (line.empty()) continue;
    const auto deadline = DeadlineOf(*flags);
    if (!deadline.ok()) return Usage(deadline.status());
    Say(request, "user", line);
    (void)channel.WaitForConnected(kConnectTimeout);  // if it fails, the call says so
    if (!flags->Has("max-tokens")) {
      const auto room = AnswerRoom(*stub, *connection, request, *deadline);
      request.clear_max_tokens();
      if (room.has_value()) request.set_max_tokens(*room);
    }
    const auto said = Answer(*stub, *connection, request, *deadline);
    if (!said.ok()) {
      std::cerr << DescribeError(said.status());
      request.mutable_chat()->mutable_messages()->RemoveLast();
      continue;
    }
    *request.mutable_chat()->add_messages() = *said;
  }
  std::cout << std::endl;
  return 0;
}

}  // namespace tandem
