// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/rpc/trace/trace_context.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

constexpr char kParent[] = "traceparent";
constexpr char kState[] = "tracestate";
// version-traceid-parentid-flags; a version above 00 may go on after another dash.
constexpr size_t kParentLength = 55;
constexpr size_t kDashes[] = {2, 35, 52};
// What every participant should pass on; more is not worth its way.
constexpr size_t kStateLengthMax = 512;
// A parent is passed on whole, so it must end somewhere.
constexpr size_t kParentLengthMax = 256;

bool IsHex(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

bool AllZero(absl::string_view digits) {
  return digits.find_first_not_of('0') == absl::string_view::npos;
}

bool IsPrintable(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

bool IsValidParent(absl::string_view parent) {
  if (parent.size() < kParentLength || parent.size() > kParentLengthMax) return false;
  for (size_t i = 0; i < kParentLength; ++i) {
    const bool dash = std::find(std::begin(kDashes), std::end(kDashes), i) != std::end(kDashes);
    if (dash ? parent[i] != '-' : !IsHex(parent[i])) return false;
  }
  const absl::string_view version = parent.substr(0, 2);
  const absl::string_view rest = parent.substr(kParentLength);
  if (version == "ff" || (!rest.empty() && (version == "00" || rest[0] != '-'))) return false;
  return !AllZero(parent.substr(3, 32)) && !AllZero(parent.substr(36, 16)) && IsPrintable(rest);
}

}  // namespace

TraceContext TraceOf(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata) {
  // Two parents contradict each other.
  if (metadata.count(kParent) != 1) return {};
  const grpc::string_ref found = metadata.find(kParent)->second;
  const absl::string_view parent(found.data(), found.size());
  if (!IsValidParent(parent)) return {};
  TraceContext trace{.parent = std::string(parent)};
  // A list may come in pieces, in order.
  const auto [first, last] = metadata.equal_range(kState);
  for (auto it = first; it != last; ++it) {
    absl::StrAppend(&trace.state, it == first ? "" : ",",
                    absl::string_view(it->second.data(), it->second.size()));
  }
  if (trace.state.size() > kStateLengthMax || !IsPrintable(trace.state)) trace.state.clear();
  return trace;
}

void SetTrace(const TraceContext& trace, grpc::ClientContext& context) {
  if (trace.parent.empty()) return;
  context.AddMetadata(kParent, trace.parent);
  if (!trace.state.empty()) context.AddMetadata(kState, trace.state);
}

}  // namespace tandem
