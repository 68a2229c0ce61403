// SPDX-License-Identifier: Apache-2.0
// What the RPC surface asks of the decode loop, as values. Reactions make them and return; the loop
// acts on them in order. Every command is answered exactly once, also when the loop is stopping:
// nobody is left waiting.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <variant>

#include "absl/status/statusor.h"
#include "services/runtime/kv/lease_table.h"
#include "services/runtime/rpc/status.h"
#include "services/runtime/transfer/wire.h"
#include "tandem/v1/worker.pb.h"

namespace tandem {

class AnswerSink;
class NcclEnd;
class TokenStream;

// What a command is answered with when the loop takes no more, or ends before it.
inline absl::Status LoopGone() {
  return WorkerLost({.message = "the decode worker is shutting down"});
}

struct ReserveCommand {
  int64_t tokens = 0;
  std::function<void(absl::StatusOr<Grant>)> reply;
};

struct ReleaseCommand {
  LeaseKey key;
  std::function<void()> reply;
};

// The loop owns the sink from here on and closes it.
struct GenerateCommand {
  v1::DecodeServiceGenerateRequest request;
  AnswerSink* sink = nullptr;
};

// The answer's reader is gone. The pointer is a name only: the answer may have ended.
struct CancelCommand {
  const AnswerSink* sink = nullptr;
};

// A stream for many answers. The loop owns it from here on and closes it.
struct TokensOpenedCommand {
  TokenStream* stream = nullptr;
};

// Its reader is gone.
struct TokensLostCommand {
  uint64_t stream = 0;
};

// A link stands; `send` reaches its writer until LinkClosedCommand.
struct LinkOpenedCommand {
  LinkId link = 0;
  v1::KvChannelKind kind = v1::KV_CHANNEL_KIND_GRPC;
  // While it tries whether it can be of kind NCCL, and if it is: what receives its rows. As long
  // as `send`, and on until `dispose`.
  NcclEnd* nccl = nullptr;
  std::function<void(v1::LinkResponse)> send;
};

// It can: from now on it is of kind NCCL.
struct LinkJoinedCommand {
  LinkId link = 0;
};

// Kind NCCL: the writer would send rows.
struct LinkPartCommand {
  LinkId link = 0;
  LinkPart part;
};

// They are all in their pages: the loop's own.
struct LinkPartDoneCommand {
  LinkId link = 0;
  LeaseKey key;
};

struct LinkBeginCommand {
  LinkId link = 0;
  LeaseKey key;
};

struct LinkEndCommand {
  LinkId link = 0;
  LeaseKey key;
  int64_t tokens = 0;  // whose rows are in place
};

// The link's stream is over. `send` is not called after `dispose` was, which waits for the end of a
// communicator.
struct LinkClosedCommand {
  LinkId link = 0;
  std::function<void()> dispose;
};

// A piece of rows that travel as bytes. `reply`: OK = the next piece may come; until then the
// writer keeps what is pointed to.
struct WriteKvCommand {
  LeaseKey key;
  int tokens = 0;
  // Where the rows of the whole call go: found at its first piece, which brings none.
  std::vector<KvExtent>* extents = nullptr;
  const v1::WriteKvRequest* piece = nullptr;
  std::function<void(absl::Status)> reply;
};

// The engine's step is over: the loop's own.
struct StepDoneCommand {};

using DecodeCommand =
    std::variant<StepDoneCommand, ReserveCommand, ReleaseCommand, GenerateCommand, CancelCommand,
                 TokensOpenedCommand, TokensLostCommand, LinkOpenedCommand, LinkJoinedCommand,
                 LinkBeginCommand, LinkPartCommand, LinkPartDoneCommand, LinkEndCommand,
                 LinkClosedCommand, WriteKvCommand>;

}  // namespace tandem
