"""Optimisers of flat parameter vectors, in NumPy, for the gradients of all engines.

An optimiser sees the parameter vectors of all members (member, size), their gradients and the
`Layout` of the vector. Its numbers that change are named arrays (`Optimiser.start`), which the trainer
keeps and writes into checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidOption, shown_value, unknown_name
from ..layout import Layout

OptimiserState = dict[str, NDArray]

_LARGEST = 1024  # sides of a weight beyond it have no eigenbasis
_RIDGE = 1e-6  # of the mean eigenvalue, added to a factor before its eigenvectors are taken


@runtime_checkable
class Optimiser(Protocol):
    """Steps of several members side by side; an object holds settings, no numbers that change.

    Each member's step depends on its own row alone.
    """

    def start(self, theta: NDArray) -> OptimiserState:
        """State before the first update of ``theta`` (member, size): arrays (member, any length)."""

    def update(
        self,
        theta: NDArray,
        gradient: NDArray,
        rate: NDArray[np.float64],
        state: OptimiserState,
        count: int,
    ) -> NDArray:
        """The next parameter vectors (member, size), in the dtype of ``theta``.

        ``gradient`` (member, size), clipped; ``rate`` (member,); ``count``: the number of this
        update, from 1. Writes the new numbers into the arrays of ``state``, or replaces them.
        """


class Adam:
    """Kingma and Ba 2015, with bias correction; betas (0.9, 0.999), epsilon 1e-8."""

    def __init__(self, layout: Layout | None = None) -> None:
        # Every entry by itself: the layout makes no difference.
        pass

    def start(self, theta: NDArray) -> OptimiserState:
        """``first``, ``second`` (member, size): the running moments."""
        return {"first": np.zeros_like(theta), "second": np.zeros_like(theta)}

    def update(
        self,
        theta: NDArray,
        gradient: NDArray,
        rate: NDArray[np.float64],
        state: OptimiserState,
        count: int,
    ) -> NDArray:
        """See `Optimiser`."""
        beta1, beta2, epsilon = 0.9, 0.999, 1e-8
        first = (beta1 * state["first"] + (1 - beta1) * gradient).astype(theta.dtype)
        second = (beta2 * state["second"] + (1 - beta2) * gradient * gradient).astype(theta.dtype)
        state["first"], state["second"] = first, second
        scale = rate[:, None] / (1 - beta1**count)
        deviation = np.sqrt(second / (1 - beta2**count)) + epsilon
        return (theta - scale * first / deviation).astype(theta.dtype)


@dataclass(frozen=True)
class _Weights:
    """``number`` weights of the same shape (rows, columns), and the places of their numbers.

    ``entries``: in vectors in the optimiser's order. ``left``, ``right``: in the flat arrays of
    (rows, rows) and (columns, columns) matrices; None for a side without an eigenbasis.
    """

    number: int
    rows: int
    columns: int
    entries: slice
    left: slice | None
    right: slice | None

    def of(self, vectors: NDArray) -> NDArray:
        """View (member, number, rows, columns) of the weights in ``vectors`` (member, size)."""
        return vectors[:, self.entries].reshape(-1, self.number, self.rows, self.columns)

    def matrices(self, flat: NDArray, side: slice | None) -> NDArray | None:
        """View (member, number, n, n) of the matrices of one side."""
        if side is None:
            return None
        n = self.rows if side is self.left else self.columns
        return flat[:, side].reshape(-1, self.number, n, n)


class Soap:
    """SOAP: Adam in the eigenbasis of Shampoo's factors (Vyas et al. 2024, arXiv:2409.11321).

    Each linear map of the layout (`Layout.linear_maps`) is rotated into the eigenvectors of the
    running means of G G^T and G^T G, where G (outputs, inputs) is its gradient; a basis follows by
    one step of orthogonal iteration (a QR) in updates 2 to 4 and in every tenth. Betas 0.95, epsilon
    1e-8. Sides of one and of more than 1024 entries have no basis; where neither side has one, and in
    all other entries (biases), it is Adam. Computed in float64.

    Unlike the published code it does not skip the first update, and keeps the first moment in the
    rotated coordinates, from where a new basis takes it along (algebraically the same).

    A basis of gradients of low rank is arbitrary outside of their span, where the difference of a
    rounding would decide it. A small diagonal is added to a factor before its eigenvectors are taken,
    which decides it for gradients in float64; two kernels in float32 agree for one update only. A run
    repeats bit for bit on the same machine and kernel.
    """

    beta = 0.95  # of both moments and of the factors
    epsilon = 1e-8
    every = 10  # updates from one basis to the next

    def __init__(self, layout: Layout) -> None:
        by_shape: dict[tuple[int, ...], list[str]] = {}
        for name in layout.linear_maps:
            shape = layout.shapes[name]
            # A layer without inputs has no numbers to rotate.
            if 0 not in shape and any(1 < side <= _LARGEST for side in shape):
                by_shape.setdefault(shape, []).append(name)
        place = layout.unpack(np.arange(layout.size))
        rotated = {name for names in by_shape.values() for name in names}
        order = [place[name].ravel() for name in layout.shapes if name not in rotated]
        at, self._left, self._right = sum(map(len, order)), 0, 0
        self._weights: list[_Weights] = []
        for (rows, columns), names in by_shape.items():
            order += [place[name].ravel() for name in names]
            number, left, right = len(names), None, None
            if 1 < rows <= _LARGEST:
                left = slice(self._left, self._left + number * rows**2)
                self._left = left.stop
            if 1 < columns <= _LARGEST:
                right = slice(self._right, self._right + number * columns**2)
                self._right = right.stop
            entries = slice(at, at + number * rows * columns)
            self._weights.append(_Weights(number, rows, columns, entries, left, right))
            at = entries.stop
        # Weights of one shape lie side by side, so that one call rotates all of them.
        self._order = np.concatenate(order) if order else np.zeros(0, np.int64)
        self._back = np.argsort(self._order)

    def start(self, theta: NDArray) -> OptimiserState:
        """``first``, ``second`` (member, size): the moments in rotated coordinates, weights of one
        shape side by side; ``left``, ``right``: the factors; ``left_basis``, ``right_basis``: their
        eigenvectors in columns, by falling eigenvalue."""
        members, size = theta.shape
        sizes = {
            "first": size,
            "second": size,
            "left": self._left,
            "right": self._right,
            "left_basis": self._left,
            "right_basis": self._right,
        }
        return {name: np.zeros((members, length)) for name, length in sizes.items()}

    def update(
        self,
        theta: NDArray,
        gradient: NDArray,
        rate: NDArray[np.float64],
        state: OptimiserState,
        count: int,
    ) -> NDArray:
        """See `Optimiser`."""
        # In C order whatever the number of members, which decides how matrices are multiplied.
        rotated = np.take(gradient, self._order, axis=1).astype(np.float64, order="C")
        bases = []
        for weights in self._weights:
            here = weights.of(rotated)
            sides = self._factors(weights, here, state, count)
            here[...] = _rotated(here, *sides)
            bases.append(sides)
        first, second = state["first"], state["second"]
        first += (1 - self.beta) * (rotated - first)
        second += (1 - self.beta) * (rotated * rotated - second)
        correction = 1 - self.beta**count
        step = first / correction / (np.sqrt(second / correction) + self.epsilon)
        for weights, (left, right) in zip(self._weights, bases):
            here = weights.of(step)
            here[...] = _rotated(here, _transposed(left), _transposed(right))
        if count < 5 or count % self.every == 0:
            for weights, sides in zip(self._weights, bases):
                self._turn(weights, sides, state)
        return (theta - rate[:, None] * step[:, self._back]).astype(theta.dtype)

    def _factors(
        self, weights: _Weights, gradient: NDArray, state: OptimiserState, count: int
    ) -> tuple[NDArray | None, NDArray | None]:
        """Take a gradient (member, number, rows, columns) into the factors; return their bases."""
        bases: list[NDArray | None] = []
        for name, side in (("left", weights.left), ("right", weights.right)):
            basis = weights.matrices(state[f"{name}_basis"], side)
            bases.append(basis)
            factor = weights.matrices(state[name], side)
            if basis is None or factor is None:
                continue
            turned = gradient if name == "left" else _transposed(gradient)
            product = turned @ _transposed(turned)
            if count == 1:
                factor[...] = product
                full = product + _ridge(product)
                basis[...] = np.linalg.eigh(full)[1][..., ::-1]
            else:
                factor += (1 - self.beta) * (product - factor)
        return bases[0], bases[1]

    def _turn(
        self,
        weights: _Weights,
        sides: tuple[NDArray | None, NDArray | None],
        state: OptimiserState,
    ) -> None:
        """One step of orthogonal iteration of the bases; the moments go to the new coordinates."""
        first, second = weights.of(state["first"]), weights.of(state["second"])
        moment = _rotated(first, _transposed(sides[0]), _transposed(sides[1]))
        for name, side, basis in zip(("left", "right"), (weights.left, weights.right), sides):
            factor = weights.matrices(state[name], side)
            if basis is None or factor is None:
                continue
            image = (factor + _ridge(factor)) @ basis
            # Rayleigh quotients; a basis by falling eigenvalue is what the iteration keeps.
            falling = np.argsort(-(basis * image).sum(axis=-2), axis=-1, kind="stable")
            basis[...] = np.linalg.qr(np.take_along_axis(image, falling[..., None, :], -1))[0]
            axis, index = (
                (-2, falling[..., None]) if name == "left" else (-1, falling[..., None, :])
            )
            second[...] = np.take_along_axis(second, index, axis)
        first[...] = _rotated(moment, *sides)


def _ridge(factor: NDArray) -> NDArray:
    """Diagonal matrices, all entries different, small beside the mean eigenvalue of ``factor``."""
    n = factor.shape[-1]
    mean = np.trace(factor, axis1=-2, axis2=-1)[..., None, None] / n
    return _RIDGE * mean * np.diag(np.linspace(2.0, 1.0, n))


def _transposed(matrices: Any) -> Any:
    return None if matrices is None else matrices.swapaxes(-1, -2)


def _rotated(values: NDArray, left: NDArray | None, right: NDArray | None) -> NDArray:
    """left^T values right; None is the identity."""
    if left is not None:
        values = _transposed(left) @ values
    return values if right is None else values @ right


OPTIMISERS: dict[str, Callable[[Layout], Optimiser]] = {"adam": Adam, "soap": Soap}

OptimiserChoice = str | Callable[[Layout], Optimiser]


def check_optimiser(choice: Any) -> OptimiserChoice:
    """``choice`` where it is a name or callable. Raises `UnknownName`, `InvalidOption`."""
    if isinstance(choice, str):
        if choice not in OPTIMISERS:
            raise unknown_name("optimiser", choice, OPTIMISERS)
    elif not callable(choice):
        raise _no_optimiser("optimiser is neither a name nor callable", shown_value(choice))
    elif isinstance(choice, type) and not (hasattr(choice, "start") and hasattr(choice, "update")):
        raise _no_optimiser("optimiser is a class of other objects", shown_value(choice))
    return choice  # type: ignore[no-any-return]


def optimiser_name(choice: OptimiserChoice) -> str:
    """The name of a choice in files; of a callable its module and qualified name."""
    if isinstance(choice, str):
        return choice
    of = choice if hasattr(choice, "__qualname__") else type(choice)
    return f"{of.__module__}.{of.__qualname__}"


def make_optimiser(choice: OptimiserChoice, layout: Layout) -> Optimiser:
    """The optimiser of that name, or that a callable makes. Raises `InvalidOption`."""
    if isinstance(choice, str):
        return OPTIMISERS[choice](layout)
    made = choice(layout)
    if isinstance(made, type) or not isinstance(made, Optimiser):
        raise _no_optimiser(
            "the callable given as optimiser returned no optimiser",
            made.__name__ if isinstance(made, type) else type(made).__name__,
        )
    return made


def check_state(state: Any, members: int) -> OptimiserState:
    """``state`` of `Optimiser.start`. Raises `InvalidOption` unless it is arrays (member, length)."""
    fits = isinstance(state, dict) and all(
        isinstance(name, str)
        and isinstance(array, np.ndarray)
        and array.ndim == 2
        and len(array) == members
        for name, array in state.items()
    )
    if not fits:
        described = (
            {name: np.shape(array) for name, array in state.items()}
            if isinstance(state, dict)
            else type(state).__name__
        )
        raise InvalidOption(
            "the state of an optimiser is named arrays with a row a member",
            got=str(described),
            allowed=f"a dict of arrays ({members}, length)",
            fix="return such a dict from start(theta); flatten all other axes",
        )
    return state


def _no_optimiser(what: str, got: str) -> InvalidOption:
    names = ", ".join(f'"{name}"' for name in OPTIMISERS)
    return InvalidOption(
        what,
        got=got,
        allowed=f"{names}, or a callable that makes from a Layout an object with start and update",
        fix='give optimiser="soap", or see pympnode.training.optimiser.Optimiser',
    )


def clip(gradient: NDArray, norm: NDArray[np.float64], limit: float) -> NDArray:
    """``gradient`` (member, size) scaled down to a norm of at most ``limit``; ``norm`` (member,)."""
    # The larger of the two in the divisor: a norm of zero divides nothing by zero.
    factor = np.minimum(1.0, limit / np.maximum(norm, limit))
    return (gradient * factor[:, None]).astype(gradient.dtype)
