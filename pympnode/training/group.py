"""The processes of a run, and a run in one process."""

from __future__ import annotations

from collections.abc import Mapping
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

    def of_first(self, values: NDArray) -> NDArray:
        """The array of the first process, of the same shape and dtype in all."""
        ...

    def exchange(self, sent: Mapping[int, NDArray], received: Mapping[int, NDArray]) -> None:
        """Send an array to each of some processes, and write what they send into ``received``.

        Both are by rank, contiguous, and of the same shape and dtype at both ends.
        """
        ...


class Alone:
    """A run in one process."""

    rank, size = 0, 1

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `Group`."""
        return values

    def of_first(self, values: NDArray) -> NDArray:
        """See `Group`."""
        return values

    def exchange(self, sent: Mapping[int, NDArray], received: Mapping[int, NDArray]) -> None:
        """See `Group`: there is no other process."""


ALONE = Alone()


def gathered(group: Group, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """``values`` of every process: (process, *shape)."""
    every = np.zeros((group.size, *np.shape(values)))
    every[group.rank] = values
    return group.sum(every)


def share(length: int, rank: int, size: int) -> slice:
    """The part of ``length`` items of process ``rank`` of ``size``: contiguous, at most one longer
    than another."""
    each, more = divmod(length, size)
    first = rank * each + min(rank, more)
    return slice(first, first + each + (rank < more))
