"""``LabelledGraph``: a graph with the names of its nodes and the weights of its edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...edge_values import (
    AdjacencyConvention,
    DuplicateEdges,
    check_convention,
    check_duplicates,
    unless_ones,
)
from ...errors import InvalidGraph, InvalidOption, unknown_name
from ...graph import Graph
from ...training.ranges import interval, warn_user

SELF_LOOPS = ("error", "drop", "keep")
Label = int | str


@dataclass(frozen=True, eq=False)
class LabelledGraph:
    """One graph with the weights of its edges, and the names of its nodes.

    graph: the `Graph`; node i is ``labels[i]``. Its ``weight`` is None where the source has none.
    labels: a whole number or a text for each node, as the source has them.

    ``topology=read`` passes it on: nodes are matched to the data by their labels. ``read.graph``
    alone has no labels, and the nodes of the data have to be in the order of ``labels``.
    """

    graph: Graph
    labels: tuple[Label, ...]

    @property
    def weight(self) -> NDArray[np.float64] | None:
        """float64 (edges,), the weights of ``graph``; None where the source has none."""
        return self.graph.weight

    def __repr__(self) -> str:
        names = ", ".join(map(repr, self.labels[:3])) + (", ..." if len(self.labels) > 3 else "")
        weights = "none" if self.weight is None else _range(self.weight)
        return f"LabelledGraph({self.graph!r}, labels {names}, weights {weights})"


@dataclass(frozen=True, eq=False)
class RawGraph:
    """Edges as a source lists them: the input of `assemble`.

    sender, receiver: int64 (edges,), numbers of ``labels``. weight: (edges,) or None. directed:
    whether an edge is one direction; else each stands for both. named: whether labels are names of
    the source, and not numbers that were counted. lists_nodes: whether it names nodes without edges.
    """

    sender: NDArray[np.int64]
    receiver: NDArray[np.int64]
    labels: list[Label]
    weight: Any
    directed: bool
    source: str
    named: bool = True
    lists_nodes: bool = False


def assemble(
    raw: RawGraph,
    *,
    nodes: int | Sequence[Any] | NDArray | None,
    first_node: int | None,
    self_loops: str,
    duplicate_edges: DuplicateEdges = "sum",
    adjacency_convention: AdjacencyConvention = "sender_first",
) -> LabelledGraph:
    """The graph of the edges; warns of parallel edges, which are merged."""
    check_duplicates(duplicate_edges)
    check_convention(adjacency_convention)
    if adjacency_convention == "receiver_first":
        if "adjacency" not in raw.source:
            raise InvalidOption(
                "adjacency_convention= belongs to matrices",
                got=f"adjacency_convention={adjacency_convention!r} with {raw.source}",
                fix="leave adjacency_convention= out",
            )
        raw = replace(raw, sender=raw.receiver, receiver=raw.sender)
    if self_loops not in SELF_LOOPS:
        raise unknown_name("self_loops", self_loops, SELF_LOOPS)
    raw = _ordered(replace(raw, labels=whole_numbers(raw.labels)), nodes, first_node)
    sender, receiver, count = raw.sender, raw.receiver, len(raw.labels)
    weight = None if raw.weight is None else _weights(raw.weight, sender.size)
    loops = sender == receiver
    if loops.any() and self_loops != "keep":
        if self_loops == "error":
            raise InvalidGraph(
                "the graph has self loops",
                got=f"{int(loops.sum())}, the first at node {raw.labels[int(sender[loops][0])]!r}",
                allowed='self_loops="drop" or self_loops="keep"',
                fix='self_loops="drop" leaves them out',
            )
        sender, receiver = sender[~loops], receiver[~loops]
        weight = None if weight is None else weight[~loops]
        loops = loops[~loops]
    if not raw.directed:  # a loop is its own reverse
        sender, receiver = (
            np.concatenate([sender, receiver[~loops]]),
            np.concatenate([receiver, sender[~loops]]),
        )
        weight = None if weight is None else np.concatenate([weight, weight[~loops]])
    key, at, first, times = np.unique(
        receiver * count + sender, return_index=True, return_inverse=True, return_counts=True
    )
    merged = int(times.sum() - times.size)
    if merged and duplicate_edges == "error":
        raise InvalidGraph(
            "edges stand twice",
            got=f"{merged} of {times.sum()} directed edges are parallel to another one",
            allowed="each edge once",
            fix='duplicate_edges="sum" adds their weights (1 where there are none), "first" takes the '
            "first of each",
        )
    if merged and duplicate_edges == "first":
        weight = None if weight is None else weight[at]
    elif merged:
        warn_user(
            f"{merged} of {times.sum()} directed edges are parallel to another one, and are merged: "
            + ("weight holds how many there were" if weight is None else "their weights are summed")
        )
        weight = np.bincount(first, weights=weight, minlength=times.size).astype(np.float64)
    elif weight is not None:
        weight = np.bincount(first, weights=weight, minlength=times.size).astype(np.float64)
    zeros = 0 if weight is None else int((weight == 0).sum())
    if zeros:
        # pandapower 3.5, create_nxgraph: weights are lengths in km, 0 for transformers and switches.
        warn_user(
            f"{zeros} of {times.size} directed edges have weight 0, by which messages are multiplied; "
            "weight=False leaves weights out, and a net of pandapower is read itself, not its graph"
        )
    graph = Graph.single(
        key % count,
        key // count,
        count,
        source=raw.source,
        self_loops=self_loops == "keep",
        weight=unless_ones(weight),
    )
    return LabelledGraph(graph, tuple(raw.labels))


def whole_numbers(labels: Sequence[Any]) -> list[Label]:
    """Labels as whole numbers where all of them are, else as text.

    "7" and 7.0 are the number 7; "007" is a text, since a code (of a county, say) keeps its zeros.
    """
    numbers: list[Label] = []
    for label in labels:
        if isinstance(label, str):
            digits = label.strip()
            sign = digits.removeprefix("-")
            if not (sign.isascii() and sign.isdigit() and str(int(digits)) == digits):
                break
            numbers.append(int(digits))
        elif isinstance(label, int | np.integer) and not isinstance(label, bool):
            numbers.append(int(label))
        elif isinstance(label, float | np.floating) and float(label).is_integer():
            numbers.append(int(label))  # igraph 1.0 gives the ids of a GML file as floats
        else:
            break
    else:
        return numbers
    return [str(label) for label in labels]


def _ordered(raw: RawGraph, nodes: Any, first_node: int | None) -> RawGraph:
    """``raw`` with its nodes in the order of ``nodes``, of their numbers, or as they came."""
    labels = raw.labels
    if len(set(labels)) != len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise InvalidGraph(
            "two nodes have one name", got=repr(twice), allowed="a name for each node"
        )
    numbers = bool(labels) and all(isinstance(label, int) for label in labels)
    if nodes is not None and not isinstance(nodes, int | np.integer):
        wanted = whole_numbers(np.asarray(nodes).tolist())
        if not raw.named and len(wanted) == len(labels):
            return replace(raw, labels=wanted)  # names for nodes that have only numbers
        return _renumbered(raw, wanted)
    if numbers and nodes is not None and raw.named:
        low, high = min(labels), max(labels)  # type: ignore[type-var]
        return _renumbered(raw, _all_numbers(int(nodes), low, high, first_node))
    if nodes is not None and int(nodes) != len(labels):
        raise InvalidGraph(
            "the graph has another number of nodes than nodes=",
            got=f"{len(labels)} names",
            allowed=int(nodes),
            fix="pass the names of all nodes as nodes=, with those that have no edge",
        )
    if not numbers:
        return raw
    in_order = sorted(labels)  # type: ignore[type-var]
    gaps = in_order[-1] - in_order[0] + 1 - len(in_order)  # type: ignore[operator]
    if gaps and raw.named and not raw.lists_nodes:
        warn_user(
            f"the numbers of the nodes, {in_order[0]} to {in_order[-1]}, leave out {gaps}, which are "
            "no nodes of the graph; pass nodes= if they are nodes without edges"
        )
    return _renumbered(raw, in_order)


def _all_numbers(nodes: int, low: Any, high: Any, first_node: int | None) -> list[Label]:
    if nodes < 1:
        raise InvalidOption("nodes must be a whole number", got=nodes, allowed=">= 1")
    first = first_node
    if first is None:
        fits = [first for first in (0, 1) if first <= low and high < first + nodes]
        if low == 0 or high == nodes:
            fits = fits[:1] if low == 0 else fits[-1:]
        if len(fits) == 2:
            raise InvalidGraph(
                "the numbers of the nodes may begin at 0 or at 1",
                got=f"numbers from {low} to {high}, nodes={nodes}",
                allowed="first_node=0 or first_node=1",
                fix="say which, as the source of the data has it",
            )
        first = fits[0] if fits else 0
    if low < first or high >= first + nodes:
        raise InvalidGraph(
            "an edge's end is not a node",
            got=f"numbers from {low} to {high}",
            allowed=f"{first} to {first + nodes - 1}: nodes={nodes}, first_node={first}",
            fix="pass a larger nodes=, or the names of all nodes as nodes=",
        )
    return list(range(first, first + nodes))


def _renumbered(raw: RawGraph, wanted: list[Label]) -> RawGraph:
    labels: list[Label] = raw.labels
    if {type(one) for one in wanted} != {type(one) for one in labels}:
        wanted, labels = [str(one) for one in wanted], [str(one) for one in labels]
    number = {label: i for i, label in enumerate(wanted)}
    if len(number) != len(wanted):
        raise InvalidGraph("nodes= names a node twice", got=len(wanted), allowed=len(number))
    missing = [label for label in labels if label not in number]
    if missing:
        raise InvalidGraph(
            "the graph has nodes that nodes= does not name",
            got=f"{len(missing)}: {', '.join(map(repr, missing[:4]))}",
            allowed=f"{', '.join(map(repr, wanted[:4]))}{', ...' if len(wanted) > 4 else ''}",
            fix="names are compared as text; correct their spelling, or leave these nodes out of the "
            "graph",
        )
    place = np.array([number[label] for label in labels], np.int64)
    return replace(raw, sender=place[raw.sender], receiver=place[raw.receiver], labels=list(wanted))


def _weights(values: Any, edges: int) -> NDArray[np.float64]:
    try:
        array = np.asarray(values)
        if array.dtype.kind == "c":
            raise ValueError("complex numbers")
        weight = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidGraph(
            "a weight of an edge is not a number",
            got=str(error).splitlines()[0][:120],
            allowed="a real number for each edge",
            fix="weight=False leaves weights out; weight= names another attribute or column",
        ) from error
    if weight.shape != (edges,) or not np.all(np.isfinite(weight)):
        bad = int((~np.isfinite(weight)).sum())
        raise InvalidGraph(
            "an edge has no weight" if bad else "weights do not fit the edges",
            got=f"{bad} of {weight.size} are not finite" if bad else f"shape {weight.shape}",
            allowed=f"{edges} finite numbers",
            fix="fill them in or drop these edges; weight=False leaves weights out",
        )
    return weight


def _range(weight: NDArray[np.float64]) -> str:
    if weight.size == 0:
        return "none"
    negative = int((weight < 0).sum())
    text = interval(float(weight.min()), float(weight.max()))
    return text + (f", {negative} of {weight.size} negative" if negative else "")
