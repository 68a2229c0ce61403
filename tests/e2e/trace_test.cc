// SPDX-License-Identifier: Apache-2.0
// Goal: a client's W3C trace context reaches both workers with its request, and each process says
// the trace's id in its line of the request; a malformed one fails nothing and is nowhere. Method:
// three processes, their logs.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/e2e/client.h"
#include "tests/e2e/cluster.h"

namespace tandem {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr char kId[] = "4bf92f3577b34da6a3ce929d0e0e4736";

std::vector<std::string> Lines(const std::string& text) {
  return absl::StrSplit(text, '\n');
}

// A process logs its line when its part of the call is over, perhaps after the client has its
// answer.
std::string RequestLine(const Cluster& cluster, const std::string& process, const std::string& id) {
  const absl::Time limit = absl::Now() + absl::Seconds(20);
  do {
    for (const std::string& line : Lines(cluster.log(process))) {
      const bool whole = line.find(" seconds=") != std::string::npos;
      if (whole && line.find(" request id=" + id + " ") != std::string::npos) return line;
    }
    absl::SleepFor(absl::Milliseconds(50));
  } while (absl::Now() < limit);
  return "";
}

TEST(TraceTest, EachProcessSaysTheTraceOfARequest) {
  const Cluster cluster({});
  ASSERT_TRUE(cluster.WaitReady(absl::Seconds(100)).ok());
  const auto client = cluster.NewClient();
  const std::string valid = absl::StrCat("00-", kId, "-00f067aa0ba902b7-01");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"traced", valid}, {"untraced", ""}, {"malformed", valid.substr(1)}};
  for (const auto& [id, parent] : cases) {
    v1::GenerateRequest request = GreedyChat("How many plums are left?", false, 4);
    request.set_request_id(id);
    request.set_ignore_eos(true);
    grpc::ClientContext context;
    if (!parent.empty()) context.AddMetadata("traceparent", parent);
    context.AddMetadata("tracestate", "rojo=1");
    const auto reader = client->Generate(&context, request);
    v1::GenerateResponse response;
    bool finished = false;
    while (reader->Read(&response)) finished = finished || response.has_finished();
    const grpc::Status status = reader->Finish();
    EXPECT_TRUE(status.ok() && finished) << id << ": " << status.error_message();
    for (const std::string& process : cluster.names()) {
      const std::string line = RequestLine(cluster, process, id);
      EXPECT_THAT(line, HasSubstr(" code=OK ")) << id << " in " << process;
      if (parent == valid) {
        EXPECT_THAT(line, HasSubstr(absl::StrCat(" trace_id=", kId, " "))) << process;
      } else {
        EXPECT_THAT(line, Not(HasSubstr("trace_id"))) << process;
      }
    }
  }
}

}  // namespace
}  // namespace tandem
