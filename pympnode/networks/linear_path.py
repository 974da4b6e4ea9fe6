"""First weights of the linear path of a model: those of a linear field that fits the data best.

A slope that is a state, as dx/dt = v, or that is linear in a control is exact from the first update then,
and the network beside it has the rest to learn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .arrays import Arrays
from .spec import ModelSpec
from .weights import layout_of

# Intervals of all nodes that the fit takes, about: it has some tens of unknowns for each feature.
_ROWS = 20_000
# Of the mean square of the inputs, so that inputs that are constant or copies of others get no weight.
_RIDGE = 1e-6
_SMALL = 0.1  # factor of the output weights of the network beside the path at the start


def start_linear_path(
    spec: ModelSpec,
    thetas: NDArray,
    arrays: list[Arrays],
    train: NDArray[np.int64],
    restored: Sequence[str] = (),
    *,
    fresh: bool = True,
) -> None:
    """Set the weights of the linear path in ``thetas`` (member, size), unless they are ``restored`` ones.

    ``arrays`` are scaled, ``train`` numbers their trajectories. Columns of what is received, and rows of
    messages that are states of a node, are zero, and so are all of models with angles. The network beside
    the path starts small. Where weights are not ``fresh`` the path is zero: they have learned without it.
    """
    layout = layout_of(spec)
    if spec.node_types:
        parts = [a.of_each_type() for a in arrays]
        each = [
            (f"{name}/", spec.of_type(number), [part[number] for part in parts])
            for number, name in enumerate(spec.node_types)
        ]
    else:
        each = [("", spec, arrays)]
    for prefix, kind, of_kind in each:
        if f"{prefix}linear_weight" in restored:
            continue
        found = _fit(kind, of_kind, train) if fresh else 0.0
        for theta in thetas:
            named = layout.unpack(theta)
            named[f"{prefix}linear_weight"][...] = found
            if fresh:
                named[f"{prefix}layer_{spec.depth + 1}_weight"][: kind.states] *= _SMALL


def _fit(spec: ModelSpec, arrays: list[Arrays], train: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights (states, inputs) by least squares: differences of states over an interval against the
    means of the states at its ends, the controls held over it, and attributes."""
    out = np.zeros((spec.states, spec.inputs))
    if spec.circular:
        return out
    kept = [c for c in range(spec.channels) if c not in spec.invariant]
    inputs, slopes, first = [], [], 0
    for each in arrays:
        rows = train[(train >= first) & (train < first + each.trajectories)] - first
        first += each.trajectories
        if not rows.size or not each.x.shape[2] or not each.steps:
            continue
        every = -(-rows.size * each.steps * each.x.shape[2] // _ROWS)
        chosen = np.arange(rows.size * each.steps)[::every]
        row, time = rows[chosen // each.steps], chosen % each.steps
        x0, x1 = (np.asarray(each.x[row, t], np.float64) for t in (time, time + 1))
        slope = (x1 - x0) / np.diff(each.time)[time][:, None, None]
        parts = [((x0 + x1) / 2)[..., kept]]
        if each.u is not None and spec.controls:
            parts.append(np.asarray(each.u[row, time], np.float64))
        if each.attribute is not None and spec.attributes:
            b = each.attribute if each.attribute.ndim == 2 else each.attribute[row]
            parts.append(np.broadcast_to(b, (*slope.shape[:2], b.shape[-1])))
        together = np.concatenate(parts, axis=-1)
        inputs.append(together.reshape(-1, together.shape[-1]))
        slopes.append(slope.reshape(-1, slope.shape[-1]))
    if not inputs:
        return out
    a, b = np.concatenate(inputs), np.concatenate(slopes)
    good = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    a, b = a[good], b[good]
    if len(a) <= a.shape[1]:
        return out
    # The bias of the network takes the constant.
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    square = a.T @ a
    square += _RIDGE * np.trace(square) / len(square) * np.eye(len(square))
    weights = np.linalg.solve(square, a.T @ b)
    out[: spec.channels, : a.shape[1]] = weights.T
    return out
