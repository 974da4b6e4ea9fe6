"""Checks of the keyword ``delay``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..config import as_float
from ..errors import InvalidOption, shown_value


def checked_delay(name: str, value: Any) -> float:
    """One delay for all edges, a number of at least 0. Raises `InvalidOption`."""
    number = (
        as_float(value) if np.ndim(value) == 0 and not isinstance(value, bool | str) else math.nan
    )
    if not (math.isfinite(number) and number >= 0):
        raise InvalidOption(
            f"{name} is a time from sender to receiver",
            got=f"{name}={shown_value(value)}",
            allowed='a number >= 0 in the unit of time of the data; of train also "learn" and '
            '"learn per edge"',
            fix=f"{name}=n * dt is a delay of n time steps",
        )
    return number
