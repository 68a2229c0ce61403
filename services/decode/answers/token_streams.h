// SPDX-License-Identifier: Apache-2.0
// TokenStreams: the AnswerService/Tokens streams of a decode worker, as its loop knows them. What
// answers write during a step goes out in one message a stream. For the loop's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "services/runtime/rpc/stream_writer.h"
#include "tandem/v1/answers.pb.h"

namespace tandem {

// One stream. Made with new by the service; the loop's from TokensOpenedCommand on. Ownership and
// threads: StreamWriter.
class TokenStream final : public StreamWriter<v1::TokensResponse> {
 public:
  // `tokens_max`: kept for a reader that does not read. `on_cancelled` comes at most once, from a
  // gRPC thread.
  TokenStream(uint64_t id, size_t tokens_max, std::function<void(uint64_t)> on_cancelled)
      : StreamWriter(tokens_max), id_(id), on_cancelled_(std::move(on_cancelled)) {}

  uint64_t id() const { return id_; }

 private:
  using Message = v1::TokensResponse;
  size_t Weight(const Message& message) const override;
  bool Coalesce(Message& last, Message& next) override;
  void OnCancelled() override { on_cancelled_(id_); }

  const uint64_t id_;
  const std::function<void(uint64_t)> on_cancelled_;
};

class TokenStreams {
 public:
  static constexpr size_t kMost = 256;

  // Tells it its name; or ends it, when there are too many.
  void Open(TokenStream* stream);
  bool Has(uint64_t id) const { return open_.contains(id); }
  // Part of an answer on a stream that is open; goes out with Flush.
  void Add(uint64_t id, uint64_t answer, v1::DecodeServiceGenerateResponse part);
  // The streams that do not keep up, or whose reader is gone: to be closed.
  [[nodiscard]] std::vector<uint64_t> Flush();
  // Harmless if it is not open.
  void Close(uint64_t id, const absl::Status& status);
  void CloseAll(const absl::Status& status);

 private:
  struct Line {
    TokenStream* stream = nullptr;
    v1::TokensResponse next;
  };
  std::map<uint64_t, Line> open_;
};

}  // namespace tandem
