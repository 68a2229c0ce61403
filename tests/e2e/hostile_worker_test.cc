// SPDX-License-Identifier: Apache-2.0
// Goal: a caller behind the router that lies (forged reservations, wrong order, absurd counts) gets
// one clear error, harms no other sequence, and all memory comes back. Method: direct calls to the
// prefill and decode processes.
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/rpc/status.h"
#include "tests/e2e/client.h"
#include "tests/e2e/cluster.h"

namespace tandem {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

constexpr uint32_t kMax32 = std::numeric_limits<uint32_t>::max();
constexpr uint64_t kMax64 = std::numeric_limits<uint64_t>::max();

template <typename Service>
std::unique_ptr<typename Service::Stub> StubOf(const Cluster& cluster, const std::string& name) {
  return Channel(ChannelOptions{.endpoint = cluster.endpoint(name)}).NewStub<Service>();
}

class HostileWorkerTest : public ::testing::Test {
 protected:
  using Link = grpc::ClientReaderWriter<v1::LinkRequest, v1::LinkResponse>;

  static void SetUpTestSuite() {
    cluster_ = new Cluster({});
    ASSERT_TRUE(cluster_->WaitReady(absl::Seconds(60)).ok()) << cluster_->log("router");
  }
  static void TearDownTestSuite() { delete cluster_; }
  void TearDown() override {
    EXPECT_TRUE(cluster_->WaitAllFree("decode-0", absl::Seconds(10)).ok());
    EXPECT_TRUE(cluster_->WaitReady(absl::Seconds(10)).ok());
  }

  absl::Status Reserve(uint32_t tokens, v1::Reservation& out) {
    grpc::ClientContext context;
    v1::ReserveRequest request;
    request.set_tokens(tokens);
    v1::ReserveResponse response;
    const grpc::Status status = decode_->Reserve(&context, request, &response);
    out = response.reservation();
    return FromGrpcStatus(status);
  }
  v1::Reservation MustReserve(uint32_t tokens) {
    v1::Reservation out;
    const absl::Status status = Reserve(tokens, out);
    EXPECT_TRUE(status.ok()) << status;
    return out;
  }
  void Release(const v1::Reservation& reservation) {
    grpc::ClientContext context;
    v1::ReleaseRequest request;
    *request.mutable_reservation() = reservation;
    v1::ReleaseResponse response;
    EXPECT_TRUE(decode_->Release(&context, request, &response).ok());
  }

  static v1::PrefillRequest PrefillOf(const v1::Reservation& reservation, int tokens) {
    v1::PrefillRequest request;
    request.mutable_token_ids()->Resize(tokens, 5);
    request.mutable_sampling()->set_top_p(1);
    request.mutable_sampling()->set_repetition_penalty(1);
    *request.mutable_reservation() = reservation;
    return request;
  }
  absl::Status Prefill(const v1::PrefillRequest& request) {
    grpc::ClientContext context;
    SetDeadline(context, absl::Now() + absl::Seconds(20));
    const auto reader = prefill_->Prefill(&context, request);
    v1::PrefillResponse response;
    while (reader->Read(&response)) {
    }
    return FromGrpcStatus(reader->Finish());
  }

  static v1::DecodeServiceGenerateRequest GenerateOf(const v1::Reservation& reservation,
                                                     uint32_t prompt, uint32_t answer) {
    v1::DecodeServiceGenerateRequest request;
    *request.mutable_reservation() = reservation;
    request.set_prompt_tokens(prompt);
    request.set_first_token(5);
    request.set_max_tokens(answer);
    request.mutable_sampling()->set_top_p(1);
    request.mutable_sampling()->set_repetition_penalty(1);
    return request;
  }
  absl::Status Generate(const v1::DecodeServiceGenerateRequest& request) {
    grpc::ClientContext context;
    SetDeadline(context, absl::Now() + absl::Seconds(20));
    const auto reader = decode_->Generate(&context, request);
    v1::DecodeServiceGenerateResponse response;
    while (reader->Read(&response)) {
    }
    return FromGrpcStatus(reader->Finish());
  }

  v1::WatchResponse State() {
    grpc::ClientContext context;
    const auto stub = StubOf<v1::WorkerService>(*cluster_, "decode-0");
    const auto reader = stub->Watch(&context, {});
    v1::WatchResponse state;
    EXPECT_TRUE(reader->Read(&state));
    context.TryCancel();
    (void)reader->Finish();
    return state;
  }
  v1::LinkRequest Hello() {
    const v1::WatchResponse state = State();
    v1::LinkRequest request;
    request.mutable_hello()->set_incarnation(99);
    request.mutable_hello()->set_peer_incarnation(state.incarnation());
    *request.mutable_hello()->mutable_kv_format() = state.kv_format();
    return request;
  }
  static v1::LinkRequest Choose(v1::KvChannelKind kind) {
    v1::LinkRequest request;
    request.mutable_choice()->set_kind(kind);
    return request;
  }
  static v1::LeaseKey KeyOf(const v1::Reservation& reservation) {
    v1::LeaseKey key;
    key.set_incarnation(reservation.incarnation());
    key.set_lease_id(reservation.lease_id());
    key.set_epoch(reservation.epoch());
    return key;
  }
  // Says `messages`, reads to the end.
  absl::Status SayOnLink(const std::vector<v1::LinkRequest>& messages) {
    grpc::ClientContext context;
    SetDeadline(context, absl::Now() + absl::Seconds(10));
    const auto link = decode_->Link(&context);
    for (const v1::LinkRequest& message : messages) link->Write(message);
    v1::LinkResponse response;
    while (link->Read(&response)) {
    }
    return FromGrpcStatus(link->Finish());
  }
  v1::LinkResponse Ask(Link& link, const v1::LinkRequest& request) {
    v1::LinkResponse response;
    EXPECT_TRUE(link.Write(request));
    EXPECT_TRUE(link.Read(&response));
    return response;
  }
  v1::WriteVerdict Begin(Link& link, const v1::Reservation& reservation) {
    v1::LinkRequest request;
    *request.mutable_begin_write() = KeyOf(reservation);
    return Ask(link, request).verdict();
  }
  absl::Status WriteKv(const v1::WriteKvRequest& request) {
    grpc::ClientContext context;
    SetDeadline(context, absl::Now() + absl::Seconds(10));
    v1::WriteKvResponse response;
    const auto writer = decode_->WriteKv(&context, &response);
    writer->Write(request);
    writer->WritesDone();
    return FromGrpcStatus(writer->Finish());
  }

  static Cluster* cluster_;
  const std::unique_ptr<v1::DecodeService::Stub> decode_ =
      StubOf<v1::DecodeService>(*cluster_, "decode-0");
  const std::unique_ptr<v1::PrefillService::Stub> prefill_ =
      StubOf<v1::PrefillService>(*cluster_, "prefill-0");
};

Cluster* HostileWorkerTest::cluster_ = nullptr;

TEST_F(HostileWorkerTest, AForgedReservationIsNoReservation) {
  const v1::Reservation good = MustReserve(100);
  std::vector<v1::Reservation> forged(4, good);
  forged[0].set_incarnation(good.incarnation() + 1);
  forged[1].set_lease_id(good.lease_id() ^ 1);
  forged[2].set_epoch(good.epoch() + 1);
  forged[3].set_epoch(0);
  for (const v1::Reservation& one : forged) {
    EXPECT_EQ(Prefill(PrefillOf(one, 10)).code(), StatusCode::kAborted) << one.DebugString();
    EXPECT_EQ(Generate(GenerateOf(one, 10, 10)).code(), StatusCode::kAborted);
    Release(one);
  }
  EXPECT_TRUE(Prefill(PrefillOf(good, 10)).ok()) << "the true one is still there";
  EXPECT_EQ(Prefill(PrefillOf(good, 10)).code(), StatusCode::kAborted) << "but only once";
  EXPECT_TRUE(Generate(GenerateOf(good, 10, 10)).ok());
  EXPECT_EQ(Generate(GenerateOf(good, 10, 10)).code(), StatusCode::kAborted);
}

TEST_F(HostileWorkerTest, AnEndpointWhereNobodyIsIsALostWorker) {
  const v1::Reservation good = MustReserve(100);
  for (const std::string& endpoint :
       {std::string("garbage"), std::string("127.0.0.1:1"), std::string(100'000, 'x'),
        cluster_->metrics_endpoint("decode-0"), cluster_->endpoint("prefill-0"),
        std::string("unix:/dev/null"), std::string("\x01:\x02")}) {
    v1::Reservation forged = good;
    forged.set_endpoint(endpoint);
    const absl::Status status = Prefill(PrefillOf(forged, 10));
    EXPECT_EQ(status.code(), StatusCode::kUnavailable) << endpoint.substr(0, 40) << ": " << status;
    EXPECT_EQ(ReasonOf(status), "WORKER_LOST");
  }
  v1::Reservation nowhere = good;
  nowhere.clear_endpoint();
  EXPECT_THAT(std::string(Prefill(PrefillOf(nowhere, 10)).message()), HasSubstr("endpoint"));
  Release(good);
}

TEST_F(HostileWorkerTest, ASecondPromptForOneReservationIsRefusedAtOnce) {
  const v1::Reservation good = MustReserve(3000);
  grpc::ClientContext context;
  const auto first = prefill_->Prefill(&context, PrefillOf(good, 3000));
  v1::PrefillResponse progress;
  ASSERT_TRUE(first->Read(&progress));
  EXPECT_EQ(Prefill(PrefillOf(good, 3000)).code(), StatusCode::kAborted);
  context.TryCancel();
  while (first->Read(&progress)) {
  }
  EXPECT_EQ(first->Finish().error_code(), grpc::StatusCode::CANCELLED);
  Release(good);
}

TEST_F(HostileWorkerTest, AbsurdNumbersAreNamed) {
  v1::Reservation none;
  for (const uint32_t tokens : {0U, kMax32, 1U << 31})
    EXPECT_EQ(Reserve(tokens, none).code(), StatusCode::kInvalidArgument) << tokens;
  const v1::Reservation good = MustReserve(100);
  v1::PrefillRequest prefill = PrefillOf(good, 0);
  EXPECT_THAT(std::string(Prefill(prefill).message()), HasSubstr("token_ids"));
  prefill.add_token_ids(kMax32);
  EXPECT_THAT(std::string(Prefill(prefill).message()), HasSubstr("4294967295"));
  prefill = PrefillOf(good, 5);
  prefill.mutable_sampling()->set_temperature(std::numeric_limits<float>::quiet_NaN());
  EXPECT_THAT(std::string(Prefill(prefill).message()), HasSubstr("sampling.temperature"));
  prefill = PrefillOf(good, 5);
  prefill.mutable_sampling()->set_logprobs(1'000'000'000);
  EXPECT_THAT(std::string(Prefill(prefill).message()), HasSubstr("1000000000"));
  const absl::Status beyond = Prefill(PrefillOf(good, 257));
  EXPECT_EQ(beyond.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(beyond.message()), HasSubstr("at most 256 (reserved), got 257"));
  for (const auto& [prompt, answer] :
       std::vector<std::pair<uint32_t, uint32_t>>{{0, 1},
                                                  {9, 1},
                                                  {10, 0},
                                                  {10, 247},
                                                  {10, kMax32},
                                                  {kMax32, kMax32},
                                                  {1U << 31, 1U << 31}}) {
    const v1::Reservation filled = MustReserve(100);
    ASSERT_TRUE(Prefill(PrefillOf(filled, 10)).ok());
    const absl::Status status = Generate(GenerateOf(filled, prompt, answer));
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << prompt << " " << answer;
    Release(filled);
  }
  Release(good);
}

TEST_F(HostileWorkerTest, AbsurdSamplingHarmsNobody) {
  const v1::Reservation good = MustReserve(500);
  ASSERT_TRUE(Prefill(PrefillOf(good, 3)).ok());
  v1::DecodeServiceGenerateRequest request = GenerateOf(good, 3, 50);
  request.mutable_sampling()->set_temperature(1);
  request.mutable_sampling()->set_logprobs(20);
  request.mutable_sampling()->set_top_k(kMax32);
  EXPECT_TRUE(Generate(request).ok());
}

TEST_F(HostileWorkerTest, ALinkThatBreaksTheOrderIsRefused) {
  v1::LinkRequest wrong_peer = Hello();
  wrong_peer.mutable_hello()->set_peer_incarnation(7);
  EXPECT_EQ(SayOnLink({wrong_peer}).code(), StatusCode::kAborted);
  v1::LinkRequest wrong_format = Hello();
  wrong_format.mutable_hello()->mutable_kv_format()->set_layout_hash(7);
  wrong_format.mutable_hello()->mutable_kv_format()->set_description(std::string(1 << 20, 'd'));
  EXPECT_EQ(SayOnLink({wrong_format}).code(), StatusCode::kFailedPrecondition);
  v1::LinkRequest begin;
  *begin.mutable_begin_write() = KeyOf(MustReserve(1));
  v1::LinkRequest end;
  *end.mutable_end_write() = begin.begin_write();
  const v1::LinkRequest choice = Choose(v1::KV_CHANNEL_KIND_GRPC);
  for (const auto& messages :
       std::vector<std::vector<v1::LinkRequest>>{{v1::LinkRequest()},
                                                 {choice},
                                                 {begin},
                                                 {end},
                                                 {Hello(), Hello()},
                                                 {Hello(), begin},
                                                 {Hello(), choice, choice},
                                                 {Hello(), choice, begin, Hello()}}) {
    EXPECT_EQ(SayOnLink(messages).code(), StatusCode::kInvalidArgument);
  }
  v1::Reservation lease;
  lease.set_incarnation(begin.begin_write().incarnation());
  lease.set_lease_id(begin.begin_write().lease_id());
  lease.set_epoch(begin.begin_write().epoch());
  Release(lease);
}

TEST_F(HostileWorkerTest, AWriterHearsOnlyOfItsOwnMemoryAndStaysInside) {
  const v1::Reservation mine = MustReserve(600);
  const v1::Reservation other = MustReserve(600);
  grpc::ClientContext context;
  const auto link = decode_->Link(&context);
  EXPECT_TRUE(Ask(*link, Hello()).offer().data_runs_on());
  // Claims shared memory without having seen it.
  EXPECT_EQ(Ask(*link, Choose(v1::KV_CHANNEL_KIND_SHARED)).ready().kind(),
            v1::KV_CHANNEL_KIND_GRPC);
  v1::WriteKvRequest piece;
  *piece.mutable_lease() = KeyOf(mine);
  piece.set_tokens(10);
  piece.set_data("x");
  EXPECT_EQ(WriteKv(piece).code(), StatusCode::kAborted) << "not begun";
  const v1::WriteVerdict verdict = Begin(*link, mine);
  EXPECT_TRUE(verdict.granted());
  EXPECT_EQ(verdict.pages_size(), 3);
  EXPECT_FALSE(Begin(*link, mine).granted()) << "one writer, once";
  const v1::WriteVerdict others = Begin(*link, other);
  EXPECT_NE(others.slot(), verdict.slot());
  for (const uint32_t page : others.pages())
    EXPECT_THAT(verdict.pages(), ::testing::Not(::testing::Contains(page)));
  EXPECT_TRUE(WriteKv(piece).ok());
  const auto refuses = [&](auto change) {
    v1::WriteKvRequest bad = piece;
    change(bad);
    EXPECT_EQ(WriteKv(bad).code(), StatusCode::kInvalidArgument)
        << bad.ShortDebugString().substr(0, 99);
  };
  refuses([](v1::WriteKvRequest& r) { r.set_tokens(0); });
  refuses([](v1::WriteKvRequest& r) { r.set_tokens(769); });
  refuses([](v1::WriteKvRequest& r) { r.set_tokens(kMax32); });
  refuses([](v1::WriteKvRequest& r) { r.set_extent(1'000'000'000); });
  refuses([](v1::WriteKvRequest& r) { r.set_offset(kMax64); });
  refuses([](v1::WriteKvRequest& r) { r.set_offset(kMax64 - 1); });
  refuses([](v1::WriteKvRequest& r) { r.set_data(std::string(1 << 20, 'y')); });
  link->WritesDone();
  v1::LinkResponse rest;
  while (link->Read(&rest)) {
  }
  EXPECT_TRUE(link->Finish().ok());
}

TEST(HostileWorkerContextTest, TheLastPageMayReachPastTheContext) {
  Cluster cluster({.worker_extra = "context_tokens_max: 300"});
  ASSERT_TRUE(cluster.WaitReady(absl::Seconds(60)).ok()) << cluster.log("router");
  // The router, too, leaves room: 300 tokens in all, then the end.
  v1::GenerateRequest request = GreedyRequest({0, 5}, 298);
  request.set_ignore_eos(true);
  const auto client = cluster.NewClient();
  EXPECT_TRUE(Generate(*client, request).status.ok());
  request.set_max_tokens(299);
  EXPECT_EQ(Generate(*client, request).status.code(), StatusCode::kInvalidArgument);
  const auto decode = StubOf<v1::DecodeService>(cluster, "decode-0");
  const auto prefill = StubOf<v1::PrefillService>(cluster, "prefill-0");
  grpc::ClientContext reserve;
  v1::ReserveRequest tokens;
  tokens.set_tokens(300);
  v1::ReserveResponse reserved;
  ASSERT_TRUE(decode->Reserve(&reserve, tokens, &reserved).ok());
  v1::PrefillRequest prompt;
  prompt.mutable_token_ids()->Resize(290, 5);
  prompt.mutable_sampling()->set_top_p(1);
  prompt.mutable_sampling()->set_repetition_penalty(1);
  *prompt.mutable_reservation() = reserved.reservation();
  grpc::ClientContext prefilling;
  const auto reader = prefill->Prefill(&prefilling, prompt);
  v1::PrefillResponse progress;
  while (reader->Read(&progress)) {
  }
  ASSERT_TRUE(reader->Finish().ok());
  v1::DecodeServiceGenerateRequest past;
  *past.mutable_reservation() = reserved.reservation();
  past.set_prompt_tokens(290);
  past.set_max_tokens(200);
  *past.mutable_sampling() = prompt.sampling();
  grpc::ClientContext generating;
  const auto answer = decode->Generate(&generating, past);
  v1::DecodeServiceGenerateResponse token;
  while (answer->Read(&token)) {
  }
  const grpc::Status status = answer->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
  EXPECT_TRUE(cluster.WaitAllFree("decode-0", absl::Seconds(10)).ok());
}

}  // namespace
}  // namespace tandem
