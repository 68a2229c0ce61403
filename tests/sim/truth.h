// SPDX-License-Identifier: Apache-2.0
// Truth: what the simulated pools hold and who can reach them, kept beside the machines under test
// and never told by them. It judges: a page that is granted must be out of everybody's reach, and
// what a sequence reads must be what was written for it. The first fault is kept. One owner.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "services/runtime/kv/lease_table.h"
#include "tests/sim/network.h"

namespace tandem {

// Tokens a page, here: small, so that pages are scarce and bounds are crossed.
inline constexpr int kSimPageTokens = 4;

// A request of the simulation; never 0.
using RequestUid = uint64_t;

// The row of one token; 0 = never written.
using Row = uint64_t;
inline Row RowOf(RequestUid request, int position) {
  return (request << 16) + static_cast<Row>(position) + 1;
}

using KeyParts = std::tuple<uint64_t, uint64_t, uint64_t>;
inline KeyParts PartsOf(const LeaseKey& key) {
  return {key.incarnation, key.lease_id, key.epoch};
}

// Memory of one sequence in one pool. A pool is named by the incarnation of its process, and stays
// as long as anybody may have mapped it: for ever, here.
struct Place {
  uint64_t pool = 0;
  int slot = -1;
  std::vector<int> pages;
};
inline Place PlaceOf(const Grant& grant) {
  return {.pool = grant.key.incarnation, .slot = grant.slot, .pages = grant.pages};
}

class Truth {
 public:
  void AddPool(uint64_t pool, int pages, int slots);

  // --- Who can reach memory. ---
  void Map(LinkId link) { mapped_.insert(link); }
  // The mapping is gone, and with it all of its writers.
  void Unmap(LinkId link);
  bool Mapped(LinkId link) const { return mapped_.contains(link); }
  // From here on the holder of the mapping may write; until it says itself that it has stopped.
  void WriterBegins(LinkId link, const Grant& grant);
  void WriterEnds(const LeaseKey& key) { writers_.erase(PartsOf(key)); }
  // Those that may write into a pool in place.
  int Writers(uint64_t pool) const;
  void ReaderBegins(const Grant& grant);
  void ReaderEnds(const LeaseKey& key) { readers_.erase(PartsOf(key)); }

  // A pool handed this memory out.
  void Granted(const Place& place);

  // --- What memory holds. ---
  // Rows first to last - 1 of a request.
  struct Rows {
    RequestUid request = 0;
    int first = 0;
    int last = 0;
  };
  void Write(const Place& place, const Rows& rows);
  // Faults if they are not what was written for the request, all of them.
  void Read(const Place& place, const Rows& rows);
  // One page as bytes, and the slot, which goes with every page.
  struct Piece {
    int page = 0;  // of the sequence
    std::vector<Row> rows;
    Row slot = 0;
  };
  Piece Copy(const Place& place, int page) const;
  void Paste(const Place& place, const Piece& piece);

  void Fault(const std::string& what) { fault_.Update(absl::InternalError(what)); }
  const absl::Status& fault() const { return fault_; }

 private:
  struct Pool {
    std::vector<Row> rows;   // [pages * kSimPageTokens]
    std::vector<Row> slots;  // the newest row of the slot's sequence
  };
  struct Writer {
    LinkId link = 0;
    Place place;
  };
  Row& At(const Place& place, int position);
  void CheckApart(const Place& granted, const Place& used, const char* by);

  std::map<uint64_t, Pool> pools_;
  std::set<LinkId> mapped_;
  std::map<KeyParts, Writer> writers_;
  std::map<KeyParts, Place> readers_;
  absl::Status fault_;
};

}  // namespace tandem
