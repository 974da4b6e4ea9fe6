"""A model's vector field on a graph of which it moves some of the nodes (see `hybrid`)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidModel
from ..graph import Graph
from .arrays import Arrays
from .edge_weights import graph_for_program
from .emitted import emitted
from .engines import engine
from .model import Model
from .ranges import components

Rates = Callable[[float, NDArray, "NDArray | None"], NDArray]


class LearnedField:
    """dx/dt and dm/dt of all nodes of ``graph``, in physical units and double precision.

    ``nodes`` (int64): numbers of the nodes that the model moves; ``attribute`` (node, attribute) of
    all nodes, in physical units. Raises `InvalidModel` when the model takes attributes that are not
    given.
    """

    def __init__(
        self, model: Model, nodes: NDArray[np.int64], graph: Graph, attribute: NDArray | None
    ) -> None:
        self.model, self.nodes, self.graph = model, nodes, graph
        self.carried = model.spec.carried
        wanted, got = model.spec.attributes, 0 if attribute is None else attribute.shape[-1]
        if wanted and wanted != got:
            raise InvalidModel(
                "the model takes node attributes that the parameters do not give",
                got=got,
                allowed=f"{wanted}: {', '.join(model.attributes)}",
                fix="couple(..., parameters={...}) with one value for each node",
            )
        self._edges = graph_for_program(model, graph)
        self._physical = attribute if wanted else None
        scale = model.attribute_scale
        self._attribute = None
        if wanted and attribute is not None and scale is not None:
            self._attribute = scale.apply(attribute)
        self._theta = model.theta.astype(np.float64)
        self._program = engine("torch").bind(
            model.spec, None, dtype="float64", device="cpu", kernel="eager"
        )

    def __call__(self, x: NDArray, m: NDArray, u: NDArray | None) -> tuple[NDArray, NDArray]:
        """(dx/dt, dm/dt) at x (trajectory, node, feature), m (trajectory, node, message).

        u (trajectory, node, control) or None.
        """
        model = self.model
        z = np.concatenate([model.state_scale.apply(x), m], axis=-1)
        held = None
        if u is not None and model.control_scale is not None:
            held = model.control_scale.apply(u)
        rate = self._program.field(self._theta, z, self._edges, u=held, attribute=self._attribute)
        channels, per = model.spec.channels, 1.0 / model.time_scale
        return rate[..., :channels] * (model.state_scale.scale * per), rate[..., channels:] * per

    def first(self, x: NDArray) -> NDArray:
        """m(0) (trajectory, node, message), for each node a function of its x alone."""
        return self._program.initial_message(
            self._theta, self.model.state_scale.apply(x), self._attribute
        )

    def sent(self, x: NDArray, m: NDArray, u: NDArray | None) -> NDArray:
        """Messages (..., node, message) that each node sends: m if carried, else emitted at x.

        Messages of pairs are sent by edges, so that nodes have none. ``u`` of the shape of x.
        """
        spec = self.model.spec
        if spec.family != "mpnode" or spec.messages != "emitted":
            return m
        z = self.model.state_scale.apply(x)
        scale = self.model.control_scale
        held = scale.apply(u) if spec.sender_controls and u is not None and scale else None
        return emitted(self.model.weights, z, self._attribute, spec.circular, held, spec.invariant)

    def outside(self, arrays: Arrays, *, fixed_step: bool) -> list[str]:
        """Warnings for the nodes that the model moves, where they lie outside its training data.

        The number of nodes is not compared, because other nodes are moved by other fields; the time
        step is compared with ``fixed_step`` only, because an adaptive solver chooses its own.
        """
        none = np.zeros(0)
        u, b = arrays.u, self._physical
        return self.model.trained.outside(
            self.model.features, components(arrays.x[:, 0, self.nodes]), none,
            self.graph.in_degree[self.nodes], np.diff(arrays.time) if fixed_step else none, None,
            () if u is None else components(u[:, :-1, self.nodes]),
            () if b is None else components(b[self.nodes]),
            (self.model.controls, self.model.attributes),
            self.graph.weight_or_ones[np.isin(self.graph.receiver, self.nodes)],
        )  # fmt: skip


def rk4(
    rates: Rates, z: NDArray, time: NDArray[np.float64], u: NDArray | None, substeps: int
) -> NDArray:
    """z (trajectory, time, ...) by the classical Runge-Kutta method of order 4.

    z (trajectory, ...) at time[0]; ``substeps`` equal steps per interval of ``time``; u (trajectory,
    time, ...) held over each interval, or None.
    """
    states = [z]
    with np.errstate(all="ignore"):  # a trajectory that overflows is marked by the caller
        for number, interval in enumerate(np.diff(time)):
            h, held = interval / substeps, None if u is None else u[:, number]
            for step in range(substeps):
                t = time[number] + step * h
                a = rates(t, z, held)
                b = rates(t + h / 2, z + h / 2 * a, held)
                c = rates(t + h / 2, z + h / 2 * b, held)
                d = rates(t + h, z + h * c, held)
                z = z + h / 6 * (a + 2 * b + 2 * c + d)
            states.append(z)
    return np.stack(states, axis=1)
