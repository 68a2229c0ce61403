// SPDX-License-Identifier: Apache-2.0
// TANDEM_HOST_DEVICE: marks the few pure functions that kernels and host code share.
#pragma once

#ifdef __CUDACC__
#define TANDEM_HOST_DEVICE __host__ __device__
#else
#define TANDEM_HOST_DEVICE
#endif
