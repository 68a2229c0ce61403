// SPDX-License-Identifier: Apache-2.0
// Goal: a valid trace context is read and would be carried on as it came; anything else is as good
// as none. Method: tables of headers, W3C's own examples among them.
#include "services/runtime/rpc/trace/trace_context.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpcpp/test/client_context_test_peer.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

const std::string kId = "4bf92f3577b34da6a3ce929d0e0e4736";
const std::string kParent = "00-" + kId + "-00f067aa0ba902b7-01";

using Headers = std::vector<std::pair<std::string, std::string>>;

// The headers outlive the call only.
TraceContext Read(const Headers& headers) {
  std::multimap<grpc::string_ref, grpc::string_ref> metadata;
  for (const auto& [key, value] : headers) metadata.emplace(key, value);
  return TraceOf(metadata);
}

TEST(TraceContextTest, AValidOneIsTakenWhole) {
  const TraceContext trace =
      Read({{"traceparent", kParent}, {"tracestate", "rojo=1"}, {"tracestate", "congo=t61"}});
  EXPECT_EQ(trace.parent, kParent);
  EXPECT_EQ(trace.state, "rojo=1,congo=t61");
  EXPECT_EQ(trace.id(), kId);
  // A later version may say more.
  const std::string later = "cc" + kParent.substr(2);
  EXPECT_EQ(Read({{"traceparent", later}}).id(), kId);
  EXPECT_EQ(Read({{"traceparent", later + "-what-the-future-holds"}}).id(), kId);
}

TEST(TraceContextTest, ItGoesOnAsItCame) {
  const auto sent = [](const TraceContext& trace) {
    grpc::ClientContext context;
    SetTrace(trace, context);
    return grpc::testing::ClientContextTestPeer(&context).GetSendInitialMetadata();
  };
  using Sent = std::multimap<std::string, std::string>;
  EXPECT_EQ(sent({}), Sent());
  EXPECT_EQ(sent({.parent = kParent}), Sent({{"traceparent", kParent}}));
  EXPECT_EQ(sent({.parent = kParent, .state = "rojo=1"}),
            Sent({{"traceparent", kParent}, {"tracestate", "rojo=1"}}));
}

TEST(TraceContextTest, WithoutAParentThereIsNone) {
  EXPECT_EQ(Read({}).id(), "");
  const TraceContext trace = Read({{"tracestate", "rojo=1"}, {"other", kParent}});
  EXPECT_EQ(trace.parent, "");
  EXPECT_EQ(trace.state, "");
}

TEST(TraceContextTest, AMalformedParentIsNone) {
  const std::string span = "00f067aa0ba902b7";
  for (const std::string& bad : std::vector<std::string>{
           "", "00", kParent.substr(1), kParent + "-", kParent + "0", "ff" + kParent.substr(2),
           "0g" + kParent.substr(2), "00_" + kParent.substr(3),
           absl::StrCat("00-", std::string(32, '0'), "-", span, "-01"),
           absl::StrCat("00-", kId, "-", std::string(16, '0'), "-01"),
           absl::StrCat("00-", kId.substr(1), "A-", span, "-01"),
           absl::StrCat("00-", kId, "-", span, "-0x"), absl::StrCat("cc-", kId, "-", span, "-01x"),
           absl::StrCat("cc-", kId, "-", span, "-01-", std::string(1000, 'x')),
           absl::StrCat("cc-", kId, "-", span, "-01-\n")}) {
    const TraceContext trace = Read({{"traceparent", bad}, {"tracestate", "rojo=1"}});
    EXPECT_EQ(trace.parent, "") << bad;
    EXPECT_EQ(trace.state, "") << bad;
  }
  EXPECT_EQ(Read({{"traceparent", kParent}, {"traceparent", kParent}}).parent, "");
}

TEST(TraceContextTest, AStateThatCannotTravelIsLeftOut) {
  for (const std::string& bad : {std::string(513, 'a'), std::string("a=\x01")}) {
    const TraceContext trace = Read({{"traceparent", kParent}, {"tracestate", bad}});
    EXPECT_EQ(trace.parent, kParent);
    EXPECT_EQ(trace.state, "");
  }
}

}  // namespace
}  // namespace tandem
