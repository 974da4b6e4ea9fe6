"""Whether fixed Runge-Kutta steps are stable: an estimate of the fastest rate of a vector field.

A step h of the classical method of order 4 is stable where h times the size of an eigenvalue of the
field's Jacobian is at most 2.8, about (E. Hairer, G. Wanner, Solving Ordinary Differential Equations
II, 2nd ed. 1996, section IV.2). On graphs of which the largest degree grows with their size, as
Barabási-Albert graphs, so does the rate: a model that was stable where it was trained need not be so
on a larger graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..graph import Graph
from ..systems.base import System
from ..training.ranges import warn_user

if TYPE_CHECKING:
    from . import schema
    from .engines.base import Program
    from .ranges import TrainingRange

RK4_LIMIT = 2.7
"""h times rate from which on `warn_unstable` warns; the method itself is unstable from 2.785 on."""

_ITERATIONS = 24
_STATES = 3


def fastest_rate(
    field: Callable[[NDArray], NDArray], x: NDArray, iterations: int = _ITERATIONS, seed: int = 0
) -> float:
    """Size of the largest eigenvalue of the field's Jacobian at a state, by power iteration.

    field: x -> dx/dt of the same shape. Products with the Jacobian are differences of the field, whose
    step follows the precision of what it returns. The estimate is the mean growth over the last half of
    the iterations, since the sizes alternate where the eigenvalue is complex. nan where the field is not
    finite there; 0 where the Jacobian is zero.
    """
    x = np.asarray(x, dtype=np.float64)
    base = np.asarray(field(x))
    precision = float(np.finfo(base.dtype).eps)
    base = base.astype(np.float64)
    # The cube root of the precision would suit central differences; forward ones take the square root.
    size = math.sqrt(precision) * max(1.0, float(np.sqrt(np.mean(x * x)))) * math.sqrt(x.size)
    direction = np.random.default_rng(seed).standard_normal(x.shape)
    direction /= np.linalg.norm(direction)
    growth = []
    for _ in range(iterations):
        product = (np.asarray(field(x + size * direction), dtype=np.float64) - base) / size
        norm = float(np.linalg.norm(product))
        if not math.isfinite(norm):
            return math.nan
        if norm == 0.0:
            return 0.0
        growth.append(norm)
        direction = product / norm
    return float(np.exp(np.mean(np.log(growth[iterations // 2 :]))))


def rate_of_system(
    system: System,
    graph: Graph,
    parameters: Mapping[str, Any],
    x: NDArray,
    u: NDArray | None = None,
) -> float:
    """`fastest_rate` of a system on one graph, the largest over the states x (trajectory, node, feature).

    ``parameters`` as `System.resolve_parameters` returns them; u (trajectory, node, control).
    """
    field = system.bind(graph, parameters)
    rates = []
    for i in range(len(x)):
        held = None if u is None else u[i : i + 1]
        rates.append(
            fastest_rate(lambda state, held=held: field(0.0, state, held), x[i : i + 1])  # type: ignore[misc]
        )
    return max(rates)


def warn_unstable(
    program: Program, theta: NDArray, trained: TrainingRange, time_scale: float, arrays: schema.Arrays, z: NDArray, u: NDArray | None,
    attribute: NDArray | None, graph: Graph,
) -> float | None:  # fmt: skip
    """Warn `PympnodeWarning` where the steps of a rollout are too long for the learned field.

    theta, trained, time_scale: of the model. z (trajectory, node, feature), u (trajectory, time, node, control) and attribute in z units, graph
    as the program takes it. The rate is estimated at the initial states of up to three trajectories, and
    only where it may exceed that of the training data: on nodes with more, or heavier, edges, or with
    longer steps. Returns h times rate, None where nothing was estimated.
    """
    spec = program.spec
    step = float(np.diff(arrays.time).max())
    if arrays.edge_weight is not None:  # the weights of the interval in which they are largest
        size = np.abs(arrays.held_weight).sum(axis=-1)
        trajectory, time = (
            np.unravel_index(size.argmax(), size.shape) if size.ndim == 2 else (0, size.argmax())
        )
        graph = graph.with_weight(arrays.graph_at(int(time), int(trajectory)).weight)
    joined = np.bincount(graph.receiver, np.abs(graph.weight_or_ones), graph.total_nodes)
    heaviest = max((abs(w) for w in trained.weight), default=1.0) * trained.degree[1]
    slower = step <= trained.dt[1] * (1 + 1e-6) and joined.max() <= heaviest * (1 + 1e-9)
    if spec.solver != "rk4" or slower:
        return None
    h = step / time_scale / spec.substeps
    rates = []
    for i in np.unique(np.linspace(0, len(z) - 1, _STATES).astype(int)):
        one = slice(i, i + 1)
        seen = attribute if attribute is None or attribute.ndim == 2 else attribute[one]
        of_types = {"node_type": arrays.node_type} if spec.node_types else {}
        first = program.initial_message(theta, z[one], seen, **of_types)
        start = np.concatenate([z[one], first], axis=-1)
        held = None if u is None else u[one, 0]
        of = arrays.graph_of[one]
        rates.append(
            fastest_rate(
                lambda state, seen=seen, held=held, of=of: program.field(  # type: ignore[misc]
                    theta, state, graph, graph_of=of, u=held, attribute=seen
                ),
                start,
            )
        )
    rate = float(np.nanmax(rates)) if np.isfinite(rates).any() else math.nan
    if h * rate > RK4_LIMIT:
        stride = ", stride=1" if spec.stride > 1 else ""
        substeps = spec.substeps * math.ceil(h * rate / (0.8 * RK4_LIMIT))
        warn_user(
            f"the rollout is likely to be unstable: a step of {step:.4g} times the fastest rate of the "
            f"learned field, {rate / time_scale:.4g}, is {h * rate * spec.substeps:.3g} in "
            f"{spec.substeps} substep{'s' * (spec.substeps > 1)}; rk4 is stable up to {RK4_LIMIT} a "
            f"substep\n  fix: dt= at most {step * RK4_LIMIT / (h * rate):.3g}, or "
            f"dataclasses.replace(model, spec=model.spec.replace(substeps={substeps}{stride}))"
        )
    return h * rate
