"""Whether fixed Runge-Kutta steps are stable: an estimate of the fastest rate of a vector field.

A step h of the classical method of order 4 is stable where h times the size of an eigenvalue of the
field's Jacobian is at most 2.8, about (E. Hairer, G. Wanner, Solving Ordinary Differential Equations
II, 2nd ed. 1996, section IV.2). On graphs of which the largest degree grows with their size, as
Barabási-Albert graphs, so does the rate: a model that was stable where it was trained need not be so
on a larger graph.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import PympnodeError
from ..graph import Graph
from ..systems.base import System
from ..training.ranges import warn_user
from .attributes import varied_parameters
from .schema import parameters_of
from .system_types import arrays_of_system

if TYPE_CHECKING:
    from . import schema
    from .engines.base import Program
    from .ranges import TrainingRange

RK4_LIMIT = 2.7
"""h times rate up to which a step is taken as it is; the method itself is unstable from 2.785 on."""

MOST_SUBSTEPS = 100
"""A field that needs more steps in an interval is too stiff for this method."""

logger = logging.getLogger("pympnode.networks")

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


def substeps_for(h_rate: float) -> int:
    """The least number of equal steps that keeps each stable, with a margin, for h times rate of one
    whole interval."""
    return 1 if not h_rate > RK4_LIMIT else math.ceil(h_rate / (0.8 * RK4_LIMIT))


def rate_of_data(
    true: System, arrays: schema.Arrays, parameters: Mapping[str, Any], attributes: Sequence[str]
) -> float:
    """The fastest rate of the system that some data, in physical units, come from.

    Estimated at the first and last states of one trajectory on each of the three graphs with the
    heaviest node; nan where those states are not known. ``parameters`` and ``attributes`` as in
    `observables.observe`. Raises what `System.resolve_parameters` raises.
    """
    given = {k: v for k, v in parameters.items() if k in true.parameters}
    resolved = true.resolve_parameters(given, arrays.graph)
    used = np.unique(arrays.graph_of)
    joined = np.bincount(
        arrays.graph.receiver, np.abs(arrays.graph.weight_or_ones), arrays.graph.total_nodes
    )
    heaviest = np.maximum.reduceat(joined, arrays.graph.node_offset[:-1])[used]
    rates = []
    for number in used[np.argsort(heaviest)[::-1][:_STATES]]:
        chosen = np.flatnonzero(arrays.graph_of == number)[:1]
        graph = arrays.graph[int(number)]
        if arrays.edge_weight is not None:
            graph = arrays.graph_at(0, int(chosen[0]))
        of_graph = true.parameters_of_graph(resolved, arrays.graph, int(number))
        of_graph |= varied_parameters(true, arrays, attributes, chosen)
        x = arrays.x[chosen[0], [0, -1], : graph.total_nodes]
        x = x[np.isfinite(x).all(axis=(1, 2))]
        u = None if arrays.u is None else arrays.u[chosen, 0, : graph.total_nodes]
        rates += [rate_of_system(true, graph, of_graph, one[None], u) for one in x]
    return float(np.nanmax(rates)) if np.isfinite(rates).any() else math.nan


def substeps_of_data(
    system: str,
    datasets: Sequence[xr.Dataset],
    arrays: Sequence[schema.Arrays],
    attributes: Sequence[str],
) -> tuple[int, str | None]:
    """Equal rk4 steps an interval of the training data needs, and why, or 1 and None.

    The data show their times only: what happens between them is known for the systems of the registry.
    """
    from .observables import known_system

    most = 0.0
    for ds, each in zip(datasets, arrays):
        true = known_system(None, system, each)
        if true is None:
            continue
        if each.types is not None:
            each = arrays_of_system(true, each)
        try:
            rate = rate_of_data(true, each, parameters_of(ds), attributes)
        except PympnodeError as error:
            logger.info("no estimate of the fastest rate: %s", error.message)
            continue
        most = max(most, float(np.diff(each.time).max()) * np.nan_to_num(rate))
    needed = substeps_for(most)
    if needed == 1:
        return 1, None
    text = f"a time step of the data times the fastest rate of {system} is {most:.3g}, and rk4 is "
    text += f"stable up to {RK4_LIMIT}"
    if needed > MOST_SUBSTEPS:
        warn_user(
            f"{text}: what the model learns is not the field of the system\n  fix: a shorter dt="
        )
        return 1, text
    return needed, f"{needed} steps an interval: {text}"


def stable_substeps(
    program: Program, theta: NDArray, trained: TrainingRange, time_scale: float, arrays: schema.Arrays, z: NDArray, u: NDArray | None,
    attribute: NDArray | None, graph: Graph,
) -> int:  # fmt: skip
    """Equal steps an interval with which a rollout by the learned field is stable.

    That of the model, or more with a `PympnodeWarning` that names the numbers; more than
    `MOST_SUBSTEPS` are not taken, and the warning says that the rollout is likely to be unstable.

    theta, trained, time_scale: of the model. z (trajectory, node, feature), u (trajectory, time, node,
        control) and attribute in z units, graph as the program takes it.
    The rate is estimated at the initial states of up to three trajectories, and only where it may
    exceed that of the training data: on nodes with more, or heavier, edges, or with longer steps.
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
        return spec.substeps
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
    if not h * rate > RK4_LIMIT:
        return spec.substeps
    whole = h * rate * spec.substeps
    needed = substeps_for(whole)
    text = (
        f"a step of {step:.4g} times the fastest rate of the learned field, {rate / time_scale:.4g}, is "
        f"{whole:.3g} in {spec.substeps} substep{'s' * (spec.substeps > 1)}; rk4 is stable up to "
        f"{RK4_LIMIT} a substep"
    )
    shorter = f"dt= at most {step * RK4_LIMIT / (h * rate):.3g}"
    if needed > MOST_SUBSTEPS:
        warn_user(f"the rollout is likely to be unstable: {text}\n  fix: {shorter}")
        return spec.substeps
    stride = ", stride=1" if spec.stride > 1 else ""
    warn_user(
        f"the rollout takes {needed} substeps: {text}\n  fix: {shorter}, or the same without this "
        f"estimate: dataclasses.replace(model, spec=model.spec.replace(substeps={needed}{stride}))"
    )
    return needed
