// SPDX-License-Identifier: Apache-2.0
// Goal: a nasty client's end is judged: what fits passes, everything else fails. Method: the whole
// table of kinds and the codes that may come.
#include "services/tools/load/drive/expectation.h"

#include "gtest/gtest.h"

namespace tandem {
namespace {

using Code = absl::StatusCode;

std::vector<Code> Fitting(Nasty nasty, bool twin = false) {
  std::vector<Code> codes;
  for (const Code code : {Code::kOk, Code::kCancelled, Code::kDeadlineExceeded, Code::kUnavailable,
                          Code::kAlreadyExists, Code::kInternal, Code::kUnknown,
                          Code::kInvalidArgument, Code::kAborted}) {
    if (Fits({.nasty = nasty, .twin = twin, .code = code})) codes.push_back(code);
  }
  EXPECT_TRUE(Fits({.nasty = nasty, .twin = twin, .code = Code::kResourceExhausted}));
  return codes;
}

TEST(ExpectationTest, EveryKindHasItsEnds) {
  using Codes = std::vector<Code>;
  for (const Nasty cancel :
       {Nasty::kCancelEarly, Nasty::kCancelQueued, Nasty::kCancelMidway, Nasty::kCancelById}) {
    EXPECT_EQ(Fitting(cancel), Codes({Code::kOk, Code::kCancelled})) << NameOf(cancel);
  }
  EXPECT_EQ(Fitting(Nasty::kVanish), Codes({Code::kOk, Code::kCancelled, Code::kUnavailable}));
  EXPECT_EQ(Fitting(Nasty::kSlow), Codes({Code::kOk, Code::kDeadlineExceeded}));
  EXPECT_EQ(Fitting(Nasty::kAbsurd), Codes({Code::kOk, Code::kDeadlineExceeded}));
  EXPECT_EQ(Fitting(Nasty::kDuplicate), Codes({Code::kOk}));
  EXPECT_EQ(Fitting(Nasty::kDuplicate, /*twin=*/true), Codes({Code::kAlreadyExists}));
}

TEST(ExpectationTest, ALossFitsEveryKind) {
  for (int i = 0; i < kNastyKinds; ++i) {
    for (const bool twin : {false, true}) {
      NastyEnd end{.nasty = static_cast<Nasty>(i), .twin = twin, .code = Code::kUnavailable};
      EXPECT_EQ(Fits(end), end.nasty == Nasty::kVanish) << NameOf(end.nasty);
      end.lost = true;
      EXPECT_TRUE(Fits(end)) << NameOf(end.nasty);
    }
  }
  EXPECT_TRUE(IsLoss(Code::kUnavailable, "WORKER_LOST"));
  EXPECT_FALSE(IsLoss(Code::kUnavailable, "")) << "the router itself is gone";
  EXPECT_FALSE(IsLoss(Code::kInternal, "WORKER_LOST"));
  EXPECT_FALSE(IsLoss(Code::kOk, ""));
}

TEST(ExpectationTest, OverloadIsNoError) {
  EXPECT_TRUE(IsOverload(Code::kResourceExhausted));
  EXPECT_TRUE(IsOverload(Code::kDeadlineExceeded));
  EXPECT_FALSE(IsOverload(Code::kUnavailable));
  EXPECT_FALSE(IsOverload(Code::kInternal));
}

}  // namespace
}  // namespace tandem
