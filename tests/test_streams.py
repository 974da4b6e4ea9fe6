"""Generators of many trajectories at once are those of numpy."""

from __future__ import annotations

import numpy as np
import pytest

from pympnode.datasets.split import rng_of
from pympnode.datasets.streams import rngs_of


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1, 2**32, 2**64 + 3, 2**200 + 9])
@pytest.mark.parametrize("stream", [0, 4])
@pytest.mark.parametrize("count", [3, 40])
def test_they_are_those_of_numpy(seed: int, stream: int, count: int) -> None:
    numbers = [*range(count), 2**31 + 5, 2**32 - 1]
    found = 0
    for number, rng in zip(numbers, rngs_of(seed, stream, numbers), strict=True):
        wanted = rng_of(seed, stream, number)
        # A number of 32 bits leaves half of one behind, which the next trajectory must not get.
        assert rng.integers(9, dtype=np.uint32) == wanted.integers(9, dtype=np.uint32)
        assert np.array_equal(rng.random(3), wanted.random(3))
        assert rng.standard_normal() == wanted.standard_normal()
        found += 1
    assert found == len(numbers)


def test_numbers_above_32_bits() -> None:
    numbers = [2**32 + i for i in range(20)]
    drawn = [rng.random() for rng in rngs_of(1, 0, numbers)]
    assert drawn == [rng_of(1, 0, number).random() for number in numbers]
