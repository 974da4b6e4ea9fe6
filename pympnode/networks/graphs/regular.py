"""Regular topologies: complete, full, ring, path, star, grid, none."""

from __future__ import annotations

import numpy as np

from ...errors import InvalidGraph
from ...graph import Graph
from ...memory import need


def complete(nodes: int) -> Graph:
    """Every pair of different nodes."""
    _require_pairs(nodes, "complete")
    receiver, sender = np.nonzero(~np.eye(nodes, dtype=bool))
    return Graph.single(sender, receiver, nodes, source=f"complete({nodes})")


def full(nodes: int) -> Graph:
    """Every pair and every self loop (``graph = "full"`` of the public code)."""
    _require_pairs(nodes, "full")
    receiver, sender = np.nonzero(np.ones((nodes, nodes), dtype=bool))
    return Graph.single(sender, receiver, nodes, source=f"full({nodes})", self_loops=True)


def _require_pairs(nodes: int, name: str) -> None:
    need(
        49 * nodes * nodes,
        f"topology={name!r} of {nodes:,} nodes has {nodes * (nodes - 1):,} edges, which",
        fix='ask for fewer nodes=, or a topology= with fewer edges, such as ("BA", {"k": 3})',
    )


def path(nodes: int) -> Graph:
    """A line, node i joined to i + 1."""
    i = np.arange(nodes - 1)
    return Graph.from_edges(np.stack([i, i + 1], axis=1), nodes, source=f"path({nodes})")


def ring(nodes: int) -> Graph:
    """A closed line of at least three nodes."""
    if nodes < 3:
        raise InvalidGraph(
            "a ring needs three nodes", got=nodes, allowed=">= 3", fix='use topology="path"'
        )
    i = np.arange(nodes)
    return Graph.from_edges(np.stack([i, (i + 1) % nodes], axis=1), nodes, source=f"ring({nodes})")


def star(nodes: int) -> Graph:
    """Node 0 joined to every other."""
    i = np.arange(1, nodes)
    return Graph.from_edges(np.stack([0 * i, i], axis=1), nodes, source=f"star({nodes})")


def none(nodes: int) -> Graph:
    """No edges."""
    return Graph.from_edges([], nodes, source=f"none({nodes})")


def grid_shape(nodes: int) -> tuple[int, int]:
    """Rows and columns of the most square grid of that many nodes (rows <= columns)."""
    rows = max(r for r in range(1, int(nodes**0.5) + 1) if nodes % r == 0)
    return rows, nodes // rows


def grid(nodes: int, rows: int | None = None, columns: int | None = None) -> Graph:
    """A square lattice, numbered row by row; by default as square as `grid_shape`."""
    if rows is None and columns is None:
        rows, columns = grid_shape(nodes)
        if rows == 1 and nodes > 3:
            raise InvalidGraph(
                f"{nodes} nodes do not fill a grid",
                got=f"nodes={nodes}, a prime",
                allowed="a product of two numbers above 1",
                fix='change nodes=, or use topology="path" or ("grid", {"rows": 1})',
            )
    side = rows if rows is not None else columns
    if not side or side < 1 or nodes % side:
        raise InvalidGraph(
            "rows and columns of the grid must multiply to the nodes",
            got=f"rows={rows}, columns={columns}, nodes={nodes}",
            fix="choose rows that divide nodes",
        )
    rows = rows if rows is not None else nodes // side
    columns = columns if columns is not None else nodes // rows
    if rows * columns != nodes:
        raise InvalidGraph(
            "rows and columns of the grid must multiply to the nodes",
            got=f"{rows} x {columns}, nodes={nodes}",
        )
    number = np.arange(nodes).reshape(rows, columns)
    across = np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()], axis=1)
    down = np.stack([number[:-1].ravel(), number[1:].ravel()], axis=1)
    return Graph.from_edges(np.concatenate([across, down]), nodes, source=f"grid({rows}x{columns})")
