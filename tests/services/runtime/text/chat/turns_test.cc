// SPDX-License-Identifier: Apache-2.0
// Goal: tool and user messages merge as specification 6.2 says, and results follow the order of the
// calls.
#include "services/runtime/text/chat/turns.h"

#include <string>

#include "gtest/gtest.h"

namespace tandem {
namespace {

// One letter a message: u user, U user with a task, t tool, a assistant with calls 0 to 3, s
// system, d developer. A digit after t is the id it answers.
std::vector<Message> Conversation(const std::string& letters) {
  std::vector<Message> messages;
  for (const char letter : letters) {
    switch (letter) {
      case 'u':
        messages.push_back({.role = Role::kUser, .content = "u"});
        break;
      case 'U':
        messages.push_back({.role = Role::kUser, .content = "U", .task = Task::kTitle});
        break;
      case 't':
        messages.push_back({.role = Role::kTool});
        break;
      case 'a':
        messages.push_back({.role = Role::kAssistant});
        for (const char* id : {"0", "1", "2", "3"})
          messages.back().tool_calls.push_back({.id = id});
        break;
      case 's':
        messages.push_back({.role = Role::kSystem});
        break;
      case 'd':
        messages.push_back({.role = Role::kDeveloper});
        break;
      default:
        messages.back().tool_call_id = std::string(1, letter);
        messages.back().content = messages.back().tool_call_id;
    }
  }
  return messages;
}

std::string Shape(const std::vector<Turn>& turns) {
  std::string shape;
  for (const Turn& turn : turns) {
    shape += turn.role == Role::kUser        ? "("
             : turn.role == Role::kAssistant ? "a"
             : turn.role == Role::kDeveloper ? "d"
                                             : "s";
    for (const Message* part : turn.parts) shape += part->content;
    if (turn.task.has_value()) shape += "!";
    if (turn.role == Role::kUser) shape += ")";
  }
  return shape;
}

std::string ShapeOf(const std::string& letters) {
  const std::vector<Message> messages = Conversation(letters);
  return Shape(MakeTurns(messages));
}

TEST(TurnsTest, MergesNeighbouringUserAndToolMessages) {
  EXPECT_EQ(ShapeOf("suuat0t1ua"), "s(uu)a(01u)a");
  EXPECT_EQ(ShapeOf("usu"), "(u)s(u)");
}

TEST(TurnsTest, ATaskEndsItsTurnForUserMessagesOnly) {
  EXPECT_EQ(ShapeOf("Uu"), "(U!)(u)");
  EXPECT_EQ(ShapeOf("Ut0"), "(U0!)");
  EXPECT_EQ(ShapeOf("uU"), "(uU)");
}

TEST(TurnsTest, SortsResultsByTheLastCallsAndLeavesTextInPlace) {
  EXPECT_EQ(ShapeOf("at3ut1t0"), "a(0u13)");
  EXPECT_EQ(ShapeOf("t3t0"), "(30)");
  EXPECT_EQ(ShapeOf("at2t9t1"), "a(912)");
}

TEST(TurnsTest, KnowsTheLastUserTurnAndDropsOlderDeveloperTurns) {
  const std::vector<Message> messages = Conversation("duadsa");
  const std::vector<Turn> turns = MakeTurns(messages);
  EXPECT_EQ(LastUserTurn(turns), 3U);
  EXPECT_EQ(Shape(WithoutOldDeveloperTurns(turns)), "(u)adsa");
  const std::vector<Message> none = Conversation("sa");
  EXPECT_EQ(LastUserTurn(MakeTurns(none)), std::nullopt);
  EXPECT_EQ(Shape(WithoutOldDeveloperTurns(MakeTurns(none))), "sa");
}

}  // namespace
}  // namespace tandem
