"""The processes of a run, and a run in one process."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Group(Protocol):
    """The processes of a run: ``rank`` counts from 0, ``size`` is their number."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum of an array over all processes, the same bits in each."""
        ...


class Alone:
    """A run in one process."""

    rank, size = 0, 1

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `Group`."""
        return values


ALONE = Alone()


def share(length: int, rank: int, size: int) -> slice:
    """The part of ``length`` items of process ``rank`` of ``size``: contiguous, at most one longer
    than another."""
    each, more = divmod(length, size)
    first = rank * each + min(rank, more)
    return slice(first, first + each + (rank < more))
