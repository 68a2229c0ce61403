// SPDX-License-Identifier: Apache-2.0
// Goal: marks are round numbers that enclose the values, and values stand between their marks.
// Method: ranges from tiny to huge, and the axes that the page uses written out.
#include "services/tools/load/html/axis.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using testing::ElementsAre;

std::vector<std::string> Texts(const Axis& axis) {
  std::vector<std::string> texts;
  for (const Tick& tick : axis.ticks()) texts.push_back(tick.text);
  return texts;
}

TEST(AxisTest, LinearMarksAreRoundAndEncloseTheValues) {
  EXPECT_THAT(Texts(Axis::Linear(3, 97)), ElementsAre("0", "20", "40", "60", "80", "100"));
  EXPECT_THAT(Texts(Axis::Linear(0, 4200)),
              ElementsAre("0", "1,000", "2,000", "3,000", "4,000", "5,000"));
  EXPECT_THAT(Texts(Axis::Linear(0, 0)), ElementsAre("0", "0.2", "0.4", "0.6", "0.8", "1"));
  for (double most = 1e-4; most < 1e7; most *= 1.7) {
    const Axis axis = Axis::Linear(0, most);
    EXPECT_GE(axis.ticks().size(), 3) << most;
    EXPECT_LE(axis.ticks().size(), 8) << most;
    EXPECT_GE(axis.ticks().back().value, most * (1 - 1e-6));
    EXPECT_NEAR(axis.PlaceOf(axis.ticks().back().value), 1, 1e-9);
    EXPECT_EQ(axis.PlaceOf(0), 0);
  }
}

TEST(AxisTest, LogarithmicMarksEncloseTheValues) {
  EXPECT_THAT(Texts(Axis::Logarithmic(3, 150)),
              ElementsAre("2", "5", "10", "20", "50", "100", "200"));
  for (double least = 1e-3; least < 1e5; least *= 2.3) {
    for (const double factor : {1.0, 1.5, 80.0, 1e6}) {
      const Axis axis = Axis::Logarithmic(least, least * factor);
      EXPECT_GE(axis.ticks().size(), 2) << least << " " << factor;
      EXPECT_LE(axis.ticks().size(), 10) << least << " " << factor;
      EXPECT_LT(axis.PlaceOf(least * factor * 0.999), 1) << least << " " << factor;
    }
  }
  EXPECT_NEAR(Axis::Logarithmic(1, 100).PlaceOf(10), 0.5, 0.2);
}

TEST(AxisTest, NinesAreEquallyFarApart) {
  const Axis axis = Axis::Nines(4);
  EXPECT_THAT(Texts(axis), ElementsAre("0", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"));
  EXPECT_NEAR(axis.PlaceOf(0.9), 0.25, 1e-9);
  EXPECT_NEAR(axis.PlaceOf(0.99), 0.5, 1e-9);
  EXPECT_NEAR(axis.PlaceOf(0.5), std::log10(2) / 4, 1e-9);
  EXPECT_EQ(axis.PlaceOf(1), 1);
}

}  // namespace
}  // namespace tandem
