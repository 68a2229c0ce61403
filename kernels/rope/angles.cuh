// SPDX-License-Identifier: Apache-2.0
// Cosine and sine of an fp32 angle, rounded once from fp64: what RopeAngles has on a device.
//
// θ − n·π/2 by two fused steps is good to 2^-53 for every θ a position can make (|θ| < 2^31), and
// no fp32 is so near a multiple of π/2 that it loses more. The polynomials are fdlibm's
// (__kernel_sin, __kernel_cos): < 1 ulp of fp64. No slow path, no stack. Pure.
#pragma once

#include <cstdint>

namespace tandem::kernels::cuda {

struct Rotation {
  float cos, sin;
};

__device__ __forceinline__ Rotation RotationOf(float theta) {
  constexpr double kTwoOverPi = 6.36619772367581382433e-01;
  constexpr double kHalfPi = 1.57079632679489655800e+00;
  constexpr double kHalfPiRest = 6.12323399573676603587e-17;
  const double n = rint(static_cast<double>(theta) * kTwoOverPi);
  const double x = fma(-n, kHalfPiRest, fma(-n, kHalfPi, static_cast<double>(theta)));
  const double z = x * x;
  double s = fma(z, 1.58969099521155010221e-10, -2.50507602534068634195e-08);
  s = fma(z, s, 2.75573137070700676789e-06);
  s = fma(z, s, -1.98412698298579493134e-04);
  s = fma(z, s, 8.33333333332248946124e-03);
  s = fma(z, s, -1.66666666666666324348e-01);
  s = fma(z * x, s, x);
  double c = fma(z, -1.13596475577881948265e-11, 2.08757232129817482790e-09);
  c = fma(z, c, -2.75573143513906633035e-07);
  c = fma(z, c, 2.48015872894767294178e-05);
  c = fma(z, c, -1.38888888888741095749e-03);
  c = fma(z, c, 4.16666666666666019037e-02);
  c = fma(z * z, c, fma(z, -0.5, 1.0));
  const int quadrant = static_cast<int>(static_cast<int64_t>(n) & 3);
  const float sine = static_cast<float>(quadrant % 2 == 0 ? s : c);
  const float cosine = static_cast<float>(quadrant % 2 == 0 ? c : s);
  return {quadrant == 1 || quadrant == 2 ? -cosine : cosine, quadrant >= 2 ? -sine : sine};
}

// (a, b) of one bf16 pair turned: products and sums not fused, one rounding, as rope.h says.
__device__ __forceinline__ uint32_t RotatePair(uint32_t pair, float cos, float sin) {
  const float a = __uint_as_float(pair << 16), b = __uint_as_float(pair & 0xFFFF0000u);
  const float even = __fsub_rn(__fmul_rn(a, cos), __fmul_rn(b, sin));
  const float odd = __fadd_rn(__fmul_rn(a, sin), __fmul_rn(b, cos));
  uint32_t out;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(odd), "f"(even));
  return out;
}

}  // namespace tandem::kernels::cuda
