# SPDX-License-Identifier: Apache-2.0
"""The number formats of a released DeepSeek-V4 checkpoint, from float arrays (specification 2.4).

E4M3 with one E8M0 scale a 128x128 block, E2M1 packed two to a byte with one E8M0 scale per 32
columns, BF16. Rounding is to nearest, ties to even; scales are the smallest power of two that needs
no clipping.
"""
import numpy as np

E8M0_BIAS = 127


def bf16_bits(values):
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    odd = (bits >> 16) & 1
    return ((bits + np.uint32(0x7FFF) + odd) >> 16).astype(np.uint16)


def scale_exponent(largest_magnitude, largest_code):
    """Smallest e with largest_magnitude / 2**e <= largest_code."""
    mantissa, exponent = np.frexp(np.maximum(largest_magnitude, 1e-12) / largest_code)
    return (exponent - (mantissa == 0.5)).astype(np.int32)


def e4m3_bytes(values):
    magnitude = np.minimum(np.abs(values), 448.0)
    # One mantissa step: 2**-9 below the smallest normal, an eighth of the binade above it.
    binade = np.maximum(np.frexp(magnitude)[1] - 1, -6)
    steps = np.rint(np.ldexp(magnitude, 3 - binade)).astype(np.int64)
    # A normal has steps 8..16; counting from the subnormals' origin makes the carry free.
    code = steps + 8 * (binade + 6)
    return (code | (np.signbit(values).astype(np.int64) << 7)).astype(np.uint8)


def e2m1_codes(values):
    magnitude = np.minimum(np.abs(values), 6.0)
    step = np.where(magnitude < 2, 0.5, np.where(magnitude < 4, 1.0, 2.0))
    halves = (np.rint(magnitude / step) * step * 2).astype(np.int64)  # 0 1 2 3 4 6 8 12
    code = np.array([0, 1, 2, 3, 4, 0, 5, 0, 6, 0, 0, 0, 7])[halves]
    return (code | (np.signbit(values).astype(np.int64) << 3)).astype(np.uint8)


def fp8_blocks(weight):
    """[N, K], multiples of 128 -> E4M3 bytes [N, K], E8M0 bytes [N/128, K/128]."""
    rows, columns = weight.shape
    tiles = weight.reshape(rows // 128, 128, columns // 128, 128)
    exponent = scale_exponent(np.abs(tiles).max(axis=(1, 3)), 448.0)
    codes = e4m3_bytes(tiles / np.exp2(exponent.astype(np.float64))[:, None, :, None])
    return codes.reshape(rows, columns), (exponent + E8M0_BIAS).astype(np.uint8)


def fp4_rows(weight):
    """[N, K], K a multiple of 32 -> packed bytes [N, K/2], E8M0 bytes [N, K/32]."""
    rows, columns = weight.shape
    groups = weight.reshape(rows, columns // 32, 32)
    exponent = scale_exponent(np.abs(groups).max(axis=-1), 6.0)
    codes = e2m1_codes(groups / np.exp2(exponent.astype(np.float64))[..., None])
    codes = codes.reshape(rows, columns)
    return codes[:, 0::2] | (codes[:, 1::2] << 4), (exponent + E8M0_BIAS).astype(np.uint8)
