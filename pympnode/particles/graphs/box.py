"""``Box``: the space of the particles, a periodic cube around the origin or open space."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, TypeVar

import numpy as np

from ...errors import InvalidOption

Array = TypeVar("Array", bound=Any)  # numpy.ndarray or torch.Tensor


@dataclass(frozen=True)
class Box:
    """A periodic cube of edge length ``side`` around 0, or open space (``side = inf``).

    ``side`` is in the unit of length of the positions. Positions are in [-side/2, side/2);
    displacements between them in (-side/2, side/2], each component separately (the nearest image, no
    cut-off). The methods take NumPy arrays and torch
    tensors and stay differentiable. Raises InvalidOption for a side that is not positive.
    """

    side: float = inf

    def __post_init__(self) -> None:
        side = float(self.side)
        if not side > 0:
            raise InvalidOption(
                "a box needs a positive side",
                got=self.side,
                allowed="a number > 0, or inf for open space",
                fix="Box(34.6), or Box() for open space",
            )
        object.__setattr__(self, "side", side)

    @property
    def periodic(self) -> bool:
        return isfinite(self.side)

    def wrap(self, position: Array) -> Array:
        """Positions brought into [-side/2, side/2); positions inside are returned bit for bit."""
        if not self.periodic:
            return position
        crossings = _floor(position / self.side + 0.5)
        moved = position - self.side * crossings
        # For positions many sides away the rounded quotient can be one crossing short, which leaves
        # them at the upper border or a rounding error above it.
        return moved - self.side * _number(moved >= self.side / 2, moved)

    def displacement(self, difference: Array) -> Array:
        """Differences of positions brought to the nearest image, in (-side/2, side/2]."""
        if not self.periodic:
            return difference
        half = self.side / 2
        beyond = _number(difference > half, difference) - _number(difference <= -half, difference)
        moved = difference - self.side * beyond
        far = _floor(0.5 - moved / self.side)  # 0 unless a position lay outside the box
        return moved + self.side * far

    def __repr__(self) -> str:
        return f"Box(side={self.side:g})" if self.periodic else "Box(open)"


def as_box(box: Box | float | None) -> Box:
    """A `Box` from a Box, a side length, or None (open space)."""
    if isinstance(box, Box):
        return box
    if box is None:
        return Box()
    try:
        return Box(float(box))
    except (TypeError, ValueError) as error:
        raise InvalidOption(
            "not a box", got=repr(box), allowed="a Box, a side length, or None for open space"
        ) from error


def _floor(x: Any) -> Any:
    return np.floor(x) if isinstance(x, np.ndarray | np.generic | float) else x.floor()


def _number(mask: Any, like: Any) -> Any:
    if isinstance(mask, np.ndarray | np.generic | bool):
        return np.asarray(mask, dtype=np.asarray(like).dtype)
    return mask.to(like.dtype)
