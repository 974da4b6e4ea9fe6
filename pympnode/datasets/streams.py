"""`rngs_of`: the generators of many trajectories at once, those of `datasets.split.rng_of`.

numpy takes 15 microseconds to make a generator from a SeedSequence, as long as the simulation of a small
system. Here one generator is set to the state of each trajectory; the states come from the same
arithmetic, done for all trajectories together. Sources: numpy's ``SeedSequence`` (after M. E. O'Neill's
``seed_seq_fe``), whose numbers numpy promises to keep, and the seeding of PCG64 (O'Neill 2014).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .split import rng_of

_POOL = 4
_INIT_A, _MULT_A, _INIT_B, _MULT_B = 0x43B0D7E5, 0x931E8875, 0x8B51F9DD, 0x58F38DED
_MIX_LEFT, _MIX_RIGHT = 0xCA01F9DD, 0x4973F715
_PCG_MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645
_32, _128 = 2**32 - 1, 2**128 - 1
# Fewer trajectories are faster one by one.
_FEW = 16


def rngs_of(seed: int, stream: int, trajectories: Sequence[int]) -> Iterator[np.random.Generator]:
    """For each trajectory the generator ``rng_of(seed, stream, trajectory)``.

    All are one object, which is in the state of a trajectory until the next is asked for.
    """
    if len(trajectories) < _FEW or max(trajectories) > _32 or not _is_as_expected():
        for trajectory in trajectories:
            yield rng_of(seed, stream, trajectory)
        return
    bits = np.random.PCG64(0)
    generator = np.random.Generator(bits)
    for words in _words(seed, stream, trajectories):
        bits.state = _pcg64(words)
        yield generator


def _is_as_expected() -> bool:
    """Whether the default generator is the one whose seeding stands here."""
    return isinstance(np.random.default_rng(0).bit_generator, np.random.PCG64)


def _words(seed: int, stream: int, trajectories: Sequence[int]) -> list[list[int]]:
    """The four numbers of 64 bits that ``SeedSequence(seed, spawn_key=(stream, i))`` seeds PCG64 with."""
    entropy: list[int | np.ndarray] = [
        (seed >> shift) & _32 for shift in range(0, max(seed.bit_length(), 1), 32)
    ]
    entropy += [0] * (_POOL - len(entropy))
    entropy += [(stream >> shift) & _32 for shift in range(0, max(stream.bit_length(), 1), 32)]
    entropy.append(np.asarray(trajectories, dtype=np.uint64))
    constant = _INIT_A

    # Numbers of 32 bits in 64: Python's integers and arrays of numpy alike.
    def hashed(value):  # type: ignore
        nonlocal constant
        value = value ^ constant
        constant = constant * _MULT_A & _32
        value = value * constant & _32
        return value ^ (value >> 16)

    def mixed(x, y):  # type: ignore
        value = (_MIX_LEFT * x + ((1 << 32) - _MIX_RIGHT) * y) & _32
        return value ^ (value >> 16)

    pool = [hashed(word) for word in entropy[:_POOL]]
    for source in range(_POOL):
        for target in range(_POOL):
            if source != target:
                pool[target] = mixed(pool[target], hashed(pool[source]))
    for word in entropy[_POOL:]:
        pool = [mixed(each, hashed(word)) for each in pool]
    constant, state = _INIT_B, []
    for i in range(8):
        value = pool[i % _POOL] ^ constant
        constant = constant * _MULT_B & _32
        value = value * constant & _32
        state.append(value ^ (value >> 16))
    pairs = [state[2 * i] | (state[2 * i + 1] << 32) for i in range(4)]
    return np.stack(pairs, axis=1).tolist()


def _pcg64(words: list[int]) -> Any:
    start, sequence = words[0] << 64 | words[1], words[2] << 64 | words[3]
    increment = (sequence << 1 | 1) & _128
    state = ((increment + start) * _PCG_MULTIPLIER + increment) & _128
    return {
        "bit_generator": "PCG64",
        "state": {"state": state, "inc": increment},
        "has_uint32": 0,
        "uinteger": 0,
    }
