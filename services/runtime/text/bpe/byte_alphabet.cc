// SPDX-License-Identifier: Apache-2.0
#include "services/runtime/text/bpe/byte_alphabet.h"

#include <array>
#include <cstddef>

namespace tandem {
namespace {

constexpr int kCharacters =
    256 + 68;  // Code points below U+0144: each stands for one byte, or for none.

bool IsPrintable(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
}

struct Alphabet {
  std::array<int, 256> character_of_byte;
  std::array<int, kCharacters> byte_of_character;
};

Alphabet MakeAlphabet() {
  Alphabet alphabet;
  alphabet.byte_of_character.fill(-1);
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const int character = IsPrintable(byte) ? byte : next++;
    alphabet.character_of_byte[byte] = character;
    alphabet.byte_of_character[character] = byte;
  }
  return alphabet;
}

const Alphabet& GetAlphabet() {
  static const Alphabet alphabet = MakeAlphabet();
  return alphabet;
}

}  // namespace

std::string AlphabetCharacter(uint8_t byte) {
  const int character = GetAlphabet().character_of_byte[byte];
  if (character < 0x80) return std::string(1, static_cast<char>(character));
  return {static_cast<char>(0xC0 | (character >> 6)), static_cast<char>(0x80 | (character & 0x3F))};
}

std::string BytesOfToken(absl::string_view token) {
  const Alphabet& alphabet = GetAlphabet();
  std::string bytes;
  for (size_t i = 0; i < token.size(); ++i) {
    int character = static_cast<uint8_t>(token[i]);
    if (character >= 0x80) {  // Every character of the alphabet has one or two bytes.
      if ((character & 0xE0) != 0xC0 || i + 1 == token.size()) return std::string(token);
      character = (character & 0x1F) << 6 | (static_cast<uint8_t>(token[++i]) & 0x3F);
    }
    if (character >= kCharacters || alphabet.byte_of_character[character] < 0) {
      return std::string(token);
    }
    bytes.push_back(static_cast<char>(alphabet.byte_of_character[character]));
  }
  return bytes;
}

}  // namespace tandem
