"""Reproducible noise for dithered rounding: the seed determines it on any machine."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_STRIDE = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio
_MIXING = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_BITS = 24  # float32 holds every (k + ½)/2^24 below ½ exactly
_BLOCK = 1 << 15  # numbers per block, to fit the L2 cache


def dither(count: int, seed: int) -> Tensor:
    """``count`` numbers uniform on (−½, ½), float32: number i is (k + ½)/2^24, where k is the i-th output of the
    counter-based generator SplitMix64 (Steele, Lea and Flood 2014), its upper 24 bits as a signed integer.

    ``seed``, of 32 bits, is the upper half of the generator's state. States of different seeds coincide only after a
    multiple of 2^32 numbers, so sequences of different seeds do not overlap.
    """
    noise = np.empty(count, np.float32)
    strides = np.arange(1, min(count, _BLOCK) + 1, dtype=np.uint64) * np.uint64(_STRIDE)
    for first in range(0, count, _BLOCK):
        block = noise[first : first + _BLOCK]
        state = ((seed << 32) + first * _STRIDE) % (1 << 64)
        words = strides[: block.size] + np.uint64(state)
        for shift, factor in _MIXING:
            words ^= words >> np.uint64(shift)
            words *= np.uint64(factor)
        # SplitMix64 ends with a third shift, by 31 bits, which does not change the upper 24 bits.
        block[:] = words.view(np.int64) >> 64 - _BITS
        block += np.float32(0.5)
        block *= np.float32(2.0**-_BITS)
    return torch.from_numpy(noise)
