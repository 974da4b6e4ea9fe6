"""Missing states: how the first state of a trajectory and the starts of windows are filled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidData


def with_first_state(x: NDArray) -> tuple[NDArray, str]:
    """``x`` (trajectory, time, node, feature) with a known first state, and what was filled, in words.

    A missing value at the first time becomes the next known value of its node and feature in the
    same trajectory, and where there is none the mean of the known values of the feature. Raises
    InvalidData for a trajectory or a feature of which nothing is known.
    """
    lacking = np.isnan(x[:, 0])
    if not lacking.any():
        return x, ""
    known = np.isfinite(x)
    for name, axes in (("trajectory", (1, 2, 3)), ("feature", (0, 1, 2))):
        empty = np.flatnonzero(~known.any(axis=axes))
        if empty.size:
            raise InvalidData(
                "the first state of a trajectory is missing, and there is nothing to fill it with",
                got=f"no known value in {name} {empty[0]}",
                allowed=f"at least one known value in each {name}",
                fix=f"drop such a {name}: ds.isel({name}=[...])",
            )
    later = known.argmax(axis=1)  # (trajectory, node, feature); 0 where nothing is known
    filled = x.copy()
    value = np.take_along_axis(x, later[:, None], axis=1)[:, 0]
    never = lacking & ~known.any(axis=1)
    count = known.sum(axis=(0, 1, 2))
    mean = np.where(known, x, 0.0).sum(axis=(0, 1, 2)) / count
    value = np.where(never, mean, value)
    filled[:, 0] = np.where(lacking, value, x[:, 0])
    words = (
        f"{int(lacking.sum())} of {lacking.size} values of the first states are missing and were "
        f"filled: by the next known value in time, {int(later[lacking & ~never].max(initial=0))} "
        "steps later at most"
    )
    if never.any():
        words += f", and {int(never.sum())}, of nodes never known there, by the mean of the feature"
    return filled, words


def interpolated(x: NDArray, time: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray:
    """``x`` (trajectory, time, node, feature) with its unknown values interpolated in time.

    Linear between known values, constant before the first and after the last. Such values are the
    starts of windows and enter no loss. A series of which nothing is known stays as it is.
    """
    out = x.copy()
    series = np.argwhere(~known.all(axis=1) & known.any(axis=1))
    for trajectory, node, feature in series:
        here = known[trajectory, :, node, feature]
        values = x[trajectory, :, node, feature]
        out[trajectory, :, node, feature] = np.interp(time, time[here], values[here])
    return out
