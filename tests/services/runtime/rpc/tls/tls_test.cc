// SPDX-License-Identifier: Apache-2.0
// Goal: who may not talk does not, whatever is wrong with whose certificate; what is wrong with our
// own files is said at start; changed files count. Method: a server and channels over loopback,
// certificates of authorities made here.
#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/runtime/rpc/channel.h"
#include "services/runtime/rpc/server.h"
#include "services/runtime/rpc/status.h"
#include "services/runtime/rpc/tls/pem_files.h"
#include "tandem/v1/worker.grpc.pb.h"
#include "tests/services/runtime/loader/scratch_folder.h"
#include "tests/services/runtime/rpc/tls/certificates.h"

namespace tandem {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

class Answering final : public v1::DecodeService::Service {
  grpc::Status Release(grpc::ServerContext*, const v1::ReleaseRequest*,
                       v1::ReleaseResponse*) override {
    return grpc::Status::OK;
  }
};

class TlsTest : public ::testing::Test {
 protected:
  // Written aside and moved into place, as one would.
  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = folder_ / name;
    WriteAll(path + ".new", text);
    std::filesystem::rename(path + ".new", path);
    return path;
  }
  v1::Tls Files(const std::string& name, const Identity& identity, const std::string& ca = "") {
    v1::Tls tls;
    tls.set_cert_file(Write(name + ".crt", identity.cert));
    tls.set_key_file(Write(name + ".key", identity.key));
    if (!ca.empty()) tls.set_ca_file(Write(name + ".ca", ca));
    return tls;
  }
  v1::Tls Trust(const Authority& authority) {
    v1::Tls tls;
    tls.set_ca_file(Write("trusted.ca", authority.cert()));
    return tls;
  }
  void Serve(const v1::Tls& tls) {
    auto credentials = MakeServerCredentials("tls", &tls);
    ASSERT_TRUE(credentials.ok()) << credentials.status();
    auto server = RpcServer::Create({.listen = "127.0.0.1:0",
                                     .credentials = *credentials,
                                     .health_listen = "127.0.0.1:0",
                                     .services = {&service_}});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  // One call over a connection of its own. Null: plain text.
  StatusCode Call(const v1::Tls* tls, int port = 0) {
    auto credentials = MakeChannelCredentials("tls", tls);
    EXPECT_TRUE(credentials.ok()) << credentials.status();
    const Channel channel(
        {.endpoint = absl::StrCat("127.0.0.1:", port > 0 ? port : server_->port()),
         .credentials = *credentials,
         .server_name = tls == nullptr ? "" : tls->server_name()});
    grpc::ClientContext context;
    SetDeadline(context, absl::Now() + absl::Seconds(20));
    v1::ReleaseResponse response;
    return FromGrpcStatus(channel.NewStub<v1::DecodeService>()->Release(&context, {}, &response))
        .code();
  }
  absl::Status Check(const v1::Tls& tls, TlsSide side = TlsSide::kServer) {
    return CheckPemFiles("tls", tls, side);
  }

  const ScratchFolder folder_;
  const Authority ours_{"ours"};
  const Authority theirs_{"theirs"};
  Answering service_;
  std::unique_ptr<RpcServer> server_;
};

TEST_F(TlsTest, AClientTrustsItsAuthorityAlone) {
  Serve(Files("server", ours_.Sign("server")));
  v1::Tls client = Trust(ours_);
  EXPECT_EQ(Call(&client), StatusCode::kOk);
  client.set_server_name("elsewhere.example");
  EXPECT_EQ(Call(&client), StatusCode::kUnavailable) << "another name";
  client = Trust(theirs_);
  EXPECT_EQ(Call(&client), StatusCode::kUnavailable) << "another authority";
  EXPECT_EQ(Call(nullptr), StatusCode::kUnavailable) << "plain text";
}

TEST_F(TlsTest, WithAnAuthorityTheServerAsksForCertificates) {
  Serve(Files("server", ours_.Sign("server"), ours_.cert()));
  const v1::Tls none = Trust(ours_);
  EXPECT_EQ(Call(&none), StatusCode::kUnavailable) << "no certificate";
  const v1::Tls good = Files("client", ours_.Sign("client"), ours_.cert());
  EXPECT_EQ(Call(&good), StatusCode::kOk);
  const v1::Tls foreign = Files("foreign", theirs_.Sign("client"), ours_.cert());
  EXPECT_EQ(Call(&foreign), StatusCode::kUnavailable);
}

TEST_F(TlsTest, ACertificateThatExpiresIsRefused) {
  Serve(Files("server", ours_.Sign("server", absl::Seconds(2))));
  absl::SleepFor(absl::Seconds(3));
  const v1::Tls client = Trust(ours_);
  EXPECT_EQ(Call(&client), StatusCode::kUnavailable);
}

TEST_F(TlsTest, HealthIsInPlainTextAndNothingElseIs) {
  Serve(Files("server", ours_.Sign("server"), ours_.cert()));
  EXPECT_EQ(Call(nullptr, server_->health_port()), StatusCode::kUnimplemented);
}

TEST_F(TlsTest, ChangedFilesCountForNewConnections) {
  Serve(Files("server", ours_.Sign("server")));
  const v1::Tls before = Trust(ours_);
  EXPECT_EQ(Call(&before), StatusCode::kOk);
  Files("server", theirs_.Sign("server"));
  v1::Tls after;
  after.set_ca_file(Write("after.ca", theirs_.cert()));
  StatusCode code = StatusCode::kUnknown;
  for (int i = 0; i < 60 && code != StatusCode::kOk; ++i) {
    absl::SleepFor(absl::Milliseconds(250));
    code = Call(&after);
  }
  EXPECT_EQ(code, StatusCode::kOk);
  EXPECT_EQ(Call(&before), StatusCode::kUnavailable);
}

TEST_F(TlsTest, FilesThatAreWrongAreNamed) {
  const Identity identity = ours_.Sign("server");
  const v1::Tls good = Files("good", identity, ours_.cert());
  EXPECT_TRUE(Check(good).ok());
  EXPECT_TRUE(Check(good, TlsSide::kClient).ok());
  EXPECT_TRUE(Check(v1::Tls(), TlsSide::kClient).ok());
  EXPECT_THAT(std::string(Check(v1::Tls()).message()), HasSubstr("tls.cert_file: is required"));
  const auto says = [&](auto change, const std::string& what, TlsSide side = TlsSide::kServer) {
    v1::Tls bad = good;
    change(bad);
    const absl::Status status = Check(bad, side);
    EXPECT_FALSE(status.ok()) << what;
    EXPECT_THAT(std::string(status.message()), HasSubstr(what));
  };
  says([](v1::Tls& t) { t.clear_key_file(); }, "tls.key_file: is required", TlsSide::kClient);
  says([](v1::Tls& t) { t.set_cert_file("/nowhere"); }, "tls.cert_file: /nowhere cannot be read");
  says([](v1::Tls& t) { t.set_ca_file("/nowhere"); }, "tls.ca_file: /nowhere cannot be read");
  says([](v1::Tls& t) { t.set_cert_file(t.key_file()); }, "holds no PEM certificate");
  says([](v1::Tls& t) { t.set_key_file(t.cert_file()); }, "holds no PEM private key");
  says([](v1::Tls& t) { t.set_ca_file(t.key_file()); }, "holds no PEM certificate");
  says([&](v1::Tls& t) { t.set_key_file(Write("other.key", theirs_.Sign("x").key)); },
       "is not the key of");
  says([&](v1::Tls& t) { t = Files("old", ours_.Sign("x", -absl::Hours(1))); }, "has expired");
}

}  // namespace
}  // namespace tandem
