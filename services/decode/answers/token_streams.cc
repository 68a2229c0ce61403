// SPDX-License-Identifier: Apache-2.0
#include "services/decode/answers/token_streams.h"

#include "absl/strings/str_cat.h"
#include "services/runtime/base/check.h"
#include "services/runtime/rpc/status.h"

namespace tandem {

size_t TokenStream::Weight(const Message& message) const {
  size_t tokens = 0;
  for (const v1::AnswerPart& part : message.parts()) tokens += part.part().tokens_size();
  return tokens;
}

bool TokenStream::Coalesce(Message& last, Message& next) {
  for (v1::AnswerPart& part : *next.mutable_parts()) last.add_parts()->Swap(&part);
  return true;
}

void TokenStreams::Open(TokenStream* stream) {
  if (open_.size() >= kMost) {
    return stream->Close(
        QueueFull({.message = absl::StrCat("Tokens: at most ", kMost, " streams at once")}));
  }
  v1::TokensResponse name;
  name.set_stream(stream->id());
  (void)stream->Write(std::move(name));  // who is gone says so by on_cancelled
  open_[stream->id()].stream = stream;
}

void TokenStreams::Add(uint64_t id, uint64_t answer, v1::DecodeServiceGenerateResponse part) {
  const auto it = open_.find(id);
  CHECK(it != open_.end());
  v1::AnswerPart& added = *it->second.next.add_parts();
  added.set_answer(answer);
  added.mutable_part()->Swap(&part);
}

std::vector<uint64_t> TokenStreams::Flush() {
  std::vector<uint64_t> behind;
  for (auto& [id, line] : open_) {
    if (line.next.parts().empty()) continue;
    if (!line.stream->Write(std::move(line.next))) behind.push_back(id);
    line.next.Clear();
  }
  return behind;
}

void TokenStreams::Close(uint64_t id, const absl::Status& status) {
  const auto it = open_.find(id);
  if (it == open_.end()) return;
  it->second.stream->CloseNow(status);
  open_.erase(it);
}

void TokenStreams::CloseAll(const absl::Status& status) {
  while (!open_.empty()) Close(open_.begin()->first, status);
}

}  // namespace tandem
