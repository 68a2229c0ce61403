// SPDX-License-Identifier: Apache-2.0
#include "services/tools/client.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "services/runtime/config/duration.h"
#include "services/runtime/rpc/status.h"

namespace tandem {

absl::Status Generate(const GenerateCall& call) {
  const auto reader = call.stub.Generate(&call.context, call.request);
  v1::GenerateResponse event;
  while (reader->Read(&event)) call.on_event(event);
  return FromGrpcStatus(reader->Finish());
}

std::string DescribeError(const absl::Status& status) {
  const ErrorDetails details = DetailsOf(status);
  const std::string& reason = details.info.reason();
  std::string out = absl::StrCat("error: ", absl::StatusCodeToString(status.code()),
                                 reason.empty() ? "" : absl::StrCat(" (", reason, ")"), ": ",
                                 absl::string_view(status.message()), "\n");
  for (const auto& field : details.bad_request.field_violations()) {
    absl::StrAppend(&out, "  ", field.field(), ": ", field.description(), "\n");
  }
  for (const auto& [key, value] : details.info.metadata()) {
    absl::StrAppend(&out, "  ", key, ": ", value, "\n");
  }
  if (details.retry.has_retry_delay()) {
    absl::StrAppend(&out, "  try again in ",
                    absl::FormatDuration(FromProto(details.retry.retry_delay())), "\n");
  }
  return out;
}

std::string NameOf(v1::FinishReason reason) {
  std::string name = v1::FinishReason_Name(reason);
  return absl::AsciiStrToLower(absl::StripPrefix(name, "FINISH_REASON_"));
}

std::string Summary(const v1::Finished& finished) {
  const v1::Usage& usage = finished.usage();
  const double ttft = absl::ToDoubleSeconds(FromProto(finished.timing().ttft()));
  const double total = absl::ToDoubleSeconds(FromProto(finished.timing().total()));
  std::string out = absl::StrFormat("%s; %d prompt tokens, %d written", NameOf(finished.reason()),
                                    usage.prompt_tokens(), usage.completion_tokens());
  if (usage.completion_tokens() == 0) return out;
  absl::StrAppendFormat(&out, "; TTFT %.3f s", ttft);
  if (usage.completion_tokens() == 1 || total <= ttft) return out;
  const double tpot = (total - ttft) / (usage.completion_tokens() - 1);
  absl::StrAppendFormat(&out, ", TPOT %.1f ms, %.1f tokens/s", tpot * 1e3, 1 / tpot);
  return out;
}

}  // namespace tandem
