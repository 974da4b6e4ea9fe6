"""Hybrid models: graphs on which a model moves some nodes and the true equations move the others.

All nodes have the same state. With L the nodes that a model moves, h its vector field and f that of a
system,

    dx_k/dt = h_k(x, m, u)   for k in L,        dx_k/dt = f_k(x, u)   otherwise,

where both depend on the neighbours of k in the one graph. A model needs a message of every neighbour,
simulated ones included: messages that are evaluated (``messages="emitted"``) are functions of the
neighbour's state; messages that are ODE states are integrated for every node by the message part of
h, dm_k/dt at x_k, also where f moves x_k. A simulated node depends on the states of its neighbours
alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import arguments, flag, least, listing, mapping, one_of, positive
from ..datasets.names import EDGE_WEIGHT, NODE, SENDER, TRAJECTORY
from ..datasets.reading import as_dataset
from ..errors import InvalidData, InvalidOption, unknown_name
from ..graph import Graph
from ..memory import guarded, need
from ..systems.base import System
from ..systems.registry import get
from ..training.ranges import warn_outside
from . import schema
from .agreement import Names, agree, same_unit
from .edge_weights import graph_for_model
from .graphs.topology import resolve
from .integrate import integrate
from .learned_field import LearnedField, Rates, rk4
from .learned_node import LearnedNode
from .model import Model
from .node_types import refuse_types
from .rollout_start import (
    controls_for,
    held_at,
    kept_coords,
    labels_of,
    new_times,
    states_of,
)

Solver = Literal["adaptive", "rk4"]


def couple(
    nodes: Sequence[Any],
    topology: Any = None,
    *,
    system: Any = None,
    graph_seed: int = 42,
    parameters: Mapping[str, Any] | None = None,
) -> Mixed:
    """One graph of nodes that models and the equations of systems move.

    Main arguments:
        nodes: for each node what moves it: a `Model`, or a system or its name.
        topology: a topology name, a graph, edges, ... as in `pympnode.simulate`; by default that of
            the first node's system.
    Other arguments:
        system: the system whose state the models have, by default the one that each was trained on
            (for a model of given data: the first system among the nodes).
        graph_seed: of a drawn topology. parameters: physics of the simulated nodes, by name; a
            learned node keeps the physics that it was trained on.
    Raises `InvalidOption`, `InvalidModel` (states that differ), `InvalidGraph`, `UnknownName`.

    >>> chain = couple(["coupled_pendulum"] * 3, "path")
    >>> chain
    Mixed(3 nodes, 0 learned, 3 simulated as coupled_pendulum; path(3))
    """
    given = [
        node if isinstance(node, Model | LearnedNode) else get(node)
        for node in listing("nodes", nodes)
    ]
    if not given:
        raise InvalidOption("a graph has at least one node", got="no nodes", allowed=">= 1")
    simulated = [node for node in given if isinstance(node, System)]
    movers = [
        LearnedNode.of(node, _system_of(node, simulated) if system is None else system)
        if isinstance(node, Model)
        else node
        for node in given
    ]
    systems = [node.system if isinstance(node, LearnedNode) else node for node in movers]
    first = systems[0]
    for number, each in enumerate(systems):
        if (each.feature_names, each.control_names) != (first.feature_names, first.control_names):
            raise InvalidOption(
                f"node {number} has another state than node 0",
                got=f"{each.name}: {', '.join((*each.feature_names, *each.control_names))}",
                allowed=f"{first.name}: {', '.join((*first.feature_names, *first.control_names))}",
                fix="couple nodes of the same features and controls",
            )
    _same_time(movers)
    known = {name for each in systems for name in each.parameters}
    parameters = mapping("parameters", parameters)
    for name in parameters:
        if name not in known:
            raise unknown_name("parameter", name, sorted(known))
    topology = first.default_topology if topology is None else topology
    graph = resolve(
        topology,
        len(movers),
        graph_seed=graph_seed,
        system=first,
        labels=range(len(movers)),
    )
    if graph.graphs != 1:
        raise InvalidOption(
            "nodes are coupled on one graph", got=f"{graph.graphs} graphs", allowed=1
        )
    for node in movers:
        if isinstance(node, LearnedNode):
            graph_for_model(node.model, graph)
        else:
            node.check_graph(graph)
    return Mixed(graph, tuple(movers), parameters)


def _same_time(movers: Sequence[Any]) -> None:
    """Raise `InvalidOption` where the models of one graph count time in different units."""
    first = None
    for number, node in enumerate(movers):
        if not isinstance(node, LearnedNode) or node.model.time_unit in ("", "1"):
            continue
        first = node if first is None else first
        if not same_unit(node.model.time_unit, first.model.time_unit):
            raise InvalidOption(
                f"node {number} counts time in another unit than the nodes before it",
                got=repr(node.model.time_unit),
                allowed=repr(first.model.time_unit),
                fix="train the models on data of one time unit",
            )


def _system_of(model: Model, simulated: Sequence[System]) -> System | str | None:
    """The system whose state ``model`` has: one of ``simulated``, or that of its training data.

    A simulated system of the same name comes first, because it need not be registered.
    """
    for system in simulated:
        if system.name == model.system or not model.system:
            return system
    return model.system or None


@dataclass(frozen=True, eq=False, repr=False)
class Mixed:
    """Learned and simulated nodes on one graph; see `couple`.

    ``nodes``: for each node of ``graph`` the `LearnedNode` or the `System` that moves it.
    """

    graph: Graph
    nodes: tuple[LearnedNode | System, ...]
    parameters: Mapping[str, Any]

    @property
    def system(self) -> System:
        """The system whose state all nodes share."""
        first = self.nodes[0]
        return first.system if isinstance(first, LearnedNode) else first

    @property
    def _names(self) -> Names:
        """Names and units of the state that all nodes share; time in the unit of the models."""
        first = self.system
        times = {n.model.time_unit for n in self.nodes if isinstance(n, LearnedNode)} - {"1"}
        return Names(
            first.feature_names,
            tuple(v.unit for v in first.state for _ in range(v.components)),
            first.control_names,
            time_unit=next(iter(times), "1"),
        )

    @property
    def learned(self) -> NDArray[np.bool_]:
        """(node,): whether a model moves the node."""
        return np.array([isinstance(node, LearnedNode) for node in self.nodes])

    @guarded
    @arguments(steps=least(1), dt=positive, check=flag)
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
        (Dormand-Prince 8, ``tolerance``), or "rk4", the steps that models are trained with: one per
        interval, or as many as the model has substeps.

        Returns a dataset like that of `Model.rollout`, with ``learned(node)``; the messages of several
        models are concatenated along the message axis. Warns `OutsideTrainingRange` for the learned
        nodes unless ``check=False``. Raises `InvalidData`.
        """
        one_of("solver", solver, ("adaptive", "rk4"))
        tolerance = positive("tolerance", tolerance)
        if isinstance(initial, xr.Dataset):
            refuse_types(initial, "the nodes of a coupled graph")
            initial = agree(initial, self._names, "the nodes")
        arrays = self._start(initial, steps, dt, control)
        learned = self._learned_fields()
        if check:
            for each in learned:
                warn_outside(
                    "the rollout of the learned nodes",
                    each.outside(arrays, fixed_step=solver == "rk4"),
                )
        x0 = arrays.x[:, 0]
        # The ODE state z: the features, then the messages that each model carries.
        z0 = np.concatenate([x0, *(each.first(x0) for each in learned)], axis=-1)
        rates = self._rates(learned)
        u = None if arrays.u is None else np.nan_to_num(arrays.u)
        need(
            3 * z0.nbytes * len(arrays.time),
            f"a rollout of {len(arrays.time) - 1:,} steps",
            "ask for fewer steps=",
        )
        if solver == "adaptive":
            z = integrate(
                rates, z0, arrays.time, controls=u, rtol=tolerance, atol=tolerance, check=False
            ).x
        else:
            substeps = max((each.model.spec.substeps for each in learned), default=1)
            z = rk4(rates, z0, arrays.time, u, substeps)
        channels = x0.shape[-1]
        sent, offset = [np.zeros((*z.shape[:3], 0))], channels
        for each in learned:
            carried = z[..., offset : offset + each.carried]
            sent.append(each.sent(z[..., :channels], carried, u))
            offset += each.carried
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
        return ds.assign_coords(kept_coords(initial, ds, steps is None and dt is None))

    def field(self, t: float, x: NDArray, u: NDArray | None = None) -> NDArray:
        """dx/dt (trajectory, node, feature) at x, with the initial messages of x.

        Where messages are ODE states, those of a later time of a rollout differ.
        """
        learned = self._learned_fields()
        x = np.asarray(x, dtype=np.float64)
        z = np.concatenate([x, *(each.first(x) for each in learned)], axis=-1)
        return self._rates(learned)(t, z, u)[..., : x.shape[-1]]

    def __repr__(self) -> str:
        learned = int(self.learned.sum())
        names = sorted({node.name for node in self.nodes if isinstance(node, System)})
        simulated = f"{len(self.nodes) - learned} simulated"
        if names:
            simulated += f" as {' and '.join(names)}"
        return (
            f"Mixed({len(self.nodes)} nodes, {learned} learned, {simulated}; "
            f"{self.graph.provenance})"
        )

    # ---- the vector field ---------------------------------------------------------------------

    def _learned_fields(self) -> list[LearnedField]:
        """The field of each model on this graph, with the nodes that it moves."""
        found: dict[int, tuple[LearnedNode, list[int]]] = {}
        for number, node in enumerate(self.nodes):
            if isinstance(node, LearnedNode):
                found.setdefault(id(node.model), (node, []))[1].append(number)
        fields = []
        for node, numbers in found.values():
            attribute = node.system.attribute_array(self.resolved(node.system), self.graph)
            fields.append(LearnedField(node.model, np.array(numbers), self.graph, attribute))
        return fields

    def _simulated_fields(self) -> list[tuple[Rates, NDArray[np.int64]]]:
        """The bound field of each system, with the nodes that it moves."""
        found: dict[str, tuple[System, list[int]]] = {}
        for number, node in enumerate(self.nodes):
            if isinstance(node, System):
                found.setdefault(node.name, (node, []))[1].append(number)
        return [
            (system.bind(self.graph, self.resolved(system)), np.array(numbers))
            for system, numbers in found.values()
        ]

    def resolved(self, system: System) -> dict[str, Any]:
        """The parameters of ``system`` on this graph."""
        given = {k: v for k, v in self.parameters.items() if k in system.parameters}
        return system.resolve_parameters(given, self.graph)

    def _rates(self, learned: list[LearnedField]) -> Rates:
        """dz/dt (trajectory, node, feature and messages) of all nodes."""
        simulated = self._simulated_fields()
        channels = self.system.features

        def rates(t: float, z: NDArray, u: NDArray | None = None) -> NDArray:
            x, out, offset = z[..., :channels], np.empty(z.shape), channels
            for field, nodes in simulated:
                out[:, nodes, :channels] = field(t, x, u)[:, nodes]
            for each in learned:
                dx, dm = each(x, z[..., offset : offset + each.carried], u)
                out[:, each.nodes, :channels] = dx[:, each.nodes]
                # All nodes carry this model's messages, those that it does not move included.
                out[..., offset : offset + each.carried] = dm
                offset += each.carried
            return out

        return rates

    # ---- where a rollout starts ---------------------------------------------------------------

    def _start(
        self, initial: Any, steps: int | None, dt: float | None, control: Any
    ) -> schema.Arrays:
        """First states, times and controls of a rollout, checked."""
        nodes, features = len(self.nodes), self.system.features
        u = None
        labels = None
        initial = as_dataset(initial)
        if isinstance(initial, xr.Dataset):
            labels = labels_of(initial)
            given = schema.pack(initial, missing="mask")
            x0, u = given.x[:, 0], given.u
            if given.edge_weight is not None:
                raise InvalidData(
                    "the edges between coupled nodes have constant weights",
                    got=f"edge_weight({', '.join(map(str, initial[EDGE_WEIGHT].dims))})",
                    allowed="edge_weight(edge), or none",
                    fix="couple(nodes, graph.with_weight(values)), and its rollout of "
                    'ds.drop_vars("edge_weight")',
                )
            if given.varied:
                raise InvalidData(
                    "coupled nodes have the same attributes in all trajectories",
                    got="node_attribute(trajectory, node, attribute)",
                    allowed="one value for each node: couple(..., parameters={...})",
                    fix="roll out one trajectory at a time, with its values as parameters of couple, "
                    'and ds.drop_vars("node_attribute")',
                )
            if x0.shape[1] == nodes and SENDER in initial:
                if any(not given.graph[i].same(self.graph) for i in set(given.graph_of.tolist())):
                    raise InvalidData(
                        "the dataset has another graph than these nodes",
                        got=given.graph.provenance,
                        allowed=self.graph.provenance,
                        fix="couple(nodes, topology) with the topology of the dataset",
                    )
            time = new_times(given.time, steps, dt)
            if u is not None:
                u = held_at(u, given.time, time)
        else:
            read = states_of(initial, self.system.feature_names)
            x0, labels = read.values, read.labels.get(NODE)
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
            u = controls_for(u, len(x0), len(time), nodes, width, labels)
        x0 = np.asarray(x0, dtype=np.float64)[:, None]
        return schema.Arrays(x0, time, self.graph, np.zeros(len(x0), np.int64), u)
