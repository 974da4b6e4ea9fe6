"""``Box``: the space of the particles, a periodic box around the origin or open space."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidOption, shown_value

Array = TypeVar("Array", bound=Any)  # numpy.ndarray or torch.Tensor


@dataclass(frozen=True)
class Box:
    """A periodic box around 0, or open space (``side = inf``).

    ``side`` is in the unit of length of the positions: one number for a square or cube, or one for each
    axis, inf (or None) for axes that are open. Sides that are all equal are one number. Positions are in
    [-side/2, side/2); displacements between them in (-side/2, side/2], each component by itself (the
    nearest image, no cut-off). The methods take NumPy arrays and torch tensors and stay
    differentiable. Raises InvalidOption for a side that is not positive.
    """

    side: Any = inf

    def __post_init__(self) -> None:
        several = isinstance(self.side, tuple | list | np.ndarray) and np.ndim(self.side) == 1
        given = tuple(self.side) if several else (self.side,)
        sides = tuple(inf if one is None and several else float(one) for one in given)
        if not sides or not all(one > 0 for one in sides):
            raise InvalidOption(
                "a box needs a positive side",
                got=self.side,
                allowed="a number > 0, or inf for open space",
                fix="Box(34.6), Box((10, 20)) for a rectangle, or Box() for open space",
            )
        object.__setattr__(self, "side", sides[0] if len(set(sides)) == 1 else sides)

    @property
    def periodic(self) -> bool:
        """Whether an axis is periodic."""
        return any(isfinite(one) for one in self._each(1))

    @property
    def cube(self) -> float:
        """The side of a square or cube, or inf. Raises InvalidOption for other boxes."""
        if isinstance(self.side, tuple):
            raise InvalidOption(
                "only models and graphs of all pairs or of nearest neighbours can be in such a box",
                got=repr(self),
                allowed="a square, a cube, or open space",
                fix='model="deltagn", "hogn" or "nearest_deltagn"',
            )
        return self.side

    def sides(self, dims: int) -> NDArray[np.float64]:
        """The side of each of ``dims`` axes, inf for open ones. Raises InvalidOption."""
        each = self._each(dims)
        if len(each) != dims:
            raise InvalidOption(
                "a box has a side for each axis", got=repr(self), allowed=f"{dims} sides, or one"
            )
        return np.array(each)

    def divided(self, unit: float) -> Box:
        """The box in another unit of length."""
        if isinstance(self.side, tuple):
            return Box(tuple(one / unit for one in self.side))
        return Box(self.side / unit)

    def _each(self, dims: int) -> tuple[float, ...]:
        return self.side if isinstance(self.side, tuple) else (self.side,) * dims

    def wrap(self, position: Array) -> Array:
        """Positions brought into [-side/2, side/2); positions inside are returned bit for bit."""
        if not self.periodic:
            return position
        side, closed = self._along(position)
        crossings = _floor(position / side + 0.5) * closed
        moved = position - side * crossings
        # For positions many sides away the rounded quotient can be one crossing short, which leaves
        # them at the upper border or a rounding error above it.
        return moved - side * (_number(moved >= side / 2, moved) * closed)

    def displacement(self, difference: Array) -> Array:
        """Differences of positions brought to the nearest image, in (-side/2, side/2]."""
        if not self.periodic:
            return difference
        side, closed = self._along(difference)
        half = side / 2
        beyond = _number(difference > half, difference) - _number(difference <= -half, difference)
        moved = difference - side * (beyond * closed)
        far = _floor(0.5 - moved / side) * closed  # 0 unless a position lay outside the box
        return moved + side * far

    def _along(self, values: Any) -> tuple[Any, Any]:
        """(sides, 1 for periodic and 0 for open axes) that broadcast with values (..., axis)."""
        if not isinstance(self.side, tuple):
            return self.side, 1
        sides = self.sides(values.shape[-1])
        closed = np.isfinite(sides)
        # An open axis has any finite side: what is taken from it is multiplied by 0.
        pair = np.where(closed, sides, 1.0), closed.astype(np.float64)
        if isinstance(values, np.ndarray | np.generic):
            return pair
        side, number = (values.new_tensor(one.tolist()) for one in pair)
        return side, number

    def __repr__(self) -> str:
        if not self.periodic:
            return "Box(open)"
        if isinstance(self.side, tuple):
            text = " x ".join(f"{one:g}" if isfinite(one) else "open" for one in self.side)
            return f"Box(side={text})"
        return f"Box(side={self.side:g})"


def as_box(box: Any) -> Box:
    """A `Box` from a Box, a side length, several, or None (open space)."""
    if isinstance(box, Box):
        return box
    if box is None:
        return Box()
    try:
        return Box(box if isinstance(box, tuple | list) else float(box))
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InvalidOption(
            "not a box",
            got=shown_value(box),
            allowed="a Box, a side length, or None for open space",
        ) from error


def _floor(x: Any) -> Any:
    return np.floor(x) if isinstance(x, np.ndarray | np.generic | float) else x.floor()


def _number(mask: Any, like: Any) -> Any:
    if isinstance(mask, np.ndarray | np.generic | bool):
        return np.asarray(mask, dtype=np.asarray(like).dtype)
    return mask.to(like.dtype)
