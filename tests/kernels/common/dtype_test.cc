// SPDX-License-Identifier: Apache-2.0
// Goal: the four codecs are exact. Method: every code is decoded by its definition in fp64 and
// encoded back; rounding is compared with an exhaustive search for the nearest even code on a grid
// that holds every tie.
#include "kernels/common/dtype.h"

#include "tests/kernels/testing.h"

namespace tandem::kernels {
namespace {

double E4M3Definition(int code) {
  const int exponent = (code >> 3) & 15, mantissa = code & 7;
  const double a =
      exponent == 0 ? mantissa * std::ldexp(1, -9) : std::ldexp(1 + mantissa / 8.0, exponent - 7);
  return code & 128 ? -a : a;
}

TEST(DtypeTest, EveryE4M3CodeDecodesToItsDefinitionAndBack) {
  for (int code = 0; code < 256; ++code) {
    const float value = ToFloat(E4M3{static_cast<uint8_t>(code)});
    if ((code & 127) == 127) {
      EXPECT_TRUE(std::isnan(value));
      EXPECT_EQ(ToE4M3(value).bits & 127, 127);
      continue;
    }
    EXPECT_EQ(value, E4M3Definition(code)) << code;
    EXPECT_EQ(ToE4M3(value).bits, code);
  }
}

TEST(DtypeTest, E4M3RoundsTiesToEvenAndTheRestToTheNearest) {
  for (int code = 0; code < 0x7E; ++code) {
    const double low = E4M3Definition(code), high = E4M3Definition(code + 1);
    const float tie = static_cast<float>((low + high) / 2);
    const int even = code % 2 == 0 ? code : code + 1;
    EXPECT_EQ(ToE4M3(tie).bits, even) << code;
    EXPECT_EQ(ToE4M3(std::nextafter(tie, 0.0f)).bits, code);
    EXPECT_EQ(ToE4M3(std::nextafter(tie, 1e9f)).bits, code + 1);
    EXPECT_EQ(ToE4M3(-tie).bits, even | 128);
  }
}

TEST(DtypeTest, E4M3Saturates) {
  for (const float x : {448.0f, 449.0f, 464.0f, 480.0f, 1e30f, INFINITY}) {
    EXPECT_EQ(ToE4M3(x).bits, 0x7E);
    EXPECT_EQ(ToE4M3(-x).bits, 0xFE);
  }
  EXPECT_EQ(ToE4M3(-0.0f).bits, 0x80);
}

TEST(DtypeTest, E2M1RoundsTiesToEvenAndSaturates) {
  const float values[] = {0, .5f, 1, 1.5f, 2, 3, 4, 6};
  for (int code = 0; code < 8; ++code) {
    EXPECT_EQ(ToE2M1(values[code]), code);
    EXPECT_EQ(ToE2M1(-values[code]), code | 8);
    EXPECT_EQ(E2M1ToFloat(static_cast<uint8_t>(code)), values[code]);
    EXPECT_EQ(E2M1ToFloat(static_cast<uint8_t>(code | 8)), -values[code]);
    if (code == 7) continue;
    const float tie = (values[code] + values[code + 1]) / 2;
    EXPECT_EQ(ToE2M1(tie), code % 2 == 0 ? code : code + 1) << tie;
    EXPECT_EQ(ToE2M1(std::nextafter(tie, 0.0f)), code);
    EXPECT_EQ(ToE2M1(std::nextafter(tie, 9.0f)), code + 1);
  }
  EXPECT_EQ(ToE2M1(100), 7);
  EXPECT_EQ(ToE2M1(NAN) & 7, 7);
}

TEST(DtypeTest, EveryBf16SurvivesAndTiesGoToEven) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const Bf16 x{static_cast<uint16_t>(bits)};
    const float value = ToFloat(x);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(ToFloat(ToBf16(value))));
      continue;
    }
    ASSERT_EQ(ToBf16(value), x);
    if (std::isinf(value)) continue;
    const float tie = std::bit_cast<float>((bits << 16) | 0x8000u);
    ASSERT_EQ(ToBf16(tie).bits, bits + (bits & 1));
    ASSERT_EQ(ToBf16(std::bit_cast<float>((bits << 16) | 0x7FFFu)), x);
    ASSERT_EQ(ToBf16(std::bit_cast<float>((bits << 16) | 0x8001u)).bits, bits + 1);
  }
}

TEST(DtypeTest, EveryUe8m0IsItsPowerOfTwo) {
  for (int b = 0; b < 255; ++b) {
    EXPECT_EQ(ToFloat(Ue8m0{static_cast<uint8_t>(b)}), std::ldexp(1.0, b - 127));
  }
  EXPECT_TRUE(std::isnan(ToFloat(Ue8m0{255})));
}

}  // namespace
}  // namespace tandem::kernels
