"""Weights of all pairs of nodes by least squares, and which of them are edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from .emitted import emitted
from .spec import ModelSpec

_RIDGE = 1e-9  # of the mean diagonal of normal equations, where senders cannot be told apart
_CUTS = 60  # graphs that are compared
_TOLERANCE = 0.02  # share by which the error of a sparser graph may be larger
_SMALL = 0.02  # of the largest weight: never an edge
_WIDTH = 0.04  # of the kernel of densities, of the usual weight
_NOTHING = 1e-6  # a density that is zero
_GAP_FROM, _GAP_TO = 0.02, 0.9  # weights, of the largest one, between which a gap is looked for


@dataclass(frozen=True, eq=False)
class Equations:
    """Linear equations for the weights w_ij: the derivative of node i, less its own part F(x_i), is
    the sum over j of w_ij ``sent[:, :, j]`` times the gain of i.

    ``trajectory`` (sample,); ``rest`` (sample, node, feature), NaN where a derivative is not known;
    ``gain`` (sample, node, feature, message); ``sent`` (sample, node, message).
    """

    trajectory: NDArray[np.int64]
    rest: NDArray[np.float64]
    gain: NDArray[np.float64]
    sent: NDArray[np.float64]

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return self.rest.shape[1]

    def of_node(self, node: int) -> tuple[NDArray, NDArray, NDArray[np.int64]]:
        """Matrix (equation, sender), right side and trajectory of each equation of a receiver."""
        matrix = np.matmul(self.gain[:, node], self.sent.transpose(0, 2, 1))
        right = self.rest[:, node]
        known = np.isfinite(right)
        trajectory = np.broadcast_to(self.trajectory[:, None], right.shape)
        return matrix[known], right[known], trajectory[known]


def equations(
    spec: ModelSpec,
    weights: Mapping[str, NDArray],
    trajectory: NDArray[np.int64],
    x: NDArray,
    slope: NDArray,
    attribute: NDArray | None,
) -> Equations:
    """The equations of a model with superposed messages, at states ``x`` (sample, node, feature) whose
    derivatives are ``slope``; the divisor of the sum is in ``sent``."""
    x = x.astype(np.float64)
    inputs = x
    if spec.circular:
        plain = [c for c in range(x.shape[-1]) if c not in spec.circular]
        angle = x[..., list(spec.circular)]
        inputs = np.concatenate([x[..., plain], np.sin(angle), np.cos(angle)], axis=-1)
    if attribute is not None:
        wide = np.broadcast_to(attribute, (*x.shape[:2], attribute.shape[-1]))
        inputs = np.concatenate([inputs, wide], axis=-1)
    path = inputs @ weights["linear_weight"].T if spec.linear else 0.0
    for number in range(1, spec.depth + 2):
        name = f"layer_{number}_"
        inputs = inputs @ weights[f"{name}weight"].T + weights[f"{name}bias"]
        if number <= spec.depth:
            inputs = np.tanh(inputs)
    own, gain = inputs[..., : spec.channels] + path, inputs[..., spec.channels :]
    sent = emitted(weights, x, attribute, spec.circular) / spec.divisor
    return Equations(trajectory, slope - own, gain.reshape(*x.shape, spec.message), sent)


def solved(
    equations: Equations, allowed: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.float64], float]:
    """Non-negative weights (receiver, sender) with the smallest residual, and its mean square.

    ``allowed`` (receiver, sender): pairs whose weights may differ from zero; all of different nodes by
    default.
    """
    nodes = equations.nodes
    weight, total, count = np.zeros((nodes, nodes)), 0.0, 0
    if allowed is None:
        allowed = ~np.eye(nodes, dtype=bool)
    for node in range(nodes):
        matrix, right, _ = equations.of_node(node)
        weight[node] = _row(matrix.T @ matrix, matrix.T @ right, allowed[node])
        total += float(((right - matrix @ weight[node]) ** 2).sum())
        count += right.size
    return weight, total / max(1, count)


def _row(products: NDArray, right: NDArray, allowed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The weights of one receiver from its normal equations."""
    weight = np.zeros(len(right))
    chosen = np.flatnonzero(allowed)
    if not chosen.size:
        return weight
    part = products[np.ix_(chosen, chosen)]
    part = part + (_RIDGE * np.trace(part) / len(part) + 1e-300) * np.eye(len(part))
    lower = np.linalg.cholesky(part)
    # |L' w - L^-1 b|^2 is the residual of the normal equations but for a constant.
    weight[chosen] = nnls(lower.T, np.linalg.solve(lower, right[chosen]), maxiter=100 * len(part))[
        0
    ]
    return weight


def prune_by_validation(
    weight: NDArray[np.float64], train: Equations, held_out: Equations
) -> tuple[NDArray[np.bool_], str]:
    """The pairs (receiver, sender) to keep, and how they were chosen, in words.

    Graphs of the pairs above a threshold are solved for on ``train`` and compared by their errors on
    ``held_out``: the sparsest one whose error is not larger than the smallest by more than one standard
    error of the difference (over pairs of trajectory and node), or by 2 %.
    """
    cuts = _cuts(weight)
    if not len(cuts):
        return np.zeros(weight.shape, bool), "no pair has a weight"
    errors = np.stack([e for e in _errors_of_cuts(weight, cuts, train, held_out)])
    mean = errors.mean(axis=1)
    best = int(np.argmin(mean))
    away = errors - errors[best]
    spread = away.std(axis=1) / np.sqrt(max(1, away.shape[1]))
    fits = away.mean(axis=1) <= np.maximum(spread, _TOLERANCE * mean[best])
    chosen = int(np.flatnonzero(fits)[-1])  # thresholds rise
    kept = weight >= cuts[chosen]
    return kept, (
        f"the sparsest of {len(cuts)} graphs by held-out derivatives: weights of at least "
        f"{cuts[chosen] / weight.max():.2g} of the largest"
    )


def _cuts(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rising thresholds, each the smallest weight that it keeps: those above the widest gaps."""
    values = np.unique(weight[weight > _SMALL * weight.max()])
    if len(values) <= _CUTS:
        return values
    gaps = np.diff(np.log(values))
    chosen = np.argsort(-gaps, kind="stable")[: _CUTS - 1] + 1
    return values[np.unique(np.concatenate([[0], chosen]))]


def _errors_of_cuts(
    weight: NDArray[np.float64], cuts: NDArray[np.float64], train: Equations, held_out: Equations
) -> NDArray[np.float64]:
    """Mean square errors (cut, trajectory and node) of the derivatives of ``held_out``."""
    columns = []
    for node in range(train.nodes):
        matrix, right, _ = train.of_node(node)
        products, image = matrix.T @ matrix, matrix.T @ right
        wide, goal, trajectory = held_out.of_node(node)
        which, number = np.unique(trajectory, return_inverse=True)
        count = np.bincount(number, minlength=len(which))
        rows: list[Any] = []
        last: Any = None
        before: Any = None
        for cut in cuts:
            allowed = weight[node] >= cut
            if last is None or not np.array_equal(allowed, before):
                residual = goal - wide @ _row(products, image, allowed)
                last = np.bincount(number, residual**2, len(which)) / np.maximum(count, 1)
                before = allowed
            rows.append(last)
        columns.append(np.array(rows))
    return np.concatenate(columns, axis=1)


def prune_by_gap(weight: NDArray[np.float64]) -> tuple[NDArray[np.bool_], str]:
    """The pairs above the widest gap between the logarithms of weights, and how they were chosen.

    A gap is looked for between 0.02 and 0.9 of the largest weight.
    """
    largest = weight.max()
    values = np.unique(weight[(weight >= _GAP_FROM * largest) & (weight <= _GAP_TO * largest)])
    values = np.unique(np.concatenate([[_GAP_FROM * largest], values, [largest]]))
    gaps = np.diff(np.log(values))
    cut = values[int(np.argmax(gaps)) + 1]
    return weight >= cut, (
        f"weights above the widest gap, of at least {cut / largest:.2g} of the largest"
    )


def prune_by_valley(weight: NDArray[np.float64]) -> tuple[NDArray[np.bool_], str]:
    """The weights (..., receiver, sender) above the lowest density between those of pairs that are not
    coupled, near zero, and those of edges, and how they were chosen, in words.

    The density is that of the weights of all graphs together, with a Gaussian kernel; the upper end of
    the search is the mean of the weights above the threshold of Otsu (1979).
    """
    values = weight[..., ~np.eye(weight.shape[-1], dtype=bool)].ravel()
    if not values.max() > 0:
        return np.zeros(weight.shape, bool), "no pair has a weight"
    upper = _upper_mean(values)
    grid = np.linspace(0.02, 1.0, 99) * upper
    away = (grid[:, None] - values) / (_WIDTH * upper)
    density = np.exp(-0.5 * away * away).sum(axis=1)
    lowest = np.flatnonzero(density <= max(1.05 * density.min(), _NOTHING))
    cut = grid[lowest[len(lowest) // 2]]
    return weight >= cut, (
        f"weights above the lowest density, of at least {cut / upper:.2g} of the usual one"
    )


def _upper_mean(values: NDArray[np.float64]) -> float:
    """The mean of the larger values, where two means leave the smallest variance within."""
    rising = np.sort(values)
    number = np.arange(1, len(rising))
    total = np.cumsum(rising)
    low = total[:-1] / number
    high = (total[-1] - total[:-1]) / (len(rising) - number)
    between = number * (len(rising) - number) * (high - low) ** 2
    return float(high[np.argmax(between)])
