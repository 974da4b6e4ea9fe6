"""The uniform numbers of Julia's ``rand(MersenneTwister(seed), n)``, bit for bit.

The public code draws the Lorenz coupling matrices with them, so the published matrices of any number
of attractors and any seed can be made here. Generator: dSFMT-19937, M. Saito and M. Matsumoto, "A
PRNG specialized in double precision floating point numbers using an affine transition" (2009),
seeded by an array of one 32-bit word. "Lung" is the paper's word for the last 128 bits of the state.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_PAIRS = 191  # pairs of 64-bit words in the state, without the lung
_SIZE = 4 * (_PAIRS + 1)  # 32-bit words, with the lung
_SHIFT = 117
_MASK = (0x000FFAFFFFFFFB3F, 0x000FFDFFFC90FFFD)
_ONE = 0x3FF0000000000000  # exponent bits of a double in [1, 2)
_MANTISSA = 0x000FFFFFFFFFFFFF
_CHECK_XOR = (0x90014964B32F4329, 0x3B8D12AC548A7C7A)
_CHECK_AND = (0x3D84E1AC0DC82880, 0x0000000000000001)
_U32 = 0xFFFFFFFF
_U64 = 0xFFFFFFFFFFFFFFFF


def _scramble(seed: int) -> list[int]:
    """The state as 32-bit words after initialisation by the array ``[seed]``."""
    lag, mid = 11, (_SIZE - 11) // 2
    words = [0x8B8B8B8B] * _SIZE

    def mix(i: int, extra: int) -> None:
        r = words[i] ^ words[(i + mid) % _SIZE] ^ words[(i - 1) % _SIZE]
        r = (r ^ (r >> 27)) * 1664525 & _U32
        words[(i + mid) % _SIZE] = (words[(i + mid) % _SIZE] + r) & _U32
        r = (r + extra) & _U32
        words[(i + mid + lag) % _SIZE] = (words[(i + mid + lag) % _SIZE] + r) & _U32
        words[i] = r

    mix(0, 1)  # the length of the array
    for j in range(1, _SIZE):
        mix(j, j + (seed if j == 1 else 0))
    for j in range(_SIZE):
        r = (words[j] + words[(j + mid) % _SIZE] + words[(j - 1) % _SIZE]) & _U32
        r = (r ^ (r >> 27)) * 1566083941 & _U32
        words[(j + mid) % _SIZE] ^= r
        r = (r - j) & _U32
        words[(j + mid + lag) % _SIZE] ^= r
        words[j] = r
    return words


def _initial(seed: int) -> list[int]:
    """The state as 64-bit words: doubles in [1, 2), then the lung."""
    words = _scramble(seed)
    state = [words[2 * i] | words[2 * i + 1] << 32 for i in range(_SIZE // 2)]
    state[: 2 * _PAIRS] = [(s & _MANTISSA) | _ONE for s in state[: 2 * _PAIRS]]
    check = 0
    for lung, flip, keep in zip(state[-2:], _CHECK_XOR, _CHECK_AND, strict=True):
        check ^= (lung ^ flip) & keep
    if check.bit_count() % 2 == 0:  # the period certification of the paper
        state[-1] ^= 1
    return state


@lru_cache(maxsize=8)
def _uniform(seed: int, count: int) -> np.ndarray:
    state = _initial(seed)
    low, high = state[-2:]
    drawn: list[int] = []
    while len(drawn) < count:
        for i in range(0, 2 * _PAIRS, 2):
            far = (i + 2 * _SHIFT) % (2 * _PAIRS)
            first, second = state[i], state[i + 1]
            swapped_low = (high >> 32) ^ (high << 32 & _U64)
            swapped_high = (low >> 32) ^ (low << 32 & _U64)
            low = (first << 19 & _U64) ^ swapped_low ^ state[far]
            high = (second << 19 & _U64) ^ swapped_high ^ state[far + 1]
            state[i] = (low >> 12) ^ (low & _MASK[0]) ^ first
            state[i + 1] = (high >> 12) ^ (high & _MASK[1]) ^ second
        drawn += state[: 2 * _PAIRS]
    return np.array(drawn[:count], dtype=np.uint64).view(np.float64) - 1.0


def uniform(seed: int, count: int) -> np.ndarray:
    """float64 (count,): the first ``count`` uniform numbers in [0, 1) of ``seed`` (below 2^32)."""
    return _uniform(int(seed), int(count)).copy()
