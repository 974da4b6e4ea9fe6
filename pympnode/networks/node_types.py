"""Nodes of several types: a dataset as one part for each type, and parts as one dataset.

The variables of nodes have the name of the type: ``state_load(trajectory, time, node_load,
feature_load)``, with the coordinates ``unit_load`` and ``node_number_load``. Nodes are numbered type
after type in the edges, in the order of the entry ``node_types`` of the record, by default that of the
variables. Types with the same features may share ``state`` and have ``node_type(node)``, the name of
the type of each node.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import arguments, text
from ..datasets.names import ATTRIBUTE as ATTRIBUTE_DIM
from ..datasets.names import (
    CONTROL,
    CONTROL_FEATURE,
    EDGE,
    NODE,
    NODE_ATTRIBUTE,
    NODE_NUMBER,
    NODE_TYPE,
    OF_TYPES,
    PREDICTED,
    RECEIVER,
    SENDER,
    STATE,
    TRAJECTORY,
    TYPE_DIMS,
    texts,
)
from ..datasets.names import FEATURE as FEATURE_DIM
from ..datasets.record import record, with_record
from ..errors import InvalidData, PympnodeError, unknown_name
from ..files.netcdf import RECORD
from .spec import TYPE_NAME

T = TypeVar("T")


@dataclass(frozen=True)
class NodeTypes:
    """Names of the types of nodes, and the numbers of features, controls and attributes of each."""

    names: tuple[str, ...]
    channels: tuple[int, ...]
    controls: tuple[int, ...]
    attributes: tuple[int, ...]

    @classmethod
    def of(cls, datasets: Sequence[xr.Dataset]) -> NodeTypes:
        """The types of some datasets, in the order in which they come; of each the widths of the
        first dataset that has it."""
        names, widths = [], []
        for ds in datasets:
            for name in types_of(ds):
                if name in names:
                    continue
                one = part(by_type(ds), name)
                names.append(name)
                widths.append(
                    (
                        one.sizes.get(FEATURE_DIM, 0),
                        one.sizes[CONTROL_FEATURE] if CONTROL in one else 0,
                        one.sizes[ATTRIBUTE_DIM] if NODE_ATTRIBUTE in one else 0,
                    )
                )
        channels, controls, attributes = (tuple(each) for each in zip(*widths, strict=True))
        return cls(tuple(names), channels, controls, attributes)

    def columns(self, widths: Sequence[int]) -> list[tuple[int, int]]:
        """(type, component) of every component of every type."""
        return [(number, column) for number, width in enumerate(widths) for column in range(width)]

    def qualified(self, names: Sequence[Sequence[str]]) -> tuple[str, ...]:
        """Names of the components of all types in one list, each as "type.name"."""
        return tuple(f"{t}.{name}" for t, of in zip(self.names, names, strict=True) for name in of)


def cut(values: Sequence[T], widths: Sequence[int]) -> list[tuple[T, ...]]:
    """One list for all types as one for each type."""
    ends = np.cumsum([0, *widths]).tolist()
    return [tuple(values[a:b]) for a, b in itertools.pairwise(ends)]


def plain_names(name: str, qualified: Sequence[str]) -> tuple[str, ...]:
    """Names "type.name" without the type."""
    return tuple(each.removeprefix(f"{name}.") for each in qualified)


# ---- types of a dataset -------------------------------------------------------------------------


def types_of(ds: xr.Dataset, variable: str = STATE) -> tuple[str, ...]:
    """Names of the types of nodes of a dataset in their order; () where all have one type.

    Raises `InvalidData` for names that cannot be used, and an order that is not that of the types.
    """
    if variable in ds:
        if NODE_TYPE not in ds or variable != STATE:
            return ()
        found = list(dict.fromkeys(_types_of_nodes(ds).tolist()))
    else:
        found = [
            str(name).removeprefix(f"{variable}_")
            for name in ds.data_vars
            if str(name).startswith(f"{variable}_")
            and f"{NODE}_{str(name).removeprefix(f'{variable}_')}" in ds[name].dims
        ]
    if not found:
        return ()
    wrong = [name for name in found if not TYPE_NAME.fullmatch(name) or _taken(name, found)]
    if wrong:
        raise InvalidData(
            "names of types of nodes are letters, digits and _, and no names of other variables",
            got=", ".join(map(repr, wrong)),
            allowed='names as "generator" or "load_2"',
            fix=f"rename the type {wrong[0]!r}",
        )
    order = record(ds).get("node_types")
    if order is None:
        return tuple(found)
    lacking = [name for name in found if name not in order]
    if lacking or len(set(order)) < len(order):
        raise InvalidData(
            "the entry node_types of the record does not order the types of nodes",
            got=", ".join(order),
            allowed=f"each of {', '.join(found)} once",
            fix="pympnode.networks.schema.with_record(ds, node_types=[...])",
        )
    # A part of the types is left where nodes were selected.
    return tuple(name for name in order if name in found)


def _taken(name: str, names: Sequence[str]) -> bool:
    """Whether variables of a type would have the names of others."""
    others = [f"{of}_{other}" for of in OF_TYPES for other in names if other != name]
    mine = {f"{of}_{name}" for of in OF_TYPES}
    return bool(mine & {*others, *OF_TYPES, NODE_TYPE, SENDER, RECEIVER})


def _types_of_nodes(ds: xr.Dataset) -> NDArray[np.str_]:
    variable = ds[NODE_TYPE]
    if variable.dims != (NODE,) or variable.dtype.kind not in "OSUT":
        raise InvalidData(
            f"{NODE_TYPE!r} holds the name of the type of each node",
            got=f"dims {variable.dims}, dtype {variable.dtype}",
            allowed=f"{NODE_TYPE}({NODE}) of text",
            fix=f'ds["{NODE_TYPE}"] = ("{NODE}", ["generator", "generator", "load"])',
        )
    return texts(variable.values)


def by_type(ds: xr.Dataset) -> xr.Dataset:
    """A dataset of several types with variables for each type; others as they are.

    Raises `InvalidData` where ``node_type(node)`` does not stand in order.
    """
    if STATE not in ds or NODE_TYPE not in ds:
        return ds
    of_node, names = _types_of_nodes(ds), types_of(ds)
    code = np.array([names.index(name) for name in of_node.tolist()])
    if np.any(np.diff(code) < 0):
        node = int(np.flatnonzero(np.diff(code) < 0)[0])
        raise InvalidData(
            "nodes stand type after type",
            got=f"node {node} of type {of_node[node]!r} before node {node + 1} of type "
            f"{of_node[node + 1]!r}",
            allowed=", then ".join(names),
            fix="pympnode.subgraph(ds, ds.node.values[np.argsort(ds.node_type.values, "
            "kind='stable')]) sorts nodes and edges; the entry node_types of the record is the order",
        )
    if NODE_NUMBER not in ds.variables:
        ds = ds.assign_coords({NODE_NUMBER: (NODE, np.arange(ds.sizes[NODE]))})
    ds_of_nodes = ds.drop_vars(NODE_TYPE)
    own = [name for name, v in ds.variables.items() if set(v.dims) & {*TYPE_DIMS}]
    others = [n for n in own if n not in OF_TYPES and n != NODE_TYPE]
    parts = {
        name: ds_of_nodes.isel({NODE: np.flatnonzero(code == number)}).rename(
            {n: f"{n}_{name}" for n in others}
        )
        for number, name in enumerate(names)
    }
    return together(ds.drop_vars([*own, NODE_TYPE], errors="ignore"), parts)


def with_shared_state(ds: xr.Dataset) -> xr.Dataset:
    """The inverse of `by_type`: ``state`` of all nodes and ``node_type(node)``."""
    names = types_of(ds)
    parts = [
        one.rename(
            {
                n: str(n).removesuffix(f"_{name}")
                for n, v in one.variables.items()
                if str(n).endswith(f"_{name}") and set(v.dims) & {*TYPE_DIMS}
            }
        )
        for name, one in ((name, part(ds, name)) for name in names)
    ]
    of_node = np.repeat(names, [one.sizes[NODE] for one in parts])
    drop = [n for n, v in ds.coords.items() if not set(v.dims) & _dims_of_types(names)]
    joined = xr.concat(
        [one.drop_vars([n for n in drop if n in one.coords]) for one in parts],
        NODE, data_vars="minimal", coords="minimal", compat="override", join="override",
    )  # fmt: skip
    joined[NODE_TYPE] = (NODE, of_node)
    return shared(ds).merge(joined, combine_attrs="override")


# ---- parts --------------------------------------------------------------------------------------


def part(ds: xr.Dataset, name: str) -> xr.Dataset:
    """The nodes of one type as a dataset of one type, without edges: ``state_load`` is ``state``."""
    dims = {f"{dim}_{name}": dim for dim in TYPE_DIMS}
    chosen = [
        n for n, v in ds.variables.items() if set(v.dims) & dims.keys() or (n in ds.coords and not (
            set(v.dims) - {TRAJECTORY, "time"}
        ))
    ]  # fmt: skip
    one = ds[chosen]
    names = {f"{of}_{name}": of for of in OF_TYPES}
    present = {*one.variables, *one.dims}
    return one.rename({a: b for a, b in names.items() if a in present})


def together(rest: xr.Dataset, parts: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """One dataset of ``rest``, what no type has of its own, and of the parts of each type."""
    out = rest
    for name, one in parts.items():
        own = [n for n, v in one.variables.items() if set(v.dims) & {*TYPE_DIMS}]
        own += [n for n in (TRAJECTORY, "time") if n in one.coords]
        one = one[own]
        present = {*one.variables, *one.dims}
        renamed = one.rename({of: f"{of}_{name}" for of in OF_TYPES if of in present})
        # Times may have been put into another unit, the same for all types.
        out = out.drop_vars([n for n in (TRAJECTORY, "time") if n in renamed.coords and n in out])
        out = out.merge(renamed, combine_attrs="override", compat="override", join="override")
    out.attrs = dict(rest.attrs)
    return with_record(out, node_types=list(parts))


def shared(ds: xr.Dataset) -> xr.Dataset:
    """A dataset without what single types have of their own: edges, times, splits, ..."""
    dims = _dims_of_types(types_of(ds))
    return ds.drop_vars([n for n, v in ds.variables.items() if set(v.dims) & dims])


def _dims_of_types(names: Sequence[str]) -> set[str]:
    return {f"{dim}_{name}" for dim in TYPE_DIMS for name in names}


def counts_of(ds: xr.Dataset) -> dict[str, int]:
    """The number of nodes of each type; {} where all have one type."""
    if NODE_TYPE in ds and STATE in ds:
        found = _types_of_nodes(ds)
        return {name: int((found == name).sum()) for name in types_of(ds)}
    return {name: int(ds.sizes[f"{NODE}_{name}"]) for name in types_of(ds)}


def count_nodes(ds: xr.Dataset) -> int:
    """The number of nodes of all types."""
    return sum(counts_of(ds).values()) or int(ds.sizes[NODE])


def node_values(ds: xr.Dataset, name: str) -> NDArray | None:
    """A coordinate of the nodes through all types, ``node`` or ``node_number``; None without it."""
    names = [f"{name}_{t}" for t in types_of(ds)] if STATE not in ds else [name]
    if not names or any(n not in ds.coords for n in names):
        return None
    return np.concatenate([ds[n].values for n in names])


def in_order(ds: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    """A dataset whose types stand in the order of ``names``, which has more or as many; nodes are
    numbered anew in its edges."""
    own, size = types_of(ds), counts_of(ds)
    order = [name for name in names if name in own]
    if tuple(order) == own:
        return ds
    starts = dict(zip(own, np.cumsum([0, *(size[name] for name in own)]).tolist()))
    old = np.concatenate([starts[name] + np.arange(size[name]) for name in order])
    anew = np.empty(len(old), np.int64)
    anew[old] = np.arange(len(old))
    parts, at = {}, 0
    for name in order:
        one = part(ds, name)
        if NODE_NUMBER in one.coords:
            number = np.arange(at, at + size[name])
            one = one.assign_coords({NODE_NUMBER: (NODE, number, one[NODE_NUMBER].attrs)})
        parts[name], at = one, at + size[name]
    rest = shared(ds)
    for end in (SENDER, RECEIVER):
        if end in rest:
            rest[end] = (EDGE, anew[rest[end].values], rest[end].attrs)
    return together(rest, parts)


def mapping_of(ds: xr.Dataset, variable: str) -> dict[str, xr.DataArray]:
    """A variable of each type that has it."""
    parts = {name: part(ds, name) for name in types_of(ds)}
    return {name: one[variable] for name, one in parts.items() if variable in one}


def refuse_types(ds: xr.Dataset, what: str) -> None:
    """Raise `InvalidData` for a dataset of several types; ``what`` takes one type, in words."""
    names = types_of(ds)
    if names:
        raise InvalidData(
            f"{what} have one type",
            got=f"nodes of the types {', '.join(names)}",
            allowed="state(trajectory, time, node, feature), without node_type",
            fix=f"pympnode.nodes_of_type(ds, {names[0]!r}) takes the nodes of one type",
        )


@arguments(name=text)
def nodes_of_type(ds: xr.Dataset, name: str) -> xr.Dataset:
    """The nodes of one type as a dataset of one type, with the edges among them.

    ds: a dataset of several types, a rollout or an evaluation of one. name: the type.
    What nodes of other types did to these is then missing, as in `pympnode.subgraph`. Variables have
    their plain names: ``state(trajectory, time, node, feature)``.
    Raises: `InvalidData` for a dataset of one type, `UnknownName`.

    >>> import numpy as np
    >>> from pympnode import from_arrays
    >>> states = {"tank": np.zeros((4, 6, 2, 1)), "pump": np.zeros((4, 6, 3, 2))}
    >>> ds = from_arrays(states, dt=0.1, edges=[(0, 1), (1, 2), (2, 3), (3, 4)])
    >>> pumps = nodes_of_type(ds, "pump")
    >>> pumps.state.shape, pumps.sender.values.tolist(), pumps.receiver.values.tolist()
    ((4, 6, 3, 2), [1, 0, 2, 1], [0, 1, 1, 2])
    """
    if not isinstance(ds, xr.Dataset):
        raise InvalidData(
            "nodes of a type are those of a dataset",
            got=type(ds).__name__,
            allowed="an xarray.Dataset",
            fix="build one with pympnode.from_arrays",
        )
    predicted = not types_of(ds)
    names = types_of(ds, PREDICTED) if predicted else types_of(ds)
    if not names:
        raise InvalidData(
            "the nodes of the dataset have one type",
            got=", ".join(map(str, ds.data_vars)),
            allowed="state_TYPE(trajectory, time, node_TYPE, feature_TYPE), or node_type(node)",
            fix="use the dataset as it is",
        )
    if name not in names:
        raise unknown_name("type of nodes", name, names)
    if predicted:
        ds = ds.rename({f"{PREDICTED}_{each}": f"{STATE}_{each}" for each in names})
    ds = by_type(ds)
    counts = counts_of(ds)
    first = sum(counts[each] for each in names[: names.index(name)])
    rest, one = shared(ds), part(ds, name)
    # Errors of an evaluation are of all types.
    rest = rest.drop_dims([dim for dim in (*TYPE_DIMS, "predictor") if dim in rest.dims])
    if SENDER in rest and RECEIVER in rest:
        ends = np.stack([rest[SENDER].values, rest[RECEIVER].values]) - first
        inside = ((ends >= 0) & (ends < counts[name])).all(axis=0)
        rest = rest.isel({EDGE: np.flatnonzero(inside)})
        for end, numbers in zip((SENDER, RECEIVER), ends[:, inside]):
            rest[end] = (EDGE, numbers, rest[end].attrs)
    one = one.assign_coords({NODE_NUMBER: (NODE, np.arange(counts[name]))})
    out = rest.merge(one, combine_attrs="override", compat="override", join="override")
    facts = {k: v for k, v in record(ds).items() if k != "node_types"}
    out.attrs = {**ds.attrs, RECORD: "{}"} if RECORD in ds.attrs else dict(ds.attrs)
    return with_record(out, **facts)


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Errors name the type of the nodes that they are about."""
    try:
        yield
    except PympnodeError as error:
        error.__init__(  # type: ignore[misc]
            f"nodes of type {name!r}: {error.message}",
            got=error.got, allowed=error.allowed, fix=error.fix,
        )  # fmt: skip
        raise


def by_type_or_refuse(what: str, values: Any, names: Sequence[str]) -> dict[str, Any]:
    """``values`` by type, {} for None. Raises `InvalidData` for what is no mapping of types."""
    if values is None:
        return {}
    if isinstance(values, xr.Dataset) or not isinstance(values, Mapping):
        shape = getattr(values, "shape", "")
        raise InvalidData(
            f"{what} of nodes of several types is given by type",
            got=f"{type(values).__name__} {shape}".strip(),
            allowed=f"a mapping with keys of {', '.join(names)}",
            fix=f"{what}={{{names[0]!r}: ...}}",
        )
    unknown = [str(name) for name in values if name not in names]
    if unknown:
        raise InvalidData(
            f"{what} names types of nodes that there are not",
            got=", ".join(unknown),
            allowed=", ".join(names),
            fix=f"give {what} for the types {', '.join(names)}",
        )
    return dict(values)
