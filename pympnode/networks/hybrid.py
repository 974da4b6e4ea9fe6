"""Graphs whose nodes move in different ways: some simulated, some learned.

Every node has the same state; what differs is who says how it moves. With L the nodes that a model
has learned, h its field and f that of a system,

    dx_k/dt = h_k(x, m, u)   for k in L,        dx_k/dt = f_k(x, u)   otherwise,

both over the neighbours that k has in the one graph. A learned node hears simulated neighbours as it
hears learned ones: messages that are evaluated (``messages="emitted"``) are functions of their state,
and messages that are ODE states are carried by every node, dm_k/dt = h's message part at x_k, also
where f moves x_k. A simulated node needs nothing but the states of its neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import NODE, SENDER, TRAJECTORY
from ..errors import InvalidData, InvalidModel, InvalidOption, unknown_name
from ..graph import Graph
from ..systems.base import System
from ..systems.registry import get
from ..training.ranges import warn_outside
from . import schema
from .graphs.topology import resolve
from .integrate import integrate
from .learned_field import LearnedField, Rates, rk4
from .model import Model
from .rollout_start import controls_for, held_at, new_times

Solver = Literal["adaptive", "rk4"]


@dataclass(frozen=True, eq=False)
class LearnedNode:
    """A node that moves as ``model`` has learned, in the state and units of ``system``.

    Made by ``model.as_node(system)``; put on a graph by `couple`.
    """

    model: Model
    system: System

    @classmethod
    def of(cls, model: Model, system: Any = None) -> LearnedNode:
        """See `Model.as_node`."""
        if system is None and not model.system:
            raise InvalidOption(
                "the model was trained on given data, so its system is not known",
                got="as_node()",
                allowed="as_node(system)",
                fix="name the system whose nodes it shall stand beside",
            )
        true = get(model.system if system is None else system)
        if model.members > 1:
            raise InvalidModel(
                "a node is moved by one model, and this is an ensemble",
                got=f"{model.members} members",
                allowed="one",
                fix="take one of them: model.member(0).as_node()",
            )
        if model.spec.family == "node":
            raise InvalidModel(
                "a neural ODE of the whole system has no nodes to take out",
                got='model="node"',
                allowed='model="mpnode" or "l2s"',
            )
        for what, got, wanted in (
            ("features", model.features, true.feature_names),
            ("controls", model.controls, true.control_names),
        ):
            if tuple(got) != tuple(wanted):
                raise InvalidModel(
                    f"the model and {true.name} differ in their {what}",
                    got=", ".join(got) or "none",
                    allowed=", ".join(wanted) or "none",
                    fix="a learned node stands beside simulated nodes of the same state and inputs",
                )
        return cls(model, true)

    def __repr__(self) -> str:
        return f"LearnedNode(of {self.system.name}: {len(self.model.theta):,} weights)"


def couple(
    nodes: Sequence[Any],
    topology: Any = None,
    *,
    graph_seed: int = 42,
    parameters: Mapping[str, Any] | None = None,
) -> Mixed:
    """Nodes that move in different ways, on one graph.

    Main arguments:
        nodes: for each node what moves it: ``model.as_node(system)``, a system or its name.
        topology: who is coupled to whom, as in `pympnode.simulate`; by default as the first system
            has it.
    Other arguments:
        graph_seed: of a drawn topology. parameters: physics of the simulated nodes, by name; a
            learned node keeps the physics that it was trained on.
    Raises `InvalidOption`, `InvalidModel` (states that differ), `InvalidGraph`, `UnknownName`.

    >>> chain = couple(["coupled_pendulum"] * 3, "path")
    >>> chain
    Mixed(3 nodes, 0 learned, 3 simulated as coupled_pendulum; path(3))
    """
    parts = [node if isinstance(node, LearnedNode) else get(_as_part(node)) for node in nodes]
    if not parts:
        raise InvalidOption("a graph has at least one node", got="no nodes", allowed=">= 1")
    systems = [part.system if isinstance(part, LearnedNode) else part for part in parts]
    first = systems[0]
    for number, system in enumerate(systems):
        if (system.feature_names, system.control_names) != (
            first.feature_names,
            first.control_names,
        ):
            raise InvalidOption(
                f"node {number} has another state than node 0",
                got=f"{system.name}: {', '.join((*system.feature_names, *system.control_names))}",
                allowed=f"{first.name}: {', '.join((*first.feature_names, *first.control_names))}",
                fix="couple nodes of the same features and controls",
            )
    known = {name for system in systems for name in system.parameters}
    for name in parameters or {}:
        if name not in known:
            raise unknown_name("parameter", name, sorted(known))
    topology = first.default_topology if topology is None else topology
    graph = resolve(topology, len(parts), graph_seed=graph_seed, system=first)
    if graph.graphs != 1:
        raise InvalidOption(
            "nodes are coupled on one graph", got=f"{graph.graphs} graphs", allowed=1
        )
    return Mixed(graph, tuple(parts), dict(parameters or {}))


@dataclass(frozen=True, eq=False, repr=False)
class Mixed:
    """Simulated and learned nodes on one graph; see `couple`."""

    graph: Graph
    parts: tuple[Any, ...]
    parameters: Mapping[str, Any]

    @property
    def system(self) -> System:
        """The system whose state all nodes share."""
        part = self.parts[0]
        return part.system if isinstance(part, LearnedNode) else part

    @property
    def learned(self) -> NDArray[np.bool_]:
        """(node,): whether a model moves it."""
        return np.array([isinstance(part, LearnedNode) for part in self.parts])

    def rollout(
        self,
        initial: Any,
        *,
        steps: int | None = None,
        dt: float | None = None,
        control: Any = None,
        solver: Solver = "adaptive",
        tolerance: float = 1e-6,
        check: bool = True,
    ) -> xr.Dataset:
        """Predict from initial states.

        ``initial``: a dataset, whose first states, times and controls are taken, or states (node,
        feature) or (trajectory, node, feature) with ``steps`` of ``dt`` (defaults: the system's).
        ``control`` (trajectory, time, node, control) is held over each step. ``solver``: "adaptive"
        (Dormand-Prince 8, ``tolerance``), or "rk4", one step (the models' substeps) an interval as
        models are trained.

        Returns a dataset like that of `Model.rollout`, with ``learned(node)``; of several models, the
        messages stand one after the other. Warns
        `OutsideTrainingRange` for the learned nodes unless ``check=False``. Raises `InvalidData`.
        """
        if solver not in ("adaptive", "rk4"):
            raise unknown_name("solver", solver, ("adaptive", "rk4"))
        arrays = self._start(initial, steps, dt, control)
        moving = self._moving()
        if check:
            for each in moving:
                warn_outside(
                    "the learned part of the rollout",
                    each.outside(arrays, fixed_step=solver == "rk4"),
                )
        x0 = arrays.x[:, 0]
        z0 = np.concatenate([x0, *(each.first(x0) for each in moving)], axis=-1)
        rates = self._rates(moving)
        u = None if arrays.u is None else np.nan_to_num(arrays.u)
        if solver == "adaptive":
            z = integrate(
                rates, z0, arrays.time, controls=u, rtol=tolerance, atol=tolerance, check=False
            ).x
        else:
            substeps = max((each.model.spec.substeps for each in moving), default=1)
            z = rk4(rates, z0, arrays.time, u, substeps)
        channels = x0.shape[-1]
        sent, at = [np.zeros((*z.shape[:3], 0))], channels
        for each in moving:
            sent.append(each.sent(z[..., :channels], z[..., at : at + each.carried]))
            at += each.carried
        first = self.system
        ds = schema.unpack(
            schema.Arrays(z[..., :channels], arrays.time, self.graph, arrays.graph_of, arrays.u),
            features=first.feature_names,
            units=[v.unit for v in first.state for _ in range(v.components)],
            controls=first.control_names or None,
            message=np.concatenate(sent, axis=-1),
            about={
                "kind": "mixed rollout",
                "system": first.name,
                "solver": solver,
                "topology": list(self.graph.source),
            },
        )
        ds["learned"] = (NODE, self.learned, {"long_name": "moved by a model"})
        finite = np.isfinite(z).all(axis=(1, 2, 3))
        ds["finite"] = (TRAJECTORY, finite, {"long_name": "no value overflowed"})
        if isinstance(initial, xr.Dataset) and steps is None and dt is None:
            keep = {n: c for n, c in initial.coords.items() if set(c.dims) <= set(ds.dims)}
            ds = ds.assign_coords(keep)
        return ds

    def field(self, t: float, x: NDArray, u: NDArray | None = None) -> NDArray:
        """dx/dt (trajectory, node, feature) at x, with the first messages that belong to x.

        Messages that are ODE states have a history; `rollout` carries them.
        """
        moving = self._moving()
        x = np.asarray(x, dtype=np.float64)
        z = np.concatenate([x, *(each.first(x) for each in moving)], axis=-1)
        return self._rates(moving)(t, z, u)[..., : x.shape[-1]]

    def __repr__(self) -> str:
        learned = int(self.learned.sum())
        names = sorted({p.name for p in self.parts if isinstance(p, System)})
        simulated = f"{len(self.parts) - learned} simulated"
        if names:
            simulated += f" as {' and '.join(names)}"
        return (
            f"Mixed({len(self.parts)} nodes, {learned} learned, {simulated}; "
            f"{self.graph.provenance})"
        )

    # ---- pieces -------------------------------------------------------------------------------

    def _models(self) -> list[tuple[Model, NDArray[np.int64]]]:
        """Each model once, with the nodes that it moves."""
        found: dict[int, tuple[Model, list[int]]] = {}
        for number, part in enumerate(self.parts):
            if isinstance(part, LearnedNode):
                found.setdefault(id(part.model), (part.model, []))[1].append(number)
        return [(model, np.array(own)) for model, own in found.values()]

    def _moving(self) -> list[LearnedField]:
        """The field of each model on this graph."""
        found = []
        for model, own in self._models():
            system = self.parts[int(own[0])].system
            attribute = system.attribute_array(self.resolved(system), self.graph)
            found.append(LearnedField(model, own, self.graph, attribute))
        return found

    def _systems(self) -> list[tuple[Rates, NDArray[np.int64]]]:
        """The bound field of each system, with the nodes that it moves."""
        found: dict[str, tuple[System, list[int]]] = {}
        for number, part in enumerate(self.parts):
            if isinstance(part, System):
                found.setdefault(part.name, (part, []))[1].append(number)
        return [
            (system.bind(self.graph, self.resolved(system)), np.array(own))
            for system, own in found.values()
        ]

    def resolved(self, system: System) -> dict[str, Any]:
        """The parameters of ``system`` on this graph."""
        given = {k: v for k, v in self.parameters.items() if k in system.parameters}
        return system.resolve_parameters(given, self.graph)

    def _rates(self, moving: list[LearnedField]) -> Rates:
        systems = self._systems()
        channels = self.system.features

        def rates(t: float, z: NDArray, u: NDArray | None = None) -> NDArray:
            x, out, at = z[..., :channels], np.empty(z.shape), channels
            for field, own in systems:
                out[:, own, :channels] = field(t, x, u)[:, own]
            for each in moving:
                slope, told = each(x, z[..., at : at + each.carried], u)
                out[:, each.own, :channels] = slope[:, each.own]
                out[..., at : at + each.carried] = told
                at += each.carried
            return out

        return rates

    def _start(
        self, initial: Any, steps: int | None, dt: float | None, control: Any
    ) -> schema.Arrays:
        nodes, features = len(self.parts), self.system.features
        u = None
        if isinstance(initial, xr.Dataset):
            given = schema.pack(initial, missing="mask")
            x0, u = given.x[:, 0], given.u
            if x0.shape[1] == nodes and SENDER in initial:
                if any(not given.graph[i].same(self.graph) for i in set(given.graph_of.tolist())):
                    raise InvalidData(
                        "the dataset lives on another graph than these nodes",
                        got=given.graph.provenance,
                        allowed=self.graph.provenance,
                        fix="couple(nodes, topology) with the topology of the dataset",
                    )
            time = new_times(given.time, steps, dt)
            if u is not None:
                u = held_at(u, given.time, time)
        else:
            x0 = np.asarray(initial, dtype=np.float64)
            x0 = x0[None] if x0.ndim == 2 else x0
            every = self.system.dt if dt is None else dt
            time = new_times(np.zeros(1), self.system.steps if steps is None else steps, every)
        if x0.ndim != 3 or x0.shape[1:] != (nodes, features):
            raise InvalidData(
                "initial states have the wrong shape",
                got=np.shape(x0),
                allowed=f"(trajectory, {nodes}, {features}): (trajectory, node, feature)",
                fix=f"one state of {', '.join(self.system.feature_names)} for each node",
            )
        if not np.isfinite(x0).all():
            raise InvalidData("initial states must be finite", got="NaN or infinity")
        u = u if control is None else control
        width = len(self.system.controls)
        if u is None and width:
            raise InvalidData(
                f"{self.system.name} needs controls",
                got="none",
                allowed=f"({len(x0)}, {len(time)}, {nodes}, {width})",
                fix="pass control=, or a dataset that holds them",
            )
        if u is not None:
            u = controls_for(u, len(x0), len(time), nodes, width)
        x0 = np.asarray(x0, dtype=np.float64)[:, None]
        return schema.Arrays(x0, time, self.graph, np.zeros(len(x0), np.int64), u)


def _as_part(node: Any) -> Any:
    if isinstance(node, Model):
        raise InvalidOption(
            "a model becomes a node of a system first",
            got="a Model",
            allowed="model.as_node(system), a System or its name",
            fix="write model.as_node(system)",
        )
    return node
