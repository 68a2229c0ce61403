// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <iostream>

#include "services/runtime/rpc/channel.h"
#include "services/tools/client.h"
#include "services/tools/json_answer.h"
#include "services/tools/request_flags.h"
#include "services/tools/verbs.h"

namespace tandem {
namespace {

int Usage(const absl::Status& status) {
  std::cerr << "tandem generate: " << status.message() << "; --help says what there is\n";
  return 2;
}

// Writes events as they come. Of several choices the first streams, the others follow whole.
class Printer {
 public:
  explicit Printer(const v1::GenerateRequest& request)
      : rest_(request.sampling().n() > 1 ? request.sampling().n() : 1) {}

  void Add(const v1::GenerateResponse& event) {
    if (event.has_delta()) AddDelta(event.delta());
    if (event.has_finished()) finished_.push_back(event.finished());
  }

  void End() {
    if (started_) std::cout << std::endl;
    for (size_t i = 1; i < rest_.size(); ++i) {
      std::cout << "--- choice " << i << "\n" << rest_[i] << std::endl;
    }
    for (const v1::Finished& finished : finished_) std::cerr << Summary(finished) << "\n";
  }

 private:
  void AddDelta(const v1::Delta& delta) {
    if (delta.choice() != 0) {
      if (delta.choice() < rest_.size()) rest_[delta.choice()] += delta.text();
      return;
    }
    if (!delta.reasoning().empty()) {
      std::cerr << (dims_ ? "\x1b[2m" : "") << delta.reasoning() << (dims_ ? "\x1b[0m" : "");
      reasoned_ = true;
    }
    if (!delta.text().empty()) {
      if (reasoned_) std::cerr << "\n";
      reasoned_ = false;
      std::cout << delta.text() << std::flush;
      started_ = true;
    }
    for (const v1::ToolCall& call : delta.tool_calls()) {
      std::cout << "\n" << call.name() << "(" << call.arguments_json() << ")" << std::flush;
      started_ = true;
    }
  }

  const bool dims_ = isatty(STDERR_FILENO) == 1;
  std::vector<std::string> rest_;
  std::vector<v1::Finished> finished_;
  bool started_ = false;
  bool reasoned_ = false;
};

}  // namespace

int RunGenerate(const std::vector<std::string>& arguments) {
  const auto flags = Flags::Parse(GenerateFlags(), arguments);
  if (!flags.ok()) return Usage(flags.status());
  if (flags->Has("help")) {
    std::cout << "tandem generate: one answer\n\n" << Flags::Help(GenerateFlags());
    return 0;
  }
  const auto request = MakeRequest(*flags);
  if (!request.ok()) return Usage(request.status());
  const auto deadline = DeadlineOf(*flags);
  if (!deadline.ok()) return Usage(deadline.status());

  const auto connection = ConnectionOf(*flags);
  if (!connection.ok()) return Usage(connection.status());
  const Channel channel(connection->channel);
  const auto stub = channel.NewStub<v1::InferenceService>();
  grpc::ClientContext context;
  connection->Authorize(context);
  SetDeadline(context, *deadline);
  const bool as_json = flags->Has("json");
  JsonAnswer json(*request);
  Printer printer(*request);
  const absl::Status status = Generate({.stub = *stub,
                                        .request = *request,
                                        .context = context,
                                        .on_event = [&](const v1::GenerateResponse& event) {
                                          if (as_json) {
                                            json.Add(event);
                                          } else {
                                            printer.Add(event);
                                          }
                                        }});
  if (!as_json) printer.End();
  if (!status.ok()) {
    std::cerr << DescribeError(status);
    return 1;
  }
  if (as_json) std::cout << json.Text() << std::endl;
  return 0;
}

}  // namespace tandem
