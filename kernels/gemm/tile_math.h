// SPDX-License-Identifier: Apache-2.0
// How the products of many tokens multiply quantised weights with quantised tokens.
//
//   kBf16  both become bf16, exactly; every machine has the product
//   kMx    codes and scales as they are, in the block-scaled product of sm_120f; elsewhere that is
//          emulated, slowly, for tests
//
// Internal to kernels/gemm and kernels/moe.
#pragma once

namespace tandem::kernels::cuda {

enum class TileMath { kBf16, kMx };

// kMx where the kernels of the current device have the instruction; asked once.
TileMath NativeTileMath();

}  // namespace tandem::kernels::cuda
