// SPDX-License-Identifier: Apache-2.0
// What reaches the prefill loop, as values: calls, cancels, news of links and hand-offs.
#pragma once

#include <functional>
#include <utility>
#include <variant>

#include "services/runtime/rpc/stream_writer.h"
#include "services/runtime/rpc/trace/request_line.h"
#include "services/runtime/scheduler/sequence.h"
#include "services/runtime/transfer/link_event.h"
#include "tandem/v1/worker.pb.h"

namespace tandem {

// The answer stream of one Prefill call. A progress that was not read yet is replaced by the next
// event.
class PrefillStream final : public StreamWriter<v1::PrefillResponse> {
 public:
  // `on_cancelled` comes at most once, from a gRPC thread.
  PrefillStream(RequestLine line, std::function<void(const PrefillStream*)> on_cancelled)
      : StreamWriter(/*weight_max=*/1),
        line_(std::move(line)),
        on_cancelled_(std::move(on_cancelled)) {}

 private:
  size_t Weight(const v1::PrefillResponse& /*message*/) const override { return 0; }
  bool Coalesce(v1::PrefillResponse& last, v1::PrefillResponse& next) override {
    last.Swap(&next);
    return true;
  }
  void OnCancelled() override { on_cancelled_(this); }
  void OnFinished() override {
    line_.Write(code());
    delete this;
  }

  const RequestLine line_;
  const std::function<void(const PrefillStream*)> on_cancelled_;
};

// The loop owns the stream from here on and closes it.
struct PrefillCommand {
  v1::PrefillRequest request;
  PrefillStream* stream = nullptr;
  absl::Time arrived;
};

// The stream's reader is gone. The pointer is a name only.
struct PrefillCancel {
  const PrefillStream* stream = nullptr;
};

// A hand-off is through, or has failed.
struct FencePassed {
  SequenceId id = 0;
  absl::Status status;
};

// A step has so many layers behind it; by then it may be over, or another one run.
struct PrefillLayersDone {
  uint64_t number = 0;  // the step's
  int layers = 0;
};

// A step is over; by then its results may have been taken.
struct PrefillStepDone {
  uint64_t number = 0;
};

using PrefillEvent = std::variant<PrefillCommand, PrefillCancel, LinkEvent, FencePassed,
                                  PrefillLayersDone, PrefillStepDone>;

}  // namespace tandem
