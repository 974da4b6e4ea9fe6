"""A network dataset divided among processes: each reads the part of its own nodes and their halo."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import (
    EDGE,
    EDGE_GRAPH,
    GRAPH,
    NODE,
    NODE_NUMBER,
    RECEIVER,
    SENDER,
    STATE,
    TRAJECTORY,
)
from ..datasets.record import record
from ..datasets.split import data_fingerprint
from ..errors import InvalidData
from ..training.group import Group
from .node_types import types_of
from .partition import Part, owners, part_of

_BLOCK = 1 << 20  # edges that are read at a time
_BLOCK_BYTES = 1 << 26  # of one variable that are read at a time


def divide(ds: xr.Dataset, choice: str | NDArray, group: Group) -> tuple[xr.Dataset, Part]:
    """The dataset of this process's own nodes, its halo after them, and the edges into own nodes.

    ds: a dataset of one graph and one type of nodes, opened lazily where it is large: of each variable only
    what this process needs is read, some at a time. choice: see `partition.check_partition`. Every process
    calls it with the same dataset. Raises `InvalidData`, `InvalidOption`.
    """
    nodes = _checked(ds)
    owner = owners(choice, nodes, _edges(ds), group)
    part = part_of(owner, _edges(ds), group)
    variables: dict[Any, xr.Variable] = {}
    for name, variable in ds.variables.items():
        for dim, index in ((NODE, part.numbers), (EDGE, part.edges)):
            if dim in variable.dims:
                values = _selected(variable, dim, index)
                variable = xr.Variable(variable.dims, values, variable.attrs)
        if "source_node" not in variable.dims:  # pairs of nodes as a matrix: of small systems
            variables[name] = xr.Variable(variable.dims, variable.values, variable.attrs)
    if SENDER in ds:
        for name, ends in ((SENDER, part.sender), (RECEIVER, part.receiver)):
            variables[name] = xr.Variable(EDGE, ends, ds[name].attrs)
    ds.close()  # xarray opens the file again where it is read again
    numbers = np.arange(len(part.numbers))
    attrs = ds[NODE_NUMBER].attrs if NODE_NUMBER in ds.variables else {}
    variables[NODE_NUMBER] = xr.Variable(NODE, numbers, attrs)
    if NODE not in variables:
        variables[NODE] = xr.Variable(NODE, part.numbers)
    coords = {name: variables.pop(name) for name in [*variables] if name in ds.coords}
    coords |= {name: variables.pop(name) for name in (NODE, NODE_NUMBER) if name in variables}
    return xr.Dataset(variables, coords=coords, attrs=ds.attrs), part


def fingerprint_of_parts(ds: xr.Dataset, part: Part, split: float, seed: int) -> dict[str, Any]:
    """`data_fingerprint` of the whole dataset, from the part ``ds`` of each process; it is the same in any
    number of processes."""
    of_parts = [n for n, v in ds.variables.items() if {NODE, EDGE} & set(v.dims)]
    rest = ds.drop_vars(of_parts)
    if TRAJECTORY not in rest.dims:
        rest = rest.assign_coords({TRAJECTORY: np.arange(ds.sizes[TRAJECTORY])})
    found = data_fingerprint([rest], split, seed)
    number = part.numbers[: len(part.own)]
    # An edge has the key of its ends in the whole graph: its place in the dataset does not count.
    edge = part.numbers[part.sender] * part.nodes + part.numbers[part.receiver]
    words = [found["sha256"]]
    for name in sorted(map(str, of_parts)):
        variable = ds[name].variable
        if name in (SENDER, RECEIVER, NODE_NUMBER) or variable.dtype.kind not in "biuf":
            continue
        dim, keys = (NODE, number) if NODE in variable.dims else (EDGE, edge)
        rows = np.moveaxis(variable.values, variable.dims.index(dim), 0)[: len(keys)]
        words.append(f"{name} {_total(rows, keys, part.group)}")
    words.append(f"edges {_total(np.zeros((len(edge), 0)), edge, part.group)}")
    return {**found, "sha256": hashlib.sha256(" ".join(words).encode()).hexdigest()}


_ODD = np.uint64(0x9E3779B97F4A7C15)


def _total(rows: NDArray, keys: NDArray[np.int64], group: Group) -> int:
    """A checksum of rows with their keys, in whatever order and processes they are: a sum of hashes."""
    total = _mixed(keys.astype(np.uint64) + _ODD)
    for number, column in enumerate(rows.reshape(len(rows), -1).T):
        bits = np.ascontiguousarray(column, np.float64).view(np.uint64)
        total = total + _mixed(bits ^ _mixed(keys.astype(np.uint64) * _ODD + np.uint64(number)))
    mine = int(total.sum(dtype=np.uint64))
    pieces = np.array([float(mine >> shift & 0xFFFF) for shift in (0, 16, 32, 48)])
    return sum(int(each) << 16 * i for i, each in enumerate(group.sum(pieces))) % 2**64


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea & Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _checked(ds: xr.Dataset) -> int:
    """The number of nodes. Raises `InvalidData` for a dataset whose nodes are not divided."""
    problem = None
    if types_of(ds) or STATE not in ds or NODE not in ds.dims:
        problem = "nodes of several types" if types_of(ds) else "no state(..., node, feature)"
    elif int(record(ds).get("graphs", 1)) > 1 or (GRAPH in ds and ds[GRAPH].values.any()):
        problem = "several graphs"
    elif EDGE_GRAPH in ds and any(block.any() for block in _blocks(ds, EDGE_GRAPH)):
        problem = "several graphs"
    elif (
        NODE_NUMBER in ds.variables and (ds[NODE_NUMBER].values != np.arange(ds.sizes[NODE])).any()
    ):
        problem = "nodes that were selected or sorted"
    if problem is not None:
        raise InvalidData(
            "the nodes of this dataset are not divided among processes",
            got=problem,
            allowed="one graph with one type of nodes, numbered as its edges say",
            fix="leave partition out; pympnode.subgraph numbers the edges of selected nodes anew",
        )
    return int(ds.sizes[NODE])


def _blocks(ds: xr.Dataset, name: str) -> Iterator[NDArray]:
    variable = ds[name].variable
    for start in range(0, variable.sizes[EDGE], _BLOCK):
        yield variable.isel({EDGE: slice(start, start + _BLOCK)}).values


def _edges(ds: xr.Dataset) -> Iterator[tuple[NDArray, NDArray]]:
    """Senders and receivers of all edges, some at a time."""
    if SENDER not in ds:
        yield np.zeros(0, np.int64), np.zeros(0, np.int64)
        return
    yield from zip(_blocks(ds, SENDER), _blocks(ds, RECEIVER), strict=True)


def _selected(variable: xr.Variable, dim: Any, index: NDArray[np.int64]) -> NDArray:
    """The values at positions ``index`` of ``dim``, read in blocks of consecutive ones: files read
    scattered positions one by one."""
    axis = variable.dims.index(dim)
    shape = [*variable.shape]
    each = max(1, int(np.prod(shape[:axis] + shape[axis + 1 :])) * variable.dtype.itemsize)
    block = max(1, _BLOCK_BYTES // each)
    order = np.argsort(index, kind="stable")
    ascending = index[order]
    shape[axis] = len(index)
    out = np.empty(shape, variable.dtype)
    at = 0
    while at < len(index):
        first = int(ascending[at])
        stop = int(np.searchsorted(ascending, first + block))
        values = variable.isel({dim: slice(first, int(ascending[stop - 1]) + 1)}).values
        chosen = np.take(values, ascending[at:stop] - first, axis=axis)
        out[(slice(None),) * axis + (order[at:stop],)] = chosen
        at = stop
    return out
