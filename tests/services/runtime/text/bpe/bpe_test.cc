// SPDX-License-Identifier: Apache-2.0
// Goal: the heap gives what the definition gives: lowest rank first, leftmost of equals.
// Method: a random small merge table against the definition written as plain loops.
#include "services/runtime/text/bpe/bpe.h"

#include <random>

#include "gtest/gtest.h"

namespace tandem {
namespace {

// Bytes are their own ids; merges join random tokens of at most 8 bytes.
struct Table {
  BpeSpec spec;
  std::vector<std::string> bytes;
};

Table MakeTable(uint32_t seed) {
  Table table;
  for (int byte = 0; byte < 256; ++byte) {
    table.spec.byte_ids[byte] = byte;
    table.bytes.emplace_back(1, static_cast<char>(byte));
  }
  std::mt19937 random(seed);
  std::vector<int32_t> tokens = {'a', 'b', 'c'};
  while (tokens.size() < 24) {
    std::uniform_int_distribution<size_t> pick(0, tokens.size() - 1);
    const int32_t left = tokens[pick(random)];
    const int32_t right = tokens[pick(random)];
    if (table.bytes[left].size() + table.bytes[right].size() > 8) continue;
    const int32_t result = static_cast<int32_t>(table.bytes.size());
    table.spec.merges.push_back({.left = left, .right = right, .result = result});
    table.bytes.push_back(table.bytes[left] + table.bytes[right]);
    tokens.push_back(result);
  }
  table.spec.id_to_bytes = table.bytes;
  return table;
}

std::vector<int32_t> ByDefinition(const Table& table, const std::string& piece) {
  std::vector<int32_t> ids;
  for (const char c : piece) ids.push_back(static_cast<uint8_t>(c));
  while (true) {
    int best = -1;
    size_t best_at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      // The last of equal pairs in the table holds.
      for (int rank = static_cast<int>(table.spec.merges.size()) - 1; rank >= 0; --rank) {
        const BpeMerge& merge = table.spec.merges[rank];
        if (merge.left != ids[i] || merge.right != ids[i + 1]) continue;
        if (best < 0 || rank < best) {
          best = rank;
          best_at = i;
        }
        break;
      }
    }
    if (best < 0) return ids;
    ids[best_at] = table.spec.merges[best].result;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(best_at) + 1);
  }
}

TEST(BpeTest, EqualsTheDefinitionOnRandomTables) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const Table table = MakeTable(seed);
    const Bpe bpe(table.spec);
    std::mt19937 random(seed);
    for (int piece = 0; piece < 40; ++piece) {
      std::string text(1 + random() % 30, 'a');
      for (char& c : text) c = static_cast<char>('a' + random() % 4);  // d is in no merge.
      std::vector<int32_t> ids;
      bpe.Encode(text, &ids);
      EXPECT_EQ(ids, ByDefinition(table, text)) << text << " seed " << seed;
    }
  }
}

TEST(BpeTest, AppendsAndLeavesWhatWasThere) {
  const Table table = MakeTable(1);
  const Bpe bpe(table.spec);
  std::vector<int32_t> ids = {7};
  bpe.Encode("", &ids);
  EXPECT_EQ(ids, std::vector<int32_t>({7}));
  bpe.Encode("d", &ids);
  EXPECT_EQ(ids, std::vector<int32_t>({7, 'd'}));
}

}  // namespace
}  // namespace tandem
