// SPDX-License-Identifier: Apache-2.0
// Goal: whatever a decode worker says on a link, the prefill loop hears no more than it has asked
// for. Method: a decode worker in the test that follows a script, over real gRPC.
#include "services/runtime/transfer/link_client.h"

#include <functional>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/rpc/channel.h"
#include "services/runtime/rpc/server.h"
#include "services/runtime/transfer/wire.h"

namespace tandem {
namespace {

using Stream = grpc::ServerReaderWriter<v1::LinkResponse, v1::LinkRequest>;

class ScriptedDecode final : public v1::DecodeService::Service {
 public:
  explicit ScriptedDecode(std::function<void(Stream&)> script) : script_(std::move(script)) {}
  grpc::Status Link(grpc::ServerContext* /*context*/, Stream* stream) override {
    script_(*stream);
    v1::LinkRequest rest;
    while (stream->Read(&rest)) {
    }
    return grpc::Status::OK;
  }

 private:
  const std::function<void(Stream&)> script_;
};

// Every event of a link, in order.
class Events {
 public:
  void Post(LinkEvent event) {
    absl::MutexLock lock(&mutex_);
    if (auto* down = std::get_if<LinkDown>(&event.what)) why_ = down->why;
    if (auto* up = std::get_if<LinkUp>(&event.what)) data_runs_on_ = up->data_runs_on;
    over_ = over_ || std::holds_alternative<LinkDown>(event.what);
    events_.push_back(std::move(event));
  }
  // Waits for the end.
  absl::Status Why() {
    absl::MutexLock lock(&mutex_);
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&over_), absl::Seconds(20)));
    return why_;
  }
  // Of the link, once it is up.
  bool data_runs_on() {
    absl::MutexLock lock(&mutex_);
    return data_runs_on_;
  }
  template <typename Event>
  bool WaitFor(int count = 1) {
    absl::MutexLock lock(&mutex_);
    const auto has = [this, count] { return CountLocked<Event>() >= count; };
    return mutex_.AwaitWithTimeout(absl::Condition(&has), absl::Seconds(20));
  }
  template <typename Event>
  int Count() {
    absl::MutexLock lock(&mutex_);
    return CountLocked<Event>();
  }

 private:
  template <typename Event>
  int CountLocked() const {
    int count = 0;
    for (const LinkEvent& event : events_) count += std::holds_alternative<Event>(event.what);
    return count;
  }

  absl::Mutex mutex_;
  std::vector<LinkEvent> events_;
  absl::Status why_;
  bool data_runs_on_ = false;
  bool over_ = false;
};

constexpr LeaseKey kLease{.incarnation = 1, .lease_id = 2, .epoch = 3};

v1::LinkResponse Offer() {
  v1::LinkResponse out;
  out.mutable_offer();
  return out;
}
v1::LinkResponse Ready() {
  v1::LinkResponse out;
  out.mutable_ready()->set_kind(v1::KV_CHANNEL_KIND_GRPC);
  return out;
}
v1::LinkResponse Verdict(bool granted) {
  v1::LinkResponse out;
  *out.mutable_verdict()->mutable_lease() = ToProto(kLease);
  out.mutable_verdict()->set_granted(granted);
  return out;
}
v1::LinkResponse Revoke() {
  v1::LinkResponse out;
  *out.mutable_revoke() = ToProto(kLease);
  return out;
}
v1::LinkResponse PartAnswer() {
  v1::LinkResponse out;
  *out.mutable_part()->mutable_lease() = ToProto(kLease);
  return out;
}
v1::LinkResponse LeaseOver() {
  v1::LinkResponse out;
  *out.mutable_ended() = ToProto(kLease);
  return out;
}

// Hello, offer, choice, ready.
void Greet(Stream& stream) {
  v1::LinkRequest heard;
  stream.Read(&heard);
  stream.Write(Offer());
  stream.Read(&heard);
  stream.Write(Ready());
}

// A link to a decode worker that follows `script`.
struct Linked {
  explicit Linked(std::function<void(Stream&)> script) : decode(std::move(script)) {
    absl::StatusOr<std::unique_ptr<RpcServer>> made =
        RpcServer::Create({.listen = "127.0.0.1:0", .services = {&decode}});
    EXPECT_TRUE(made.ok()) << made.status();
    server = *std::move(made);
    connection = std::make_unique<Channel>(
        ChannelOptions{.endpoint = "127.0.0.1:" + std::to_string(server->port())});
    stub = connection->NewStub<v1::DecodeService>();
    client = LinkClient::Open(*stub,
                              {.serial = 1,
                               .preferred = v1::KV_CHANNEL_KIND_GRPC,
                               .post = [this](LinkEvent event) { events.Post(std::move(event)); }});
  }
  ~Linked() { client.reset(); }

  Events events;
  ScriptedDecode decode;
  std::unique_ptr<RpcServer> server;
  std::unique_ptr<Channel> connection;
  std::unique_ptr<v1::DecodeService::Stub> stub;
  std::unique_ptr<LinkClient> client;
};

TEST(LinkClientTest, AnHonestPeerIsHeardToTheEnd) {
  Linked link([](Stream& stream) {
    Greet(stream);
    v1::LinkRequest heard;
    for (int i = 0; i < 100; ++i) {
      stream.Read(&heard);
      stream.Write(Verdict(/*granted=*/i % 2 == 0));
      if (i % 2 == 1) continue;
      if (i % 4 == 0) stream.Write(Revoke());
      stream.Read(&heard);
      stream.Write(LeaseOver());
    }
  });
  ASSERT_TRUE(link.events.WaitFor<LinkUp>());
  for (int i = 0; i < 100; ++i) {
    link.client->BeginWrite(kLease);
    if (i % 2 == 0) link.client->EndWrite(kLease, 1);
  }
  EXPECT_TRUE(link.events.WaitFor<LeaseVerdict>(100));
  EXPECT_TRUE(link.events.WaitFor<LeaseEnded>(50));
  EXPECT_EQ(link.events.Count<LeaseRevoked>(), 25);
  EXPECT_EQ(link.events.Count<LinkDown>(), 0);
}

TEST(LinkClientTest, WhatOneMessageOfRowsMayHoldIsAsOffered) {
  for (const bool runs_on : {true, false}) {
    Linked link([runs_on](Stream& stream) {
      v1::LinkResponse offer = Offer();
      offer.mutable_offer()->set_data_runs_on(runs_on);
      v1::LinkRequest heard;
      stream.Read(&heard);
      stream.Write(offer);
      stream.Read(&heard);
      stream.Write(Ready());
    });
    ASSERT_TRUE(link.events.WaitFor<LinkUp>());
    EXPECT_EQ(link.events.data_runs_on(), runs_on);
  }
}

TEST(LinkClientTest, AnswersToNothingEndTheLink) {
  const std::vector<std::pair<const char*, std::vector<v1::LinkResponse>>> floods = {
      {"verdict", {Verdict(true)}}, {"refusal", {Verdict(false)}},
      {"ended", {LeaseOver()}},     {"part", {PartAnswer()}},
      {"revoke", {Revoke()}},       {"second offer", {Offer()}},
      {"second ready", {Ready()}},  {"nothing", {v1::LinkResponse()}},
  };
  for (const auto& [name, messages] : floods) {
    SCOPED_TRACE(name);
    Linked link([&messages = messages](Stream& stream) {
      Greet(stream);
      for (int i = 0; i < 1000; ++i) stream.Write(messages[0]);
    });
    EXPECT_EQ(link.events.Why().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(link.events.Count<LinkUp>(), 1);
    EXPECT_EQ(link.events.Count<LeaseVerdict>() + link.events.Count<LeaseEnded>() +
                  link.events.Count<LeaseRevoked>(),
              0);
  }
}

TEST(LinkClientTest, OneLeaseIsToldToStopOnce) {
  Linked link([](Stream& stream) {
    Greet(stream);
    v1::LinkRequest heard;
    stream.Read(&heard);
    stream.Write(Verdict(true));
    for (int i = 0; i < 1000; ++i) stream.Write(Revoke());
  });
  ASSERT_TRUE(link.events.WaitFor<LinkUp>());
  link.client->BeginWrite(kLease);
  EXPECT_EQ(link.events.Why().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(link.events.Count<LeaseRevoked>(), 1);
}

// The decode worker says which part it will receive; an answer for another would be rows in
// another's pages.
TEST(LinkClientTest, AnAnswerForAPartThatWasNotAskedForEndsTheLink) {
  Linked link([](Stream& stream) {
    Greet(stream);
    v1::LinkRequest heard;
    stream.Read(&heard);
    stream.Write(PartAnswer());
  });
  ASSERT_TRUE(link.events.WaitFor<LinkUp>());
  absl::Notification done;
  link.client->SendPart({.key = kLease, .part = {.tokens = 1}},
                        {.done = [&done](const absl::Status& status) {
                          EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
                          done.Notify();
                        }});
  EXPECT_EQ(link.events.Why().code(), absl::StatusCode::kFailedPrecondition);
  done.WaitForNotification();
}

TEST(LinkClientTest, ReadyBeforeTheOfferEndsTheLink) {
  Linked link([](Stream& stream) { stream.Write(Ready()); });
  EXPECT_EQ(link.events.Why().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(link.events.Count<LinkUp>(), 0);
}

}  // namespace
}  // namespace tandem
