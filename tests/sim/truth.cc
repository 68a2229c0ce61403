// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/truth.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace tandem {

void Truth::AddPool(uint64_t pool, int pages, int slots) {
  pools_[pool] = {.rows = std::vector<Row>(static_cast<size_t>(pages) * kSimPageTokens),
                  .slots = std::vector<Row>(slots)};
}

void Truth::Unmap(LinkId link) {
  mapped_.erase(link);
  std::erase_if(writers_, [link](const auto& writer) { return writer.second.link == link; });
}

void Truth::WriterBegins(LinkId link, const Grant& grant) {
  if (!mapped_.contains(link)) return;
  const Writer writer{.link = link, .place = PlaceOf(grant)};
  if (!writers_.emplace(PartsOf(grant.key), writer).second) Fault("a lease has two writers");
}

int Truth::Writers(uint64_t pool) const {
  return static_cast<int>(
      std::count_if(writers_.begin(), writers_.end(),
                    [pool](const auto& entry) { return entry.second.place.pool == pool; }));
}

void Truth::ReaderBegins(const Grant& grant) {
  readers_[PartsOf(grant.key)] = PlaceOf(grant);
  if (writers_.contains(PartsOf(grant.key))) Fault("a lease is read while it is written");
}

void Truth::CheckApart(const Place& granted, const Place& used, const char* by) {
  if (granted.pool != used.pool) return;
  if (granted.slot == used.slot) {
    Fault(absl::StrCat("slot ", granted.slot, " was granted while a ", by, " has it"));
  }
  for (const int page : granted.pages) {
    if (std::find(used.pages.begin(), used.pages.end(), page) == used.pages.end()) continue;
    Fault(absl::StrCat("page ", page, " was granted while a ", by, " has it"));
  }
}

void Truth::Granted(const Place& place) {
  for (const auto& [key, writer] : writers_) CheckApart(place, writer.place, "writer");
  for (const auto& [key, reader] : readers_) CheckApart(place, reader, "reader");
}

Row& Truth::At(const Place& place, int position) {
  const int page = place.pages.at(position / kSimPageTokens);
  return pools_.at(place.pool).rows.at(page * kSimPageTokens + position % kSimPageTokens);
}

void Truth::Write(const Place& place, const Rows& rows) {
  for (int i = rows.first; i < rows.last; ++i) At(place, i) = RowOf(rows.request, i);
  pools_.at(place.pool).slots.at(place.slot) = RowOf(rows.request, rows.last - 1);
}

void Truth::Read(const Place& place, const Rows& rows) {
  for (int i = rows.first; i < rows.last; ++i) {
    if (At(place, i) == RowOf(rows.request, i)) continue;
    Fault(absl::StrCat("request ", rows.request, " reads another's row at ", i));
  }
  if (pools_.at(place.pool).slots.at(place.slot) != RowOf(rows.request, rows.last - 1)) {
    Fault(absl::StrCat("request ", rows.request, " reads another's slot"));
  }
}

Truth::Piece Truth::Copy(const Place& place, int page) const {
  const Pool& pool = pools_.at(place.pool);
  const auto begin = pool.rows.begin() + place.pages.at(page) * kSimPageTokens;
  return {.page = page,
          .rows = std::vector<Row>(begin, begin + kSimPageTokens),
          .slot = pool.slots.at(place.slot)};
}

void Truth::Paste(const Place& place, const Piece& piece) {
  for (int i = 0; i < kSimPageTokens; ++i) {
    At(place, piece.page * kSimPageTokens + i) = piece.rows.at(i);
  }
  pools_.at(place.pool).slots.at(place.slot) = piece.slot;
}

}  // namespace tandem
