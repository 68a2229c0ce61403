// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/transfer/nccl/nccl_end.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/runtime/base/log.h"
#include "services/runtime/base/status_macros.h"

namespace tandem {
namespace {

// A message takes a fraction of a millisecond; what takes longer leaves the processor to others.
constexpr absl::Duration kLook = absl::Milliseconds(2);
constexpr absl::Duration kPoll = absl::Microseconds(50);
constexpr int64_t kAlign = 16;  // of each extent in the packed rows
static_assert(NcclPort::kMessageBytes % kAlign == 0);

constexpr int64_t kCell = KvStorage::kTestCellBytes;

// A part of an extent, and where it lies in its message.
struct Packed {
  uint64_t offset = 0;
  int64_t at = 0;
  int64_t bytes = 0;
};
struct Packing {
  std::vector<Packed> parts;
  int64_t bytes = 0;
};

// Both sides get equal messages from extents of equal sizes.
std::vector<Packing> Pack(const std::vector<KvExtent>& extents) {
  std::vector<Packing> out(1);
  for (const KvExtent& extent : extents) {
    for (uint64_t begin = 0; begin < extent.bytes;) {
      if (out.back().bytes == NcclPort::kMessageBytes) out.emplace_back();
      Packing& message = out.back();
      const int64_t part = std::min<int64_t>(static_cast<int64_t>(extent.bytes - begin),
                                             NcclPort::kMessageBytes - message.bytes);
      message.parts.push_back(
          {.offset = extent.offset + begin, .at = message.bytes, .bytes = part});
      message.bytes += (part + kAlign - 1) / kAlign * kAlign;
      begin += static_cast<uint64_t>(part);
    }
  }
  return out;
}

}  // namespace

NcclEnd::NcclEnd(Options options)
    : options_(std::move(options)), thread_("nccl-end", [this] { Run(); }) {}

NcclEnd::~NcclEnd() {
  Abort();
}

void NcclEnd::Abort() {
  aborted_ = true;
  orders_.Close();
}

void NcclEnd::Do(Order order) {
  const auto done = order.done;
  if (!orders_.PushAlways(std::move(order))) done(absl::UnavailableError("nccl: the link is over"));
}

void NcclEnd::Run() {
  absl::Status status = Join();
  const bool joined = status.ok();
  options_.joined(status);
  std::vector<Order> given_up;
  while (status.ok()) {
    std::vector<Order> orders = orders_.PopAll(absl::InfiniteDuration());
    if (orders.empty()) status = absl::UnavailableError("nccl: the link is over");
    for (Order& order : orders) {
      if (status.ok()) status = Execute(order);
      if (status.ok()) {
        order.done(status);
      } else {
        given_up.push_back(std::move(order));
      }
    }
  }
  orders_.Close();
  const bool left = Leave();
  for (Order& order : orders_.PopAll(absl::ZeroDuration())) given_up.push_back(std::move(order));
  for (const Order& order : given_up) order.done(status);
  ended_ = left;
  if (joined && !aborted_) options_.lost(status);
  over_ = true;
}

absl::Status NcclEnd::Await(const std::function<absl::StatusOr<bool>()>& done) {
  const absl::Time begin = absl::Now();
  while (true) {
    if (aborted_) return absl::UnavailableError("nccl: the link is over");
    ASSIGN_OR_RETURN(const bool is_done, done());
    if (is_done) return absl::OkStatus();
    const absl::Duration waited = absl::Now() - begin;
    if (waited > options_.limit) {
      return absl::UnavailableError(absl::StrCat("nccl: the other side was not there within ",
                                                 absl::FormatDuration(options_.limit)));
    }
    if (waited > kLook) {
      absl::SleepFor(kPoll);
    } else {
      std::this_thread::yield();
    }
  }
}

absl::Status NcclEnd::AwaitQueued() {
  return Await([this]() -> absl::StatusOr<bool> {
    for (const Nccl::Comm comm : comms_) {
      ASSIGN_OR_RETURN(const bool done, options_.port->nccl().Poll(comm));
      if (!done) return false;
    }
    return true;
  });
}

absl::Status NcclEnd::AwaitRun() {
  return Await([this]() -> absl::StatusOr<bool> {
    for (size_t i = 0; i < lanes_.size(); ++i) {
      // An error of the communicator comes first: a queue behind a lost peer never ends.
      RETURN_IF_ERROR(options_.port->nccl().Poll(comms_[i]).status());
      if (!lanes_[i].backend->Finished(lanes_[i].stream)) return false;
      if (!lanes_[i].stream.ok()) {
        return absl::UnavailableError(absl::StrCat("nccl: ", lanes_[i].stream.error()));
      }
    }
    return true;
  });
}

absl::Status NcclEnd::Join() {
  Nccl& nccl = options_.port->nccl();
  absl::StatusOr<std::string> id = options_.id;
  absl::StatusOr<std::vector<NcclPort::Lane>> lanes =
      options_.port->Take(options_.sends ? options_.senders : options_.receivers);
  if (options_.sends) {
    id = lanes.ok() ? nccl.NewId() : lanes.status();
    options_.named(id);
  }
  RETURN_IF_ERROR(lanes.status());
  lanes_ = *std::move(lanes);
  RETURN_IF_ERROR(id.status());
  comms_.resize(lanes_.size(), nullptr);
  absl::Status status;
  nccl.GroupStart();
  for (size_t i = 0; i < lanes_.size() && status.ok(); ++i) {
    status = nccl.Join({.id = *id,
                        .ranks = options_.senders + options_.receivers,
                        .rank = static_cast<int>(i) + (options_.sends ? 0 : options_.senders),
                        .queue = lanes_[i].stream.queue()},
                       &comms_[i]);
  }
  const absl::Status ended = nccl.GroupEnd();
  RETURN_IF_ERROR(status);
  RETURN_IF_ERROR(ended);
  RETURN_IF_ERROR(AwaitQueued());
  return Test();
}

std::vector<NcclEnd::Piece> NcclEnd::PiecesOf(int64_t bytes) const {
  std::vector<Piece> pieces;
  for (int i = 0; i < options_.receivers; ++i) {
    const int sender = i % options_.senders;
    const auto lane = static_cast<size_t>(options_.sends ? sender : i);
    pieces.push_back({.lane = lane,
                      .memory = lanes_[lane].memory,
                      .bytes = bytes,
                      .peer = options_.sends ? options_.senders + i : sender});
  }
  return pieces;
}

absl::Status NcclEnd::Test() {
  std::vector<Piece> pieces = PiecesOf(kCell);
  // A sender may have several cells to send.
  for (size_t i = 0; i < pieces.size(); ++i) {
    NcclPort::Lane& lane = lanes_[pieces[i].lane];
    if (!options_.sends) continue;
    pieces[i].memory = lane.memory + i * kCell;
    lane.backend->CopyNow(
        {.to = pieces[i].memory, .from = options_.pattern.data() + i * kCell, .bytes = kCell});
  }
  RETURN_IF_ERROR(Queue(pieces));
  RETURN_IF_ERROR(AwaitRun());
  if (options_.sends) return absl::OkStatus();
  std::string heard(options_.pattern.size(), '\0');
  for (size_t i = 0; i < lanes_.size(); ++i) {
    lanes_[i].backend->CopyNow(
        {.to = heard.data() + i * kCell, .from = lanes_[i].memory, .bytes = kCell});
  }
  if (heard == options_.pattern) return absl::OkStatus();
  return absl::DataLossError("nccl: self-test: other bytes came than were sent");
}

absl::Status NcclEnd::Queue(const std::vector<Piece>& pieces) {
  Nccl& nccl = options_.port->nccl();
  absl::Status status;
  nccl.GroupStart();
  for (const Piece& piece : pieces) {
    if (!status.ok()) break;
    const Nccl::Message message{.memory = piece.memory,
                                .bytes = piece.bytes,
                                .peer = piece.peer,
                                .queue = lanes_[piece.lane].stream.queue()};
    status = options_.sends ? nccl.Send(comms_[piece.lane], message)
                            : nccl.Receive(comms_[piece.lane], message);
  }
  const absl::Status ended = nccl.GroupEnd();
  RETURN_IF_ERROR(status);
  RETURN_IF_ERROR(ended);
  return AwaitQueued();
}

absl::Status NcclEnd::Execute(const Order& order) {
  std::vector<kernels::CopyArgs> copies;
  const auto copy = [&](const Packing& message) {
    for (size_t i = 0; i < lanes_.size(); ++i) {
      std::byte* const rows = order.storage->view().copies[i];
      copies.clear();
      for (const Packed& part : message.parts) {
        void* const packed = lanes_[i].memory + part.at;
        void* const row = rows + part.offset;
        copies.push_back({.to = options_.sends ? packed : row,
                          .from = options_.sends ? row : packed,
                          .bytes = part.bytes});
      }
      lanes_[i].backend->CopyMany(copies, lanes_[i].stream);
    }
  };
  for (const Packing& message : Pack(order.extents)) {
    const bool read = order.cancelled == nullptr || !*order.cancelled;
    if (options_.sends && read) copy(message);
    RETURN_IF_ERROR(Queue(PiecesOf(message.bytes)));
    if (!options_.sends) copy(message);
    RETURN_IF_ERROR(AwaitRun());
  }
  return absl::OkStatus();
}

bool NcclEnd::Leave() {
  std::erase(comms_, nullptr);
  NcclPort::Ending* const ending =
      comms_.empty() ? nullptr : options_.port->Abort(std::move(comms_));
  comms_.clear();
  const absl::Time deadline = absl::Now() + options_.limit;
  for (NcclPort::Lane& lane : lanes_) {
    while (!lane.backend->Finished(lane.stream)) {
      if (absl::Now() > deadline) {
        LogError("nccl-queue-stuck", {{"gpu", lane.backend->Describe()}});
        return false;
      }
      absl::SleepFor(kPoll);
    }
  }
  if (!lanes_.empty()) options_.port->Give(std::move(lanes_), ending);
  return true;
}

}  // namespace tandem
