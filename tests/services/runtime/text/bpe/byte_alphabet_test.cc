// SPDX-License-Identifier: Apache-2.0
// Goal: the alphabet is a bijection with GPT-2's known letters. Method: all 256 bytes, and tokens
// outside the alphabet.
#include "services/runtime/text/bpe/byte_alphabet.h"

#include <set>

#include "gtest/gtest.h"

namespace tandem {
namespace {

TEST(ByteAlphabetTest, GivesEveryByteACharacterOfItsOwn) {
  std::set<std::string> characters;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string character = AlphabetCharacter(static_cast<uint8_t>(byte));
    EXPECT_TRUE(characters.insert(character).second);
    EXPECT_EQ(BytesOfToken(character), std::string(1, static_cast<char>(byte)));
  }
}

TEST(ByteAlphabetTest, HasTheKnownLetters) {
  EXPECT_EQ(AlphabetCharacter('a'), "a");
  EXPECT_EQ(AlphabetCharacter(' '), "Ġ");
  EXPECT_EQ(AlphabetCharacter('\n'), "Ċ");
  EXPECT_EQ(AlphabetCharacter(0xAD), "Ń");
  EXPECT_EQ(BytesOfToken("ä½łå¥½"), "你好");
}

TEST(ByteAlphabetTest, LeavesATokenOutsideTheAlphabetAsItIs) {
  for (const char* token : {"<｜User｜>", "a b", "Ġ\u0144", "\xC4", "\xAD", "😀"}) {
    EXPECT_EQ(BytesOfToken(token), token);
  }
}

}  // namespace
}  // namespace tandem
