"""A network dataset as plain arrays, which is what engines, tasks and baselines take."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..datasets.times import rounding
from ..graph import Graph
from .node_types import NodeTypes
from .partition import Part


@dataclass(frozen=True, eq=False)
class Arrays:
    """A network dataset as plain arrays.

    ``x`` (trajectory, time, node, feature); ``time`` (time,) float64, increasing; ``graph`` any
    number of graphs of ``node`` nodes each; ``graph_of`` (trajectory,) int64, graph numbers; ``u``
    (trajectory, time, node, control) or None; ``attribute`` (node, attribute), (trajectory, node,
    attribute) where it differs by trajectory, or None; ``mask`` of
    the shape of x, True where a value is known, or None where all are. ``edge_weight`` (time, edge),
    (trajectory, time, edge) where they differ by trajectory, or None: weights that vary in time, each
    held from t_i to t_(i+1), in the order of the edges of ``graph``, whose own weights are then None.

    ``types`` of nodes of several types, whose numbers are ``graph.node_type``: a node of type t has the
    first ``types.channels[t]`` of the features, and 0 in the others, which ``mask`` counts as known; so
    with ``u`` and ``attribute``. All graphs have as many nodes of each type.

    ``part``: the nodes are the part of one process of a large graph, its own first, then their halo; None
    where this process has all.
    """

    x: NDArray
    time: NDArray[np.float64]
    graph: Graph
    graph_of: NDArray[np.int64]
    u: NDArray | None = None
    attribute: NDArray | None = None
    mask: NDArray[np.bool_] | None = None
    edge_weight: NDArray | None = None
    types: NodeTypes | None = None
    part: Part | None = None

    @property
    def of_own_nodes(self) -> Arrays:
        """The values of the nodes that are not in a halo; the graph stays as it is."""
        if self.part is None:
            return self
        own = slice(len(self.part.own))
        return replace(
            self,
            x=self.x[:, :, own],
            u=None if self.u is None else self.u[:, :, own],
            attribute=None if self.attribute is None else self.attribute[..., own, :],
            mask=None if self.mask is None else self.mask[:, :, own],
        )

    @property
    def node_type(self) -> NDArray[np.int64] | None:
        """The numbers of the types (node,) of the nodes of each graph; None for one type."""
        return self.graph[0].node_type if self.types is not None else None

    @property
    def real(self) -> NDArray[np.bool_]:
        """(node, feature): whether nodes have these features."""
        nodes, channels = self.x.shape[2:]
        if self.types is None or self.node_type is None:
            return np.ones((nodes, channels), bool)
        return np.arange(channels) < np.array(self.types.channels)[self.node_type][:, None]

    @property
    def known(self) -> NDArray:
        """x as float64; NaN where a value is missing, or a node does not have the feature."""
        out = self.x.astype(np.float64)
        if self.mask is not None:
            out[~self.mask] = np.nan
        if self.types is not None:
            out[..., ~self.real] = np.nan
        return out

    def of_each_type(self) -> list[Arrays]:
        """The nodes of each type as arrays of one type, with the edges among them."""
        if self.types is None or self.node_type is None:
            return [self]
        return [self._of_type(number) for number in range(len(self.types.names))]

    def _of_type(self, number: int) -> Arrays:
        assert self.types is not None
        here = np.flatnonzero(self.node_type == number)
        channels, controls, attributes = (
            getattr(self.types, name)[number] for name in ("channels", "controls", "attributes")
        )
        u = None if self.u is None or not controls else self.u[:, :, here, :controls]
        attribute = None
        if self.attribute is not None and attributes:
            attribute = self.attribute[..., here, :attributes]
        graphs = []
        for graph in (self.graph[i] for i in range(self.graph.graphs)):
            inside = np.isin(graph.sender, here) & np.isin(graph.receiver, here)
            sender, receiver = (
                np.searchsorted(here, each[inside]) for each in (graph.sender, graph.receiver)
            )
            # A graph has one node at least; those of a type without any have no values.
            graphs.append(Graph(sender, receiver, np.array([max(len(here), 1)])))
        mask = None if self.mask is None else self.mask[:, :, here, :channels]
        return Arrays(
            self.x[:, :, here, :channels], self.time, Graph.union(graphs), self.graph_of, u, attribute,
            mask,
        )  # fmt: skip

    @property
    def trajectories(self) -> int:
        """Number of trajectories."""
        return self.x.shape[0]

    @property
    def steps(self) -> int:
        """Number of intervals of the time grid."""
        return self.x.shape[1] - 1

    @property
    def varied(self) -> bool:
        """Whether the node attributes differ by trajectory."""
        return self.attribute is not None and self.attribute.ndim == 3

    @property
    def even(self) -> bool:
        """Whether all intervals have the same length, to rounding."""
        dt = np.diff(self.time)
        # Stamps far from zero, as seconds since 1970, are rounded by more than that.
        return bool(np.allclose(dt, dt[0], rtol=1e-6, atol=2.0 * rounding(self.time)))

    @property
    def weighted(self) -> bool:
        """Whether the edges have weights, constant or varying in time."""
        return self.graph.weight is not None or self.edge_weight is not None

    @property
    def held_weight(self) -> NDArray:
        """All weights that are used, constant or varying in time: (..., edge); 1 where there are none."""
        if self.edge_weight is None:
            return self.graph.weight_or_ones
        # The last weights are of no interval, and may be missing.
        return self.edge_weight[..., :-1, :]

    def graph_at(self, time: int, trajectory: int) -> Graph:
        """The graphs with the weights that hold from time number ``time``; at the last time those of
        the last interval."""
        if self.edge_weight is None:
            return self.graph
        weight = self.edge_weight[trajectory] if self.edge_weight.ndim == 3 else self.edge_weight
        return self.graph.with_weight(weight[min(time, self.steps - 1)])

    def select(self, index: NDArray[np.int64]) -> Arrays:
        """The trajectories of ``index``."""
        return replace(
            self,
            x=self.x[index],
            graph_of=self.graph_of[index],
            u=None if self.u is None else self.u[index],
            attribute=self.attribute[index]
            if self.attribute is not None and self.varied
            else self.attribute,
            mask=None if self.mask is None else self.mask[index],
            edge_weight=self.edge_weight[index]
            if self.edge_weight is not None and self.edge_weight.ndim == 3
            else self.edge_weight,
        )
