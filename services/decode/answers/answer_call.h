// SPDX-License-Identifier: Apache-2.0
// AnswerCall: one AnswerService/Answer call: its parts go to a stream of many answers, its end is
// the call's. Made with new by the service, deletes itself when gRPC is done with it, which is
// after Close.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/support/server_callback.h"
#include "services/decode/answers/answer_sink.h"
#include "services/decode/answers/token_streams.h"
#include "services/runtime/rpc/status.h"
#include "services/runtime/rpc/trace/request_line.h"

namespace tandem {

class AnswerCall final : public grpc::ServerUnaryReactor, public AnswerSink {
 public:
  // Where the parts go, and under which name.
  struct Place {
    uint64_t stream = 0;
    uint64_t answer = 0;
  };
  // `response` is the call's. `on_cancelled` comes at most once, from a gRPC thread.
  AnswerCall(const Place& place, v1::AnswerResponse& response, RequestLine line,
             std::function<void(const AnswerSink*)> on_cancelled)
      : place_(place),
        response_(response),
        line_(std::move(line)),
        on_cancelled_(std::move(on_cancelled)) {}

  absl::Status Open(TokenStreams& streams) override {
    if (!streams.Has(place_.stream)) {
      return WorkerLost({.message = absl::StrCat("no token stream ", place_.stream, " is open")});
    }
    streams_ = &streams;
    return absl::OkStatus();
  }
  uint64_t token_stream() const override { return place_.stream; }
  [[nodiscard]] bool Write(v1::DecodeServiceGenerateResponse part) override {
    streams_->Add(place_.stream, place_.answer, std::move(part));
    response_.set_parts(response_.parts() + 1);
    return true;
  }
  void Close(const absl::Status& status) override {
    {
      absl::MutexLock lock(&mutex_);
      code_ = status.code();
    }
    Finish(ToGrpcStatus(status));
  }
  void CloseNow(const absl::Status& status) override { Close(status); }

 private:
  ~AnswerCall() override = default;
  void OnCancel() override { on_cancelled_(this); }
  void OnDone() override {
    {
      absl::MutexLock lock(&mutex_);
      line_.Write(code_);
    }
    delete this;
  }

  const Place place_;
  v1::AnswerResponse& response_;
  const RequestLine line_;
  const std::function<void(const AnswerSink*)> on_cancelled_;
  TokenStreams* streams_ = nullptr;  // once it is open there
  absl::Mutex mutex_;
  absl::StatusCode code_ ABSL_GUARDED_BY(mutex_) = absl::StatusCode::kOk;
};

}  // namespace tandem
