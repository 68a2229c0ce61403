// SPDX-License-Identifier: Apache-2.0
// GenerateStream: the token stream of one DecodeService/Generate call. Tokens that wait for a slow
// reader are merged into one message; past the bound Write says no. Ownership and threads:
// StreamWriter.
#pragma once

#include <functional>
#include <utility>

#include "services/decode/answers/answer_sink.h"
#include "services/runtime/rpc/stream_writer.h"
#include "services/runtime/rpc/trace/request_line.h"
#include "tandem/v1/worker.pb.h"

namespace tandem {

class GenerateStream final : public StreamWriter<v1::DecodeServiceGenerateResponse>,
                             public AnswerSink {
 public:
  // `on_cancelled` comes at most once, from a gRPC thread.
  GenerateStream(size_t tokens_max, RequestLine line,
                 std::function<void(const AnswerSink*)> on_cancelled)
      : StreamWriter(tokens_max), line_(std::move(line)), on_cancelled_(std::move(on_cancelled)) {}

  [[nodiscard]] bool Write(v1::DecodeServiceGenerateResponse part) override {
    return StreamWriter::Write(std::move(part));
  }
  void Close(const absl::Status& status) override { StreamWriter::Close(status); }
  void CloseNow(const absl::Status& status) override { StreamWriter::CloseNow(status); }

 private:
  ~GenerateStream() override = default;
  using Message = v1::DecodeServiceGenerateResponse;
  size_t Weight(const Message& message) const override { return message.tokens_size(); }
  bool Coalesce(Message& last, Message& next) override {
    for (v1::SampledToken& token : *next.mutable_tokens()) last.add_tokens()->Swap(&token);
    last.set_reason(next.reason());
    return true;
  }
  void OnCancelled() override { on_cancelled_(this); }
  void OnFinished() override {
    line_.Write(code());
    delete this;
  }

  const RequestLine line_;
  const std::function<void(const AnswerSink*)> on_cancelled_;
};

}  // namespace tandem
