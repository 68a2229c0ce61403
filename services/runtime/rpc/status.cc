// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/rpc/status.h"

#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/status.pb.h"
#include "services/runtime/base/check.h"
#include "services/runtime/config/duration.h"

namespace tandem {
namespace {

constexpr int kViolationsMax = 8;
constexpr size_t kFieldBytesMax = 64;
constexpr size_t kDescriptionBytesMax = 160;
constexpr size_t kMessageBytesMax = 1024;
constexpr absl::string_view kTypePrefix = "type.googleapis.com/";

template <typename Detail>
std::string TypeUrl() {
  return absl::StrCat(kTypePrefix, Detail::descriptor()->full_name());
}

template <typename Detail>
void Attach(const Detail& detail, absl::Status& status) {
  status.SetPayload(TypeUrl<Detail>(), absl::Cord(detail.SerializeAsString()));
}

template <typename Detail>
Detail Find(const absl::Status& status) {
  Detail detail;
  const auto payload = status.GetPayload(TypeUrl<Detail>());
  // Bytes of another process: what does not parse counts as absent.
  if (payload.has_value() && !detail.ParseFromString(std::string(*payload))) detail.Clear();
  return detail;
}

absl::Status WithReason(absl::Status status, absl::string_view reason) {
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(reason));
  info.set_domain(std::string(kErrorDomain));
  Attach(info, status);
  return status;
}

absl::Status WithRetry(absl::Status status, absl::Duration after) {
  google::rpc::RetryInfo info;
  *info.mutable_retry_delay() = ToProto(after);
  Attach(info, status);
  return status;
}

// The first bytes of `text`, never half a UTF-8 character. Trailers beyond 8 KiB would reach the
// client as another error than ours.
std::string Shortened(absl::string_view text, size_t bytes_max) {
  if (text.size() <= bytes_max) return std::string(text);
  while (bytes_max > 0 && (static_cast<uint8_t>(text[bytes_max]) & 0xC0) == 0x80) --bytes_max;
  return absl::StrCat(text.substr(0, bytes_max), "…");
}

absl::Status Exhausted(const Retry& retry, absl::string_view reason) {
  return WithRetry(WithReason(absl::ResourceExhaustedError(retry.message), reason), retry.after);
}

absl::Status Unavailable(const Retry& retry, absl::string_view reason) {
  return WithRetry(WithReason(absl::UnavailableError(retry.message), reason), retry.after);
}

}  // namespace

absl::Status InvalidFields(const std::vector<FieldViolation>& violations) {
  CHECK(!violations.empty());
  std::string message;
  google::rpc::BadRequest bad_request;
  for (const FieldViolation& violation : violations) {
    if (bad_request.field_violations_size() == kViolationsMax) {
      absl::StrAppend(&message, "; and ", violations.size() - kViolationsMax, " more");
      break;
    }
    auto* field = bad_request.add_field_violations();
    field->set_field(Shortened(violation.field, kFieldBytesMax));
    field->set_description(Shortened(violation.description, kDescriptionBytesMax));
    absl::StrAppend(&message, message.empty() ? "" : "; ", field->field(), ": ",
                    field->description());
  }
  absl::Status status = WithReason(absl::InvalidArgumentError(message), "INVALID_FIELD");
  Attach(bad_request, status);
  return status;
}

absl::Status InvalidField(absl::string_view field, absl::string_view description) {
  return InvalidFields({{.field = std::string(field), .description = std::string(description)}});
}

absl::Status PromptTooLong(const PromptLength& length) {
  absl::Status status = absl::InvalidArgumentError(
      absl::StrCat("the prompt has ", length.got, " tokens; the limit is ", length.limit, " tokens",
                   length.of.empty() ? "" : absl::StrCat(" (", length.of, ")")));
  google::rpc::ErrorInfo info;
  info.set_reason("PROMPT_TOO_LONG");
  info.set_domain(std::string(kErrorDomain));
  (*info.mutable_metadata())["limit"] = absl::StrCat(length.limit);
  (*info.mutable_metadata())["got"] = absl::StrCat(length.got);
  Attach(info, status);
  return status;
}

absl::Status DuplicateRequest(absl::string_view request_id) {
  return WithReason(
      absl::AlreadyExistsError(absl::StrCat("request_id: \"", request_id, "\" is running")),
      "DUPLICATE_REQUEST");
}

absl::Status QueueFull(const Retry& retry) {
  return Exhausted(retry, "QUEUE_FULL");
}
absl::Status KvBudget(const Retry& retry) {
  return Exhausted(retry, "KV_BUDGET");
}
absl::Status RateLimited(const Retry& retry) {
  return Exhausted(retry, "RATE_LIMIT");
}
absl::Status ApiKeyWrong(absl::string_view why) {
  return WithReason(absl::UnauthenticatedError(why), "API_KEY");
}
absl::Status SlowReader(const Retry& retry) {
  return Exhausted(retry, "SLOW_READER");
}
absl::Status NoWorker(const Retry& retry) {
  return Unavailable(retry, "NO_WORKER");
}
absl::Status WorkerLost(const Retry& retry) {
  return Unavailable(retry, "WORKER_LOST");
}
absl::Status Draining(const Retry& retry) {
  return Unavailable(retry, "DRAINING");
}

absl::Status DeadlinePassed(absl::string_view stage) {
  return WithReason(absl::DeadlineExceededError(absl::StrCat("the deadline passed in ", stage)),
                    "DEADLINE");
}

absl::Status LayoutMismatch(absl::string_view both_sides) {
  return WithReason(absl::FailedPreconditionError(both_sides), "LAYOUT_MISMATCH");
}

absl::Status VersionMismatch(absl::string_view both_sides) {
  return WithReason(absl::FailedPreconditionError(both_sides), "VERSION_MISMATCH");
}

absl::Status ChannelDowngrade(absl::string_view both_sides) {
  return WithReason(absl::FailedPreconditionError(both_sides), "CHANNEL_DOWNGRADE");
}

absl::Status EndpointNotAllowed(absl::string_view endpoint) {
  return WithReason(absl::PermissionDeniedError(absl::StrCat(
                        "reservation.endpoint: \"", Shortened(endpoint, kFieldBytesMax),
                        "\" is none of decode_workers_allowed")),
                    "ENDPOINT_NOT_ALLOWED");
}

absl::Status LeaseLost(absl::string_view message) {
  return WithReason(absl::AbortedError(message), "LEASE_LOST");
}

std::string ReasonOf(const absl::Status& status) {
  return Find<google::rpc::ErrorInfo>(status).reason();
}

ErrorDetails DetailsOf(const absl::Status& status) {
  return {.info = Find<google::rpc::ErrorInfo>(status),
          .bad_request = Find<google::rpc::BadRequest>(status),
          .retry = Find<google::rpc::RetryInfo>(status)};
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const auto code = static_cast<grpc::StatusCode>(status.code());
  google::rpc::Status wire;
  wire.set_code(static_cast<int>(code));
  wire.set_message(Shortened(status.message(), kMessageBytesMax));
  status.ForEachPayload([&wire](absl::string_view url, const absl::Cord& payload) {
    auto* detail = wire.add_details();
    detail->set_type_url(std::string(url));
    detail->set_value(std::string(payload));
  });
  const std::string details = wire.details().empty() ? "" : wire.SerializeAsString();
  return grpc::Status(code, wire.message(), details);
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  absl::Status out(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  google::rpc::Status wire;
  // Bytes of another process: what does not parse is no detail.
  if (!wire.ParseFromString(status.error_details())) return out;
  for (const auto& detail : wire.details()) {
    out.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  }
  return out;
}

}  // namespace tandem
