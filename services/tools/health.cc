// SPDX-License-Identifier: Apache-2.0
// grpc.health.v1.Health/Check, spoken without its generated code: both messages have one field, of
// number 1: the service asked for, the status answered.
#include <iostream>
#include <string>
#include <vector>

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/support/byte_buffer.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/rpc/channel.h"
#include "services/runtime/rpc/status.h"
#include "services/tools/client.h"
#include "services/tools/request_flags.h"
#include "services/tools/verbs.h"

namespace tandem {
namespace {

constexpr uint32_t kServiceTag = 1 << 3 | 2;  // field 1, bytes
constexpr uint32_t kStatusTag = 1 << 3;       // field 1, varint
constexpr uint32_t kServing = 1;

std::vector<FlagSpec> HealthFlags() {
  std::vector<FlagSpec> specs = ConnectionFlags();
  const std::vector<FlagSpec> rest = {
      {"service", "NAME", "whose health: a service's full name, or liveness (default: its own)"},
      {"timeout", "DURATION", "how long to wait for an answer (default 2s)"},
      {"help", "", "print this"}};
  specs.insert(specs.end(), rest.begin(), rest.end());
  return specs;
}

int Usage(const absl::Status& status) {
  std::cerr << "tandem health: " << status.message() << "; --help says what there is\n";
  return 2;
}

// HealthCheckResponse.status; 0 (UNKNOWN) when absent.
uint32_t ServingStatus(const grpc::ByteBuffer& response) {
  std::vector<grpc::Slice> slices;
  if (!response.Dump(&slices).ok()) return 0;
  std::string bytes;
  for (const grpc::Slice& slice : slices) bytes.append(slice.begin(), slice.end());
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()),
                                            static_cast<int>(bytes.size()));
  uint32_t status = 0;
  if (in.ReadTag() != kStatusTag || !in.ReadVarint32(&status)) return 0;
  return status;
}

grpc::ByteBuffer RequestFor(const std::string& service) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream out(&stream);
    out.WriteTag(kServiceTag);
    out.WriteVarint32(static_cast<uint32_t>(service.size()));
    out.WriteString(service);
  }
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace

absl::StatusOr<bool> IsServing(const HealthQuestion& question) {
  const Channel channel(question.connection.channel);
  const auto stub = channel.NewGenericStub();
  grpc::ClientContext context;
  SetDeadline(context, question.deadline);
  grpc::CompletionQueue queue;
  const auto call = stub->PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check",
                                           RequestFor(question.service), &queue);
  call->StartCall();
  grpc::ByteBuffer response;
  grpc::Status status;
  call->Finish(&response, &status, &response);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  if (!status.ok()) return FromGrpcStatus(status);
  return ServingStatus(response) == kServing;
}

int RunHealth(const std::vector<std::string>& arguments) {
  const auto flags = Flags::Parse(HealthFlags(), arguments);
  if (!flags.ok()) return Usage(flags.status());
  if (flags->Has("help")) {
    std::cout << "tandem health: exit code 0 when it serves\n\n" << Flags::Help(HealthFlags());
    return 0;
  }
  auto deadline = DeadlineOf(*flags);
  if (!deadline.ok()) return Usage(deadline.status());
  if (!flags->Has("timeout")) deadline = Clock::Real().Now() + absl::Seconds(2);
  const auto connection = ConnectionOf(*flags);
  if (!connection.ok()) return Usage(connection.status());
  const auto serving = IsServing(
      {.connection = *connection, .service = flags->Text("service"), .deadline = *deadline});
  if (!serving.ok()) {
    std::cerr << DescribeError(serving.status());
    return 1;
  }
  std::cout << (*serving ? "SERVING" : "NOT_SERVING") << std::endl;
  return *serving ? 0 : 1;
}

}  // namespace tandem
