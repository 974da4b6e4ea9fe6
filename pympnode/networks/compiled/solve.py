"""`CompiledField`: what a system hands to the compiled stepper, and `solve`, which runs it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...graph import Graph
from ...systems.base import System
from ..integrate import Failure, Solution
from ..runge_kutta import DOP853

_REASONS = {
    1: "more than {max_steps} steps",
    2: "a derivative is not finite",
    3: "the step size became too small",
}


@dataclass(frozen=True, eq=False)
class CompiledField:
    """The vector field of a system on one graph, by name of its function in `compiled.fields`.

    numbers: the scalar parameters. per_node: (node, parameter), or (trajectory, node, parameter)
    where some vary by trajectory. starts, senders, weights: edges by receiver, weights of size 0
    where all are 1. The order of parameters is that of the function.
    """

    name: str
    numbers: tuple[float, ...]
    per_node: np.ndarray
    starts: np.ndarray
    senders: np.ndarray
    weights: np.ndarray

    @classmethod
    def on(
        cls, graph: Graph, name: str, numbers: Sequence[Any], per_node: Sequence[Any]
    ) -> CompiledField:
        """With the edges of a graph; each of ``per_node`` is a number, (node,) or (trajectory, node)."""
        nodes = graph.total_nodes
        columns = [np.asarray(values, dtype=np.float64) for values in per_node]
        leading = max((c.shape[:-1] for c in columns if c.ndim > 1), default=())
        shape = (*leading, nodes)
        table = [np.broadcast_to(column, shape) for column in columns]
        return cls(
            name, tuple(float(number) for number in numbers),
            np.stack(table, axis=-1) if table else np.zeros((nodes, 0)),
            graph.receiver_offset, graph.sender,
            np.zeros(0) if graph.weight is None else graph.weight,
        )  # fmt: skip


@functools.cache
def _tableau() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows of DOP853 that `stepper` reads, without zeros: first entry of each row, stage, weight."""
    stages = DOP853.stages
    rows = np.zeros((stages + 2 + len(DOP853.nested), stages))
    rows[:stages] = DOP853.matrix
    rows[stages : stages + 2, : DOP853.errors.shape[1]] = DOP853.errors
    rows[stages + 2 :] = DOP853.nested
    row, stage = np.nonzero(rows)
    entry = np.searchsorted(row, np.arange(len(rows) + 1))
    return entry.astype(np.int64), stage.astype(np.int64), rows[row, stage]


@functools.cache
def _machine_code(name: str) -> tuple[Any, Any, Any]:
    """The stepper, its workspace and a field, compiled or read from the cache on disk."""
    from . import fields, stepper

    field: Any = fields.FIELDS[name]
    function: Any
    for function, signature in (
        (field, fields.SIGNATURE),
        (stepper.advance, stepper.SIGNATURE),
    ):
        if not function.signatures:
            function.compile(signature)
            # One specialisation: without this numba would compile the stepper anew for each field.
            function.disable_compile()
    return stepper.advance, stepper.workspace, field


def available() -> bool:
    """Whether numba compiles here; it does not under NUMBA_DISABLE_JIT=1."""
    from numba import config

    return not config.DISABLE_JIT  # type: ignore[attr-defined]


def compiled_field(
    system: System, graph: Graph, parameters: Mapping[str, Any]
) -> CompiledField | None:
    """The field of a system for `solve`; None where it has none, or where numba does not compile."""
    if {"field", "bind"} & vars(system).keys() or not available():
        return None
    for each in type(system).__mro__:
        defined = {"field", "bind", "compiled_field"} & vars(each).keys()
        if defined:  # a subclass with a field of its own is not solved with the one above
            return system.compiled_field(graph, parameters) if "compiled_field" in defined else None
    return None


# Components (nodes times features) up to which eight trajectories side by side are faster than one; above,
# the rows of one trajectory stay in a cache that those of eight do not fit.
_WIDEST = 2_500
# Trajectories that `generate` passes at once: lanes are idle only at the end of each such block.
_AT_ONCE = 512


def lanes_for(trajectories: int, components: int) -> int:
    """Trajectories side by side, 8 or 1. The results do not depend on it."""
    return 8 if trajectories > 2 and components <= _WIDEST else 1


def code_block(nodes: int, features: int, graphs: int) -> int:
    """Trajectories that `generate` passes to `solve` at once."""
    return graphs * (_AT_ONCE if lanes_for(_AT_ONCE, nodes * features) > 1 else 1)


def working_memory(nodes: int, features: int, trajectories: int) -> int:
    """Bytes that `solve` works in: the rows of the stepper and of the fields, and parameters."""
    rows = DOP853.stages + 10 + 4 + 4
    return 8 * nodes * features * lanes_for(trajectories, nodes * features) * rows


def solve(
    field: CompiledField,
    x0: np.ndarray,
    times: np.ndarray,
    *,
    controls: np.ndarray | None = None,
    rtol: float = 1e-8,
    atol: float = 1e-8,
    max_steps: int = 100_000,
    lanes: int | None = None,
    out: np.ndarray | None = None,
) -> Solution:
    """Solve the trajectories of a compiled field, each with its own steps.

    x0 (trajectory, node, feature), times (time,) and controls (trajectory, time, node, control) as in
    `integrate`. A trajectory depends on its own state, control and parameters alone, bit by bit.
    ``lanes``: 8 or 1 trajectories at a time, by default whichever is faster. ``out``: a contiguous array
    (trajectory, time, node, feature) to write to.

    Returns a `Solution` whose failures are marked, not raised, and whose ``evaluations``, ``steps`` and
    ``rejected`` are summed over trajectories.
    """
    x0 = np.ascontiguousarray(x0, dtype=np.float64)
    times = np.ascontiguousarray(times, dtype=np.float64)
    trajectories, nodes, features = x0.shape
    lanes = lanes_for(trajectories, nodes * features) if lanes is None else lanes
    per_node = np.ascontiguousarray(field.per_node, dtype=np.float64)
    per_node = per_node if per_node.ndim == 3 else per_node[None]
    if controls is None:
        controls = np.zeros((0, 0, 0, 0))
    if out is None:
        out = np.empty((trajectories, times.size, nodes, features))
    failed = np.zeros((trajectories, 3), dtype=np.int64)
    failed_at, counts = np.zeros(trajectories), np.zeros(3, dtype=np.int64)
    advance, workspace, function = _machine_code(field.name)
    advance(
        function, x0, out, np.ascontiguousarray(controls, dtype=np.float64), per_node,
        np.array(field.numbers, dtype=np.float64), times, field.starts, field.senders,
        field.weights, *_tableau(), rtol, atol, max_steps, lanes, failed, failed_at, counts,
        *workspace(nodes * features, controls.shape[3] * nodes, per_node[0].size, lanes),
    )  # fmt: skip
    failures = tuple(
        Failure(
            int(k), int(failed[k, 2]), int(failed[k, 1]), float(failed_at[k]),
            _REASONS[int(failed[k, 0])].format(max_steps=max_steps),
        )
        for k in np.flatnonzero(failed[:, 0])
    )  # fmt: skip
    return Solution(
        x=out, status=(failed[:, 0] != 0).astype(np.int8), failures=failures,
        evaluations=int(counts[0]), steps=int(counts[1]), rejected=int(counts[2]),
        method=f"{DOP853.name}, compiled", rtol=rtol, atol=atol,
    )  # fmt: skip
