// SPDX-License-Identifier: Apache-2.0
// Marks of the few pure functions that kernels and host code share.
//   TANDEM_HOST_DEVICE   exists on both
//   TANDEM_NO_UNROLL     before a loop that a kernel shall keep a loop
#pragma once

#ifdef __CUDACC__
#define TANDEM_HOST_DEVICE __host__ __device__
#define TANDEM_NO_UNROLL _Pragma("unroll 1")
#else
#define TANDEM_HOST_DEVICE
#define TANDEM_NO_UNROLL
#endif
