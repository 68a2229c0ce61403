// SPDX-License-Identifier: Apache-2.0
#include "services/tools/load/drive/target.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/runtime/base/clock.h"
#include "services/runtime/base/status_macros.h"
#include "services/runtime/rpc/channel.h"
#include "services/runtime/rpc/status.h"
#include "services/tools/client.h"
#include "tandem/v1/inference.grpc.pb.h"

namespace tandem {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(30);
constexpr absl::Duration kHealthTimeout = absl::Seconds(2);
constexpr absl::Duration kHealthPause = absl::Milliseconds(100);

struct Server {
  v1::InferenceService::Stub& stub;
  const Connection& connection;
};

using Ranges = std::vector<Vocabulary::Range>;

absl::StatusOr<std::string> TextOf(const Server& server, Vocabulary::Range range,
                                   bool skip_special) {
  v1::DetokenizeRequest request;
  for (uint32_t id = range.begin; id < range.end; ++id) request.add_token_ids(id);
  request.set_skip_special(skip_special);
  grpc::ClientContext context;
  server.connection.Authorize(context);
  SetDeadline(context, Clock::Real().Now() + kCallTimeout);
  v1::DetokenizeResponse response;
  RETURN_IF_ERROR(FromGrpcStatus(server.stub.Detokenize(&context, request, &response)));
  return response.text();
}

void Append(Ranges& ranges, Vocabulary::Range range) {
  if (!ranges.empty() && ranges.back().end == range.begin) {
    ranges.back().end = range.end;
  } else {
    ranges.push_back(range);
  }
}

// Ids of `range` that are not special: those whose text stays when special tokens are left out. A
// range is halved until it is all one or all the other.
absl::Status AppendOrdinary(const Server& server, Vocabulary::Range range, Ranges& ordinary) {
  ASSIGN_OR_RETURN(const std::string all, TextOf(server, range, false));
  ASSIGN_OR_RETURN(const std::string kept, TextOf(server, range, true));
  if (all == kept) {
    Append(ordinary, range);
    return absl::OkStatus();
  }
  if (kept.empty()) return absl::OkStatus();
  const uint32_t middle = range.begin + (range.end - range.begin) / 2;
  RETURN_IF_ERROR(AppendOrdinary(server, {.begin = range.begin, .end = middle}, ordinary));
  return AppendOrdinary(server, {.begin = middle, .end = range.end}, ordinary);
}

// All ids but `apart`, which is sorted.
Ranges Without(uint32_t vocab_size, const std::vector<uint32_t>& apart) {
  Ranges ranges;
  uint32_t begin = 0;
  for (const uint32_t id : apart) {
    if (id > begin) ranges.push_back({.begin = begin, .end = std::min(id, vocab_size)});
    begin = id + 1;
  }
  if (begin < vocab_size) ranges.push_back({.begin = begin, .end = vocab_size});
  return ranges;
}

// With the tokenizer's word where the server has one; else ends of sentences alone are known.
absl::StatusOr<Ranges> OrdinaryIds(const Server& server, const v1::GetModelInfoResponse& info) {
  Ranges ranges;
  const absl::Status asked = AppendOrdinary(server, {.begin = 0, .end = info.vocab_size()}, ranges);
  if (!asked.ok()) {
    std::vector<uint32_t> ends(info.eos_token_ids().begin(), info.eos_token_ids().end());
    std::sort(ends.begin(), ends.end());
    ranges = Without(info.vocab_size(), ends);
  }
  if (ranges.empty()) return absl::FailedPreconditionError("the model has no ordinary token");
  return ranges;
}

}  // namespace

absl::Status WaitServing(const Connection& connection, absl::Duration timeout) {
  const absl::Time end = Clock::Real().Now() + timeout;
  std::string why;
  while (true) {
    const absl::Time deadline = std::min(end, Clock::Real().Now() + kHealthTimeout);
    const auto serving = IsServing({.connection = connection, .service = "", .deadline = deadline});
    if (serving.ok() && *serving) return absl::OkStatus();
    // The last call may have had no time left: an answer before it says more.
    if (serving.ok()) {
      why = "NOT_SERVING";
    } else if (why.empty() || !absl::IsDeadlineExceeded(serving.status())) {
      why = std::string(serving.status().message());
    }
    if (Clock::Real().Now() + kHealthPause >= end) {
      return absl::UnavailableError(absl::StrCat(connection.channel.endpoint,
                                                 " does not serve after --ready-timeout ",
                                                 absl::FormatDuration(timeout), ": ", why));
    }
    absl::SleepFor(kHealthPause);
  }
}

absl::StatusOr<TargetInfo> AskTarget(const Connection& connection) {
  const auto stub = Channel(connection.channel).NewStub<v1::InferenceService>();
  const Server server = {.stub = *stub, .connection = connection};
  grpc::ClientContext context;
  connection.Authorize(context);
  SetDeadline(context, Clock::Real().Now() + kCallTimeout);
  v1::GetModelInfoResponse info;
  RETURN_IF_ERROR(FromGrpcStatus(stub->GetModelInfo(&context, {}, &info)));
  ASSIGN_OR_RETURN(Ranges ranges, OrdinaryIds(server, info));
  return TargetInfo{.model = info.model(),
                    .context_tokens_max = info.context_tokens_max(),
                    .eos_token_ids = {info.eos_token_ids().begin(), info.eos_token_ids().end()},
                    .vocabulary = Vocabulary(std::move(ranges))};
}

}  // namespace tandem
