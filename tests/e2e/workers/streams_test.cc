// SPDX-License-Identifier: Apache-2.0
// Goal: prefill workers open no more streams to a decode worker than it has said, the next one is
// told so, and room comes back. Method: streams opened one after another until one is refused.
#include <memory>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/rpc/status.h"
#include "tests/e2e/workers/test_workers.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

// One Link stream that has said hello.
struct Link {
  Link(TestDecode& decode, const v1::LinkRequest& hello) {
    SetDeadline(context, absl::Now() + absl::Seconds(100));
    stream = decode.stub().Link(&context);
    v1::LinkResponse offer;
    stream->Write(hello);
    if (!stream->Read(&offer)) status = FromGrpcStatus(stream->Finish());
  }
  ~Link() {
    context.TryCancel();
    if (status.ok()) (void)stream->Finish();
  }

  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<v1::LinkRequest, v1::LinkResponse>> stream;
  absl::Status status;  // not OK: refused
};

// One WriteKv call whose first piece is never sent.
struct WriteKv {
  explicit WriteKv(TestDecode& decode) {
    SetDeadline(context, absl::Now() + absl::Seconds(100));
    stream = decode.stub().WriteKv(&context, &response);
  }
  ~WriteKv() {
    context.TryCancel();
    (void)stream->Finish();
  }

  grpc::ClientContext context;
  v1::WriteKvResponse response;
  std::unique_ptr<grpc::ClientWriter<v1::WriteKvRequest>> stream;
};

v1::LinkRequest Hello(TestDecode& decode) {
  const v1::WatchResponse state = decode.State();
  v1::LinkRequest request;
  request.mutable_hello()->set_incarnation(99);
  request.mutable_hello()->set_peer_incarnation(state.incarnation());
  *request.mutable_hello()->mutable_kv_format() = state.kv_format();
  return request;
}

// Whether `attempt` says true within 10 s.
template <typename Attempt>
bool Eventually(Attempt attempt) {
  for (int i = 0; i < 200; ++i) {
    if (attempt()) return true;
    absl::SleepFor(absl::Milliseconds(50));
  }
  return false;
}

TEST(StreamsTest, LinksAreAsManyAsTheSelfTestHasCells) {
  TestDecode decode({});
  const v1::LinkRequest hello = Hello(decode);
  std::vector<std::unique_ptr<Link>> links;
  while (links.size() < KvStorage::kTestCells) {
    links.push_back(std::make_unique<Link>(decode, hello));
    ASSERT_TRUE(links.back()->status.ok()) << links.size() << ": " << links.back()->status;
  }
  const Link refused(decode, hello);
  EXPECT_EQ(refused.status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(refused.status.message(), HasSubstr("Link: at most 1024 at once"));
  links.clear();
  EXPECT_TRUE(Eventually([&] { return Link(decode, hello).status.ok(); }));
}

TEST(StreamsTest, ByteWritesAreTwoASlot) {
  TestDecode decode({.slots = 3});
  const auto attempt = [&] {
    grpc::ClientContext context;
    SetDeadline(context, absl::Now() + absl::Seconds(10));
    v1::WriteKvResponse response;
    const auto stream = decode.stub().WriteKv(&context, &response);
    v1::WriteKvRequest piece;
    piece.set_tokens(1);
    stream->Write(piece);
    stream->WritesDone();
    return FromGrpcStatus(stream->Finish());
  };
  EXPECT_EQ(attempt().code(), absl::StatusCode::kAborted) << "no such lease";
  std::vector<std::unique_ptr<WriteKv>> writes;
  absl::Status refused;
  EXPECT_TRUE(Eventually([&] {
    // An attempt's place comes back after its answer, and may be the one that a write found taken:
    // then all six are opened anew.
    writes.clear();
    absl::SleepFor(absl::Milliseconds(50));
    for (int i = 0; i < 6; ++i) writes.push_back(std::make_unique<WriteKv>(decode));
    absl::SleepFor(absl::Milliseconds(50));
    refused = attempt();
    return refused.code() == absl::StatusCode::kResourceExhausted;
  })) << refused;
  EXPECT_THAT(refused.message(), HasSubstr("WriteKv: at most 6 at once"));
  writes.clear();
  EXPECT_TRUE(Eventually([&] { return attempt().code() == absl::StatusCode::kAborted; }));
}

}  // namespace
}  // namespace tandem
