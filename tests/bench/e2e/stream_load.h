// SPDX-License-Identifier: Apache-2.0
// Token streams on the simulated engine, as many as there should be: through the router, or
// straight at the workers as the router goes there. Each keeps when every token came and whether it
// was the right one. Thread-safe where it says so.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "tandem/v1/inference.grpc.pb.h"
#include "tandem/v1/worker.grpc.pb.h"

namespace tandem {

// Times of tokens of one stream, in the order of the answer, and how it ended.
struct StreamResult {
  std::vector<absl::Time> tokens;
  int wrong = 0;  // tokens that are not the rule's
  absl::Status status;
};

// What is asked: `tokens` ids in answer to a prompt that no other stream has.
struct StreamQuestion {
  uint32_t stream = 0;
  uint32_t tokens = 0;

  std::vector<uint32_t> Prompt() const;
  // The answer's id number `index`.
  uint32_t Answer(size_t index) const;
};

// One running stream. Wait returns when it is over.
class Stream {
 public:
  virtual ~Stream() = default;
  virtual const StreamResult& Wait() = 0;
};

std::unique_ptr<Stream> StartRouted(v1::InferenceService::Stub& router,
                                    const StreamQuestion& question);

struct Workers {
  v1::PrefillService::Stub& prefill;
  v1::DecodeService::Stub& decode;
};
// Reserve and Prefill, waited for: how long it took until the first token was there.
struct DirectPrompt {
  absl::Status status;
  v1::Reservation reservation;
  uint32_t first_token = 0;
};
DirectPrompt PrefillDirect(const Workers& workers, const StreamQuestion& question);
// Goes on with what PrefillDirect gave.
std::unique_ptr<Stream> StartDirect(const Workers& workers, const StreamQuestion& question,
                                    const DirectPrompt& prompt);
// Gives back what StartDirect was not called for.
void Release(const Workers& workers, const DirectPrompt& prompt);

}  // namespace tandem
