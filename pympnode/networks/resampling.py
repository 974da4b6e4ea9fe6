"""Rows of a table at times of their own, put on one time grid."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidData

# Steps: values are not made up across longer gaps. Stamps drawn at random leave 3 % of longer ones.
LONGEST_GAP = 5.0

Resample = Literal["linear", "nearest"]


def even_grid(times: NDArray[np.float64], dt: float) -> NDArray[np.float64]:
    """The even grid of step ``dt`` from the first of ``times`` to the last."""
    count = int(np.floor((times.max() - times.min()) / dt * (1 + 1e-9) + 1e-6)) + 1
    return times.min() + dt * np.arange(count)


def resample_rows(
    times: NDArray[np.float64],
    series: NDArray[np.int64],
    values: NDArray[np.float64],
    grid: NDArray[np.float64],
    count: int,
    how: Resample,
) -> NDArray[np.float64]:
    """Values (series, time, column) at the times of ``grid``.

    ``times`` (row,), ``series`` (row,) the number of the series of each row, ``values`` (row,
    column). "linear" interpolates between the two rows around a time, "nearest" takes the closer
    one. NaN where both are further apart than `LONGEST_GAP` times the larger of the step of the grid and the
    median step of the series, and further than half a step before the first row and after the last.
    """
    step = grid[1] - grid[0] if len(grid) > 1 else 0.0
    out = np.full((count, len(grid), values.shape[1]), np.nan)
    order = np.lexsort((times, series))
    ends = np.flatnonzero(np.diff(series[order])) + 1
    for rows in np.split(order, ends):
        if not rows.size:
            continue
        for column in range(values.shape[1]):
            known = rows[np.isfinite(values[rows, column])]
            if known.size:
                out[series[rows[0]], :, column] = _one(
                    times[known], values[known, column], grid, step, how
                )
    return out


def _one(
    t: NDArray[np.float64], v: NDArray[np.float64], grid: NDArray[np.float64], step: float, how: str
) -> NDArray[np.float64]:
    right = np.clip(np.searchsorted(t, grid), 0, len(t) - 1)
    left = np.maximum(right - 1, 0)
    near = np.where(np.abs(grid - t[left]) < np.abs(t[right] - grid), left, right)
    found = np.interp(grid, t, v) if how == "linear" else v[near]
    slack = step * (0.5 + 1e-9)
    usual = float(np.median(np.diff(t))) if len(t) > 1 else 0.0
    gap = (t[right] - t[left] > LONGEST_GAP * max(step, usual)) & (
        np.abs(t[near] - grid) > 1e-9 * step
    )
    outside = (grid < t[0] - slack) | (grid > t[-1] + slack)
    return np.where(gap & (right != left) | outside, np.nan, found)


def check_common_times(
    trajectory: NDArray[np.int64],
    at_time: NDArray[np.int64],
    at_node: NDArray[np.int64],
    count: int,
) -> str:
    """What to warn of, where rows share few times; "" where they share most.

    ``trajectory``, ``at_time``, ``at_node`` (row,): numbers of trajectory, time and node; ``count``
    times. Raises InvalidData where less than a tenth of the states have rows although their series
    run on, or a trajectory starts in the second half of the grid.
    """
    nodes = int(at_node.max()) + 1
    series = trajectory * nodes + at_node
    many = int(series.max()) + 1
    first, last = np.full(many, count), np.full(many, -1)
    np.minimum.at(first, series, at_time)
    np.maximum.at(last, series, at_time)
    length = np.where(last >= 0, last - first + 1, 0).sum()
    share = len(series) / max(int(length), 1)
    if share < 0.1 and count > 10:
        raise InvalidData(
            "the rows have few times in common",
            got=f"{count} different times, of which a node has {100 * share:.3g} %",
            allowed="one time grid; a state without a row is missing",
            fix='from_frame(..., dt=STEP, resample="linear") puts them on an even grid '
            '("nearest" takes the closest row), relative_time=True counts time from the first row '
            "of each trajectory",
        )
    start = np.full(int(trajectory.max()) + 1, count)
    np.minimum.at(start, trajectory, at_time)
    if count > 1 and start.max() * 2 >= count:
        raise InvalidData(
            "a trajectory starts in the second half of the time grid",
            got=f"trajectory number {int(start.argmax())} at time number {int(start.max())} of "
            f"{count}, so that its first state is missing",
            allowed="trajectories that start together",
            fix="relative_time=True counts time from the first row of each trajectory",
        )
    if share < 0.5 and count > 10:
        return (
            f"the rows have few times in common: of {count} different times a node has "
            f'{100 * share:.3g} %, the rest is missing; dt=STEP, resample="linear" puts them on an '
            "even grid"
        )
    return ""
