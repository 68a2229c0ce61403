// SPDX-License-Identifier: Apache-2.0
// Goal: numbers are printed in digits that say something. Method: edge numbers, written out.
#include "services/tools/text/number_text.h"

#include "gtest/gtest.h"

namespace tandem {
namespace {

TEST(NumberTextTest, DigitsThatSaySomething) {
  EXPECT_EQ(CountText(0), "0");
  EXPECT_EQ(CountText(999), "999");
  EXPECT_EQ(CountText(1234567), "1,234,567");
  EXPECT_EQ(NumberText(0), "0");
  EXPECT_EQ(NumberText(0.0421), "0.042");
  EXPECT_EQ(NumberText(0.9999), "1.00");
  EXPECT_EQ(NumberText(7.314), "7.31");
  EXPECT_EQ(NumberText(9.999), "10.0");
  EXPECT_EQ(NumberText(48.24), "48.2");
  EXPECT_EQ(NumberText(99.97), "100");
  EXPECT_EQ(NumberText(1234.5), "1,235");
  EXPECT_EQ(NumberText(-7.314), "-7.31");
  EXPECT_EQ(MsText(absl::Microseconds(1500)), "1.50");
  EXPECT_EQ(DurationText(absl::Milliseconds(850)), "850 ms");
  EXPECT_EQ(DurationText(absl::Milliseconds(12340)), "12.3 s");
  EXPECT_EQ(DurationText(absl::Seconds(200)), "3 min 20 s");
  EXPECT_EQ(DurationText(absl::Minutes(125)), "2 h 5 min");
  EXPECT_EQ(PercentText(0.9712), "97.1 %");
  EXPECT_EQ(PercentText(0.99999), "99.99 %");
  EXPECT_EQ(PercentText(0.00001), "0.01 %");
  EXPECT_EQ(PercentText(1), "100.0 %");
  EXPECT_EQ(BytesText(48 << 20), "48.0 MiB");
  EXPECT_EQ(BytesText(uint64_t{3} << 30), "3.00 GiB");
}

}  // namespace
}  // namespace tandem
