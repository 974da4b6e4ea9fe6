"""Columns: the feature-major layout in which the kernels compute.

A batch may hold several graphs of different size. Every (node, trajectory) pair is one column of a
matrix (features, columns), so that a layer of the network is one product of a small matrix with a
wide one. The trajectories of one graph form a block: column = block offset + node * width + t, with
``width`` the number of that block's trajectories. A message sum then adds contiguous rows of
``width`` numbers, one per edge: with the trajectory as the fastest index no number is gathered alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...graph import Graph

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns of the nodes of a batch, and the senders to each node.

    ``nodes``, ``width``, ``offset`` (blocks,): nodes per graph, trajectories in the block, first
    column. ``order`` (trajectories,): position in the batch of each trajectory of the blocks, block
    after block. ``first_row`` (blocks + 1,): rows of ``pointer``/``degree`` that belong to a block
    (one row per node). ``pointer`` (rows + 1,): edges of a row in ``sender``.
    ``sender`` (edges,): sending node, numbered within its graph. ``degree`` (rows,). ``weight``
    (edges,), ``attribute`` (edges, attribute) and ``delay`` (edges,) of the graph's edges, or None.
    ``edge`` (edges,): number of each edge in the graph that the columns were arranged from.
    ``node_type`` (rows,): type of each row, ascending within a block, or None.
    """

    nodes: Ints
    width: Ints
    offset: Ints
    order: Ints
    first_row: Ints
    pointer: Ints
    sender: Ints
    weight: NDArray[np.float64] | None = None
    attribute: NDArray[np.float64] | None = None
    edge: Ints | None = None
    node_type: Ints | None = None
    delay: NDArray[np.float64] | None = None

    @classmethod
    def arrange(cls, graph: Graph, graph_of: Ints) -> Columns:
        """Lay out a batch whose trajectory b lives on graph number ``graph_of[b]`` of ``graph``."""
        graph_of = np.asarray(graph_of, dtype=np.int64)
        # Stable: trajectories of one graph keep their order, and a batch of a single graph needs no
        # gather (see `window.to_columns`).
        order = np.argsort(graph_of, kind="stable").astype(np.int64)
        used, width = np.unique(graph_of, return_counts=True)
        nodes = np.asarray(graph.nodes, dtype=np.int64)[used]
        offset = np.concatenate([[0], np.cumsum(nodes * width)]).astype(np.int64)
        first_row = np.concatenate([[0], np.cumsum(nodes)]).astype(np.int64)
        degree = np.bincount(graph.receiver, minlength=int(np.sum(graph.nodes)))
        senders, degrees, edges = [], [], []
        for number in used:
            node0, node1 = graph.node_offset[number], graph.node_offset[number + 1]
            edge0, edge1 = graph.edge_offset[number], graph.edge_offset[number + 1]
            senders.append(graph.sender[edge0:edge1] - node0)
            edges.append(np.arange(edge0, edge1, dtype=np.int64))
            degrees.append(degree[node0:node1])
        pointer = np.concatenate([[0], np.cumsum(np.concatenate(degrees))]).astype(np.int64)
        sender = np.concatenate(senders).astype(np.int64)
        edge = np.concatenate(edges)
        weight = None if graph.weight is None else graph.weight[edge]
        attribute = None if graph.attribute is None else graph.attribute[edge]
        delay = None if graph.delay is None else graph.delay[edge]
        width = width.astype(np.int64)
        types = None
        if graph.node_type is not None:
            types = np.concatenate(
                [graph.node_type[graph.node_offset[n] : graph.node_offset[n + 1]] for n in used]
            )
        return cls(
            nodes, width, offset[:-1], order, first_row, pointer, sender, weight, attribute, edge,
            types,
            delay,
        )  # fmt: skip

    @cached_property
    def total(self) -> int:
        """Number of columns."""
        return int(np.sum(self.nodes * self.width))

    @cached_property
    def degree(self) -> Ints:
        """Number of neighbours that send to each row."""
        return np.diff(self.pointer)

    def edge_weight(self, aggregation: str, divisor: float) -> NDArray[np.float64]:
        """The factor of each edge: its weight, over the receiver's number of edges (mean), the divisor
        (sum) or 1 (max). Never over the sum of the weights, which may vanish."""
        if aggregation == "max":
            factor = np.ones(len(self.sender))
        elif aggregation == "mean":
            # The maximum only avoids a division by zero: a node without neighbours has no edge to weight.
            factor = np.repeat(1.0 / np.maximum(self.degree, 1), self.degree)
        else:
            factor = np.full(len(self.sender), 1.0 / divisor)
        return factor if self.weight is None else factor * self.weight

    def blocks(self) -> list[tuple[int, int, int, int]]:
        """(nodes, width, first column, first row) of every block."""
        return [
            (int(n), int(w), int(o), int(r))
            for n, w, o, r in zip(self.nodes, self.width, self.offset, self.first_row)
        ]

    @cached_property
    def column_type(self) -> Ints:
        """Type of the node of each column (S,)."""
        assert self.node_type is not None
        return np.repeat(self.node_type, np.repeat(self.width, self.nodes))

    @cached_property
    def by_type(self) -> Ints:
        """Column numbers (S,) in the order of the types of their nodes."""
        return np.argsort(self.column_type, kind="stable")

    @cached_property
    def place_by_type(self) -> Ints:
        """Place of each column (S,) in `by_type`."""
        place = np.empty(self.total, np.int64)
        place[self.by_type] = np.arange(self.total)
        return place

    def type_offsets(self, types: int) -> Ints:
        """First place in `by_type` of each of ``types`` types, and the number of columns."""
        counts = np.bincount(self.column_type, minlength=types)
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @cached_property
    def receiver(self) -> Ints:
        """Receiving node of each edge, numbered within its graph (edges,)."""
        row = np.repeat(np.arange(len(self.degree)), self.degree)
        return row - np.repeat(self.first_row[:-1], self.nodes)[row]

    def block_edges(self) -> list[slice]:
        """The edges of every block."""
        return [
            slice(int(self.pointer[row]), int(self.pointer[row + nodes]))
            for nodes, _, _, row in self.blocks()
        ]

    def matrices(self, aggregation: str, divisor: float) -> list[NDArray[np.float64]]:
        """The aggregation of each block as a dense (node k, node j) matrix."""
        weight = self.edge_weight(aggregation, divisor)
        dense = []
        for nodes, _, _, row in self.blocks():
            matrix = np.zeros((nodes, nodes))
            start, stop = self.pointer[row], self.pointer[row + nodes]
            receiver = np.repeat(np.arange(nodes), self.degree[row : row + nodes])
            # Parallel edges add up; an assignment would keep the last of them.
            np.add.at(matrix, (receiver, self.sender[start:stop]), weight[start:stop])
            dense.append(matrix)
        return dense
