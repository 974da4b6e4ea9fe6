"""The nodes of one large graph divided among processes: which process has which, and what each needs.

A process has its own nodes and all edges into them. The nodes of other processes that send along these
edges are its halo: what they send is received at each evaluation of the field (see
`engines.torch.kernel_torch.halo`), so that a small halo means little to send. On a graph in space (a mesh, a
grid, sensors) it is the boundary of the part. On a graph with hubs or long links (BA, ER) it is nearly all
other nodes, whatever the division.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineUnavailable, InvalidOption, one_line, shown_value, unknown_name
from ..graph import Graph
from ..training.group import Group, gathered, share

Ints = NDArray[np.int64]

METHODS = ("auto", "metis", "blocks")
_SMALL = 0.05  # share of a process's nodes that a halo may be before METIS is tried


@dataclass(frozen=True, eq=False)
class Part:
    """The nodes of one process, and its halo.

    ``nodes``: of the whole graph. ``own`` and ``halo``: numbers of nodes in the whole graph, those of the
    halo process by process. In local numbers the own nodes come first, the halo after them. ``edges``:
    positions of the edges into own nodes among all edges, ``sender`` and ``receiver`` their ends in local
    numbers. ``needed``: by process, the local numbers of own nodes that it has in its halo; ``lent``: by
    process, where its nodes stand in local numbers. ``most``: own nodes and halo of the process that has
    most.
    """

    group: Group
    nodes: int
    own: Ints
    halo: Ints
    edges: Ints
    sender: Ints
    receiver: Ints
    needed: dict[int, Ints]
    lent: dict[int, slice]
    most: int

    @cached_property
    def numbers(self) -> Ints:
        """Numbers in the whole graph of own nodes and halo."""
        return np.concatenate([self.own, self.halo])

    @cached_property
    def halo_share(self) -> float:
        """The largest halo of a process over the number of its own nodes."""
        counts = gathered(self.group, np.array([len(self.halo), len(self.own)], float))
        return float((counts[:, 0] / counts[:, 1]).max())

    def of_all(self, values: NDArray) -> NDArray[np.float64]:
        """One number per node of the whole graph, from ``values`` of the own nodes of each process."""
        every = np.zeros(self.nodes)
        every[self.own] = values
        return self.group.sum(every)

    def span(self, low: NDArray, high: NDArray) -> tuple[NDArray, NDArray]:
        """The smallest of ``low`` and the largest of ``high`` over all processes."""
        lows, highs = (gathered(self.group, np.asarray(each, float)) for each in (low, high))
        return lows.min(axis=0), highs.max(axis=0)


def partition_nodes(
    graph: Graph | tuple[Any, Any, int], parts: int, method: str = "auto"
) -> NDArray[np.int32]:
    """The process (node,) of each node, 0 to ``parts`` - 1.

    graph: one graph, or (sender, receiver, number of nodes). method: "blocks", consecutive nodes, as even
    as can be; "metis", few edges between parts (needs the package pymetis); "auto", blocks where their
    halo is at most a twentieth of the nodes, else METIS where it is installed and its halo is smaller.
    Raises `InvalidOption`, `UnknownName`, `EngineUnavailable`.

    >>> partition_nodes(([0, 1, 2], [1, 2, 3], 4), 2, "blocks")
    array([0, 0, 1, 1], dtype=int32)
    """
    if method not in METHODS:
        raise unknown_name("method of a partition", method, METHODS)
    if isinstance(graph, Graph):
        sender, receiver, nodes = graph.sender, graph.receiver, graph.total_nodes
    else:
        sender, receiver, nodes = np.asarray(graph[0]), np.asarray(graph[1]), int(graph[2])
    if not 1 <= parts <= nodes:
        raise InvalidOption(
            "every process needs a node",
            got=f"{parts} processes, {nodes} nodes",
            allowed=f"1 to {nodes} processes",
            fix="start fewer processes",
        )
    if method == "metis":
        return _metis(sender, receiver, nodes, parts)
    blocks = blocks_of(nodes, parts)
    if method == "blocks" or halo_share(blocks, sender, receiver, parts) <= _SMALL:
        return blocks
    try:
        found = _metis(sender, receiver, nodes, parts)
    except EngineUnavailable:
        return blocks
    shares = [halo_share(each, sender, receiver, parts) for each in (blocks, found)]
    return found if shares[1] < shares[0] else blocks


def halo_share(owner: NDArray, sender: NDArray, receiver: NDArray, parts: int) -> float:
    """The largest halo of a part over the number of its own nodes; ``owner`` as `partition_nodes` gives."""
    across = owner[sender] != owner[receiver]
    pairs = np.unique(owner[receiver[across]].astype(np.int64) * len(owner) + sender[across])
    halo = np.bincount(pairs // len(owner), minlength=parts)
    return float((halo / np.bincount(owner, minlength=parts)).max())


def blocks_of(nodes: int, parts: int) -> NDArray[np.int32]:
    """The part (node,) of each node where parts are consecutive nodes."""
    owner = np.empty(nodes, np.int32)
    for rank in range(parts):
        owner[share(nodes, rank, parts)] = rank
    return owner


def _metis(sender: NDArray, receiver: NDArray, nodes: int, parts: int) -> NDArray[np.int32]:
    from scipy.sparse import coo_array

    try:
        import pymetis
    except ImportError as error:
        raise EngineUnavailable(
            'partition="metis" needs the package pymetis',
            got=one_line(error),
            allowed="pymetis installed beside pympnode",
            fix="pip install pymetis, or partition='blocks' with nodes numbered in space",
        ) from error
    apart = sender != receiver
    ends = sender[apart], receiver[apart]
    one = coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(nodes, nodes)).tocsr()
    both = (one + one.T).tocsr()
    if hasattr(pymetis, "CSRAdjacency"):  # from 2025.1 on
        adjacency = pymetis.CSRAdjacency(both.indptr, both.indices)
        _, owner = pymetis.part_graph(parts, adjacency)
    else:
        _, owner = pymetis.part_graph(parts, xadj=both.indptr, adjncy=both.indices)
    owner = np.asarray(owner, np.int32)
    if len(np.unique(owner)) < parts:  # METIS leaves parts of tiny graphs empty
        return blocks_of(nodes, parts)
    return owner


def check_partition(name: str, value: Any) -> Any:
    """A method, or a process (node,) for each node. Raises `InvalidOption`, `UnknownName`."""
    if value is None:
        return None
    if isinstance(value, str):
        if value not in METHODS:
            raise unknown_name(name, value, METHODS)
        return value
    try:
        array = np.asarray(value)
    except Exception as error:  # whatever the conversion of a user's object raises
        raise _no_partition(name, value) from error
    if array.ndim != 1 or array.dtype.kind not in "iu" or not array.size:
        raise _no_partition(name, value)
    return array.clip(-1, 2**31 - 1).astype(np.int32)


def _no_partition(name: str, value: Any) -> InvalidOption:
    return InvalidOption(
        f"{name} is a method, or the process of each node",
        got=shown_value(value, 80),
        allowed=f"{', '.join(METHODS)}, or whole numbers (node,)",
        fix='give partition="auto"',
    )


def owners(
    choice: str | NDArray, nodes: int, edges: Iterator[tuple[NDArray, NDArray]], group: Group
) -> NDArray[np.int32]:
    """The process (node,) of each node, the same in all processes.

    choice: see `check_partition`. edges: senders and receivers, some at a time, which the first process
    reads where they decide. Raises `InvalidOption`.
    """
    parts = group.size
    if isinstance(choice, str) and (choice == "blocks" or parts == 1):
        return partition_nodes((np.zeros(0, int), np.zeros(0, int), nodes), parts, "blocks")
    owner = np.zeros(nodes, np.int32)
    if not isinstance(choice, str):
        if choice.shape != (nodes,) or set(np.unique(choice)) != set(range(parts)):
            raise InvalidOption(
                "the partition does not fit the graph and the processes",
                got=f"shape {choice.shape}, numbers {choice.min()} to {choice.max()}",
                allowed=f"({nodes},), each number from 0 to {parts - 1} at least once",
                fix='give partition="auto", or one number for each node',
            )
        owner = choice
    elif group.rank == 0:
        each = list(edges)
        sender, receiver = (np.concatenate(ends) for ends in zip(*each, strict=True))
        owner = partition_nodes((sender, receiver, nodes), parts, choice)
    return group.of_first(np.asarray(owner, np.int32))


def part_of(
    owner: NDArray[np.int32], edges: Iterator[tuple[NDArray, NDArray]], group: Group
) -> Part:
    """This process's `Part`; ``owner``: the process (node,) of each node; ``edges`` as in `owners`.

    Every process calls it: each asks the others for the nodes of its halo.
    """
    nodes, rank = len(owner), group.rank
    own = np.flatnonzero(owner == rank).astype(np.int64)
    places, senders, receivers, at = [], [], [], 0
    for sender, receiver in edges:
        here = np.flatnonzero(owner[receiver] == rank)
        places.append(at + here)
        senders.append(sender[here].astype(np.int64))
        receivers.append(receiver[here].astype(np.int64))
        at += len(receiver)
    place, sender, receiver = (
        np.concatenate(each) if each else np.zeros(0, np.int64)
        for each in (places, senders, receivers)
    )
    del places, senders, receivers
    foreign = np.zeros(nodes, bool)
    foreign[sender] = True
    foreign[own] = False
    halo = np.flatnonzero(foreign).astype(np.int64)
    halo = halo[np.argsort(owner[halo], kind="stable")]
    local = np.full(nodes, -1, np.int64)
    local[own] = np.arange(len(own))
    local[halo] = len(own) + np.arange(len(halo))
    ends = np.searchsorted(owner[halo], np.arange(group.size + 1))
    lent = {
        other: slice(len(own) + int(ends[other]), len(own) + int(ends[other + 1]))
        for other in range(group.size)
        if ends[other + 1] > ends[other]
    }
    counts = gathered(group, np.diff(ends).astype(float)).astype(int)  # (process, of process)
    needed = {
        other: np.empty(counts[other, rank], np.int64)
        for other in range(group.size)
        if counts[other, rank]
    }
    group.exchange(
        {o: halo[where.start - len(own) : where.stop - len(own)] for o, where in lent.items()},
        needed,
    )
    most = int(gathered(group, np.array([float(len(own) + len(halo))])).max())
    return Part(
        group, nodes, own, halo, place, local[sender], local[receiver],
        {other: local[numbers] for other, numbers in needed.items()}, lent, most,
    )  # fmt: skip
