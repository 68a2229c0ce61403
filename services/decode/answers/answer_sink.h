// SPDX-License-Identifier: Apache-2.0
// AnswerSink: where the decode loop puts one answer: its tokens, then its end. For the loop's
// thread, which owns it until Close or CloseNow.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "tandem/v1/worker.pb.h"

namespace tandem {

class TokenStreams;

class AnswerSink {
 public:
  // Once, before anything is written. An error: there is nowhere to write to.
  virtual absl::Status Open(TokenStreams& /*streams*/) { return absl::OkStatus(); }
  // The stream of many answers that this one is on; 0 = it has one of its own.
  virtual uint64_t token_stream() const { return 0; }

  // False: the reader is gone, or too far behind.
  [[nodiscard]] virtual bool Write(v1::DecodeServiceGenerateResponse part) = 0;
  virtual void Close(const absl::Status& status) = 0;
  // What waits is dropped.
  virtual void CloseNow(const absl::Status& status) = 0;

 protected:
  virtual ~AnswerSink() = default;
};

}  // namespace tandem
