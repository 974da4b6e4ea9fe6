"""Weights and attributes of edges: checks, parallel edges, and what a source's edges hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .config import label, names_of, one_of
from .errors import InvalidGraph, InvalidOption, shown_value, unknown_name
from .training.ranges import interval

DuplicateEdges = Literal["error", "sum", "first"]
AdjacencyConvention = Literal["sender_first", "receiver_first"]
DUPLICATES = ("error", "sum", "first")
CONVENTIONS = ("sender_first", "receiver_first")
WEIGHT = "weight"  # the attribute or column that holds weights unless another one is named

_NOT_EDGE_DATA = ("id", "key", "index")


@dataclass(frozen=True)
class EdgeOptions:
    """What is read of the edges of a source.

    weight: the attribute or column of their weights; None for none. attributes: those of their
    attributes. duplicates: what is done with edges that stand twice. convention: whether the row
    of an adjacency sends ("sender_first", as in networkx) or receives. Raises `UnknownName`, `InvalidOption`.
    """

    weight: str | None = WEIGHT
    attributes: Sequence[str] = ()
    duplicates: DuplicateEdges = "error"
    convention: AdjacencyConvention = "sender_first"

    def __post_init__(self) -> None:
        given: Any = self.weight  # of a caller that checks no types
        if np.ndim(given):
            raise InvalidOption(
                "edge_weight is the name of what the edges hold",
                got=f"{type(given).__name__} of shape {np.shape(given)}",
                allowed="a name, or None for no weights",
                fix='weights that vary in time: ds["edge_weight"] = (("time", "edge"), values), in the '
                "order of ds.sender and ds.receiver, or edge_weight= of from_arrays",
            )
        if self.weight is not None:
            label("edge_weight", self.weight)
        names = [label("edge_attributes", n) for n in names_of("edge_attributes", self.attributes)]
        object.__setattr__(self, "attributes", tuple(names))
        check_duplicates(self.duplicates)
        check_convention(self.convention)

    def refuse_names(self, source: str) -> None:
        """Raise `InvalidGraph` where names are given for edges that have none."""
        named = [name for name in (self.weight,) if name not in (None, WEIGHT)]
        if named or self.attributes:
            raise InvalidGraph(
                f"edge_weight and edge_attributes name what edges hold, and {source} has no names",
                got=", ".join(map(repr, [*named, *self.attributes])),
                allowed="a networkx graph, or a frame with a row for each edge",
                fix="leave them out; edge_weight=None leaves weights out",
            )


def check_duplicates(value: Any) -> None:
    """Raise `UnknownName` for no way to treat edges that stand twice."""
    one_of("duplicate_edges", value, DUPLICATES)


def check_convention(value: Any) -> None:
    """Raise `UnknownName` for no convention of adjacencies."""
    one_of("adjacency_convention", value, CONVENTIONS)


AS_USUAL = EdgeOptions()  # what is read of edges by default


def checked_weight(weight: Any, edges: int) -> np.ndarray:
    """``weight`` as float64 (edges,). Raises `InvalidGraph`."""
    array = _numbers(weight, "a weight of an edge is not a number")
    if array.shape != (edges,):
        raise InvalidGraph(
            "weights do not fit the edges",
            got=f"shape {array.shape}",
            allowed=f"({edges},): one for each edge",
            fix="give them in the order of the edges",
        )
    _finite(array, "the weight of an edge is not finite")
    return array


def checked_delay(delay: Any, edges: int) -> np.ndarray:
    """``delay`` as float64 (edges,), at least 0. Raises `InvalidGraph`."""
    array = _numbers(delay, "a delay of an edge is not a number")
    if np.ndim(delay) == 0:
        array = np.full(edges, float(array[0]))
    if array.shape != (edges,):
        raise InvalidGraph(
            "delays do not fit the edges",
            got=f"shape {array.shape}",
            allowed=f"({edges},): one for each edge, or one number for all",
            fix="give them in the order of the edges",
        )
    _finite(array, "the delay of an edge is not finite")
    if np.any(array < 0):
        raise InvalidGraph(
            "a message cannot arrive before it is sent",
            got=f"{int((array < 0).sum())} of {edges} delays are negative, the least {array.min():g}",
            allowed=">= 0, in units of time",
            fix="give the time from sender to receiver as a positive number",
        )
    return array


def checked_attribute(attribute: Any, edges: int, names: Sequence[str]) -> np.ndarray:
    """``attribute`` as float64 (edges, attribute). Raises `InvalidGraph`."""
    array = _numbers(attribute, "an attribute of an edge is not a number")
    if array.ndim != 2 or len(array) != edges or not array.shape[1]:
        raise InvalidGraph(
            "attributes do not fit the edges",
            got=f"shape {array.shape}",
            allowed=f"({edges}, attribute): one row for each edge",
            fix="one attribute is values[:, None]",
        )
    if names and len(names) != array.shape[1]:
        raise InvalidGraph(
            "each attribute of edges has one name",
            got=f"{len(names)}: {', '.join(names)}",
            allowed=str(array.shape[1]),
        )
    _finite(array, "an attribute of an edge is not finite")
    return array


def _numbers(values: Any, words: str) -> np.ndarray:
    try:
        array = np.asarray(values)
        if array.dtype.kind == "c":
            raise ValueError("complex numbers")
        return np.ascontiguousarray(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidGraph(
            words,
            got=str(error).splitlines()[0][:120],
            allowed="a real number for each edge",
            fix="edge_weight=None leaves weights out",
        ) from error


def _finite(array: np.ndarray, words: str) -> None:
    bad = int((~np.isfinite(array)).sum())
    if bad:
        raise InvalidGraph(
            words,
            got=f"{bad} of {array.size} are NaN or infinite",
            allowed="finite numbers",
            fix="fill them in, or leave these edges out",
        )


def unless_ones(weight: np.ndarray | None) -> np.ndarray | None:
    """None for weights that are all 1: a source of 0 and 1 has none."""
    return None if weight is None or np.all(weight == 1.0) else weight


def weights_in_words(weight: np.ndarray) -> str:
    """Their range, and how many are negative."""
    if not weight.size:
        return "weights of no edges"
    negative = int((weight < 0).sum()) if weight.dtype.kind != "b" else 0
    text = f"weights {interval(weight.min(), weight.max())}"
    return f"{text} ({negative} of {weight.size} negative)" if negative else text


# ---- edges that stand twice ---------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class EdgeList:
    """Edges as they are listed: int64 (edges,) ends, weights, attributes and delays or None."""

    sender: np.ndarray
    receiver: np.ndarray
    weight: np.ndarray | None = None
    attribute: np.ndarray | None = None
    delay: np.ndarray | None = None

    def select(self, index: np.ndarray) -> EdgeList:
        """The edges of ``index``."""
        return EdgeList(
            self.sender[index],
            self.receiver[index],
            None if self.weight is None else self.weight[index],
            None if self.attribute is None else self.attribute[index],
            None if self.delay is None else self.delay[index],
        )

    def without_duplicates(self, how: DuplicateEdges, *, directed: bool) -> EdgeList:
        """Each edge once. Undirected edges are the same in either order.

        By default, how="error", an undirected edge may be listed in both orders, if its weight and
        attributes are the same. Raises `InvalidGraph`.
        """
        check_duplicates(how)
        if not self.sender.size:
            return self
        size = int(max(self.sender.max(), self.receiver.max())) + 1
        key = self.sender * size + self.receiver
        edges = self
        if how == "error":
            _, first = np.unique(key, return_index=True)
            if len(first) < len(key):
                twice = np.delete(np.arange(len(key)), first)[0]
                raise self._parallel(len(key) - len(first), int(twice))
            held = (self.weight, self.attribute, self.delay)
            if directed or all(values is None for values in held):
                return self
        if not directed:
            low = np.minimum(self.sender, self.receiver)
            key = low * size + np.maximum(self.sender, self.receiver)
        _, first, group = np.unique(key, return_index=True, return_inverse=True)
        if len(first) == len(key):
            return edges
        group = group.reshape(-1)
        edges = self.select(first)
        if how == "error":
            for values, kept in (
                (self.weight, edges.weight),
                (self.attribute, edges.attribute),
                (self.delay, edges.delay),
            ):
                if values is not None and kept is not None and np.any(values != kept[group]):
                    other = int(
                        np.flatnonzero((values != kept[group]).reshape(len(key), -1).any(1))[0]
                    )
                    raise InvalidGraph(
                        "an undirected edge is listed in both orders with different values",
                        got=f"{self.sender[other]} - {self.receiver[other]}",
                        allowed="one line for each edge, or equal weights and attributes",
                        fix='directed=True where each line is one direction; duplicate_edges="sum" or '
                        '"first" for edges that are parallel',
                    )
            return edges
        if how == "first":
            return edges
        if self.attribute is not None and edges.attribute is not None:
            if np.any(self.attribute != edges.attribute[group]):
                raise InvalidGraph(
                    "parallel edges have different attributes, which have no sum",
                    got=f"{len(key) - len(first)} of {len(key)} edges are parallel to others",
                    allowed='duplicate_edges="first", or one edge for each pair',
                    fix="merge them before, in the way that their meaning asks for",
                )
        if self.delay is not None and edges.delay is not None:
            if np.any(self.delay != edges.delay[group]):
                raise InvalidGraph(
                    "parallel edges have different delays, which have no sum",
                    got=f"{len(key) - len(first)} of {len(key)} edges are parallel to others",
                    allowed='duplicate_edges="first", or one edge for each pair',
                    fix="merge them before, in the way that their meaning asks for",
                )
        given = np.ones(len(key)) if self.weight is None else self.weight
        weight = np.bincount(group, weights=given)
        return EdgeList(edges.sender, edges.receiver, weight, edges.attribute, edges.delay)

    def _parallel(self, count: int, example: int) -> InvalidGraph:
        return InvalidGraph(
            "edges stand twice",
            got=f"{count} of {self.sender.size} are parallel to others, one of them "
            f"{self.sender[example]} to {self.receiver[example]}",
            allowed="each edge once",
            fix='duplicate_edges="sum" adds their weights (1 where there are none), "first" takes the '
            "first of each: keywords of from_arrays, from_frame, Graph.from_edges and "
            "Graph.from_networkx",
        )


def with_weight_column(edges: Any) -> tuple[Any, Any]:
    """Pairs, and the weights in a third column or None; ``edges`` an array or a list."""
    if isinstance(edges, np.ndarray):
        if edges.shape == (2, 3) and edges.dtype.kind in "iu":
            raise _edge_index()
        if edges.ndim == 2 and edges.shape[1] == 3:
            return _whole_ends(edges[:, :2]), edges[:, 2]
        return edges, None
    if not isinstance(edges, Iterable) or isinstance(edges, str | bytes):
        raise InvalidGraph(
            "an edge list holds pairs of nodes", got=shown_value(edges), allowed="(edges, 2)"
        )
    try:
        rows = edges if isinstance(edges, Sequence) else list(edges)
    except TypeError as error:  # an array of no axes
        raise InvalidGraph(
            "an edge list holds pairs of nodes", got=shown_value(edges), allowed="(edges, 2)"
        ) from error
    triples = [
        not isinstance(row, str | bytes) and hasattr(row, "__len__") and len(row) == 3
        for row in rows
    ]
    if len(rows) == 2 and all(triples) and _all_whole(rows):
        raise _edge_index()
    if rows and all(triples):
        return [(row[0], row[1]) for row in rows], [row[2] for row in rows]
    return rows, None


def _all_whole(rows: Any) -> bool:
    return all(isinstance(value, int | np.integer) for row in rows for value in row)


def _edge_index() -> InvalidGraph:
    return InvalidGraph(
        "two edges with weights, or the senders and receivers of three edges",
        got="2 rows of 3 whole numbers",
        allowed="(edges, 2), or (edges, 3) with weights",
        fix="edges=edge_index.T, with directed=True, for senders and receivers; weights as floats, "
        "(0, 1, 2.0), for two edges",
    )


def _whole_ends(ends: np.ndarray) -> np.ndarray:
    """Whole numbers of nodes that stand in an array of floats beside the weights."""
    if ends.dtype.kind != "f" or not np.all(np.isfinite(ends)) or np.any(ends != np.floor(ends)):
        return ends
    return ends.astype(np.int64)


# ---- attributes of the edges of a source --------------------------------------------------------


def chosen_columns(
    columns: Mapping[Any, Any], options: EdgeOptions, edges: int
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Weights and attributes that ``options`` name, of ``columns``: a value for each edge by name.

    None stands for an edge that has no such attribute. Raises `InvalidGraph`, `UnknownName`.
    """
    name = weight_name(columns, options)
    weight = None if name is None else checked_weight(_complete(name, columns[name]), edges)
    attribute = None
    if options.attributes:
        for each in options.attributes:
            if each not in columns:
                raise unknown_name("attribute of edges", each, map(str, columns))
        values = [
            _numbers(_complete(n, columns[n]), f"{n!r} is not a number") for n in options.attributes
        ]
        attribute = checked_attribute(np.stack(values, axis=1), edges, options.attributes)
    return weight, attribute


def weight_name(columns: Mapping[Any, Any], options: EdgeOptions) -> Any:
    """The name of the weights among the columns, None for none. Raises `UnknownName`."""
    if options.weight is None or options.weight in columns:
        return options.weight
    if options.weight != WEIGHT:
        raise unknown_name("attribute of edges", options.weight, map(str, columns))
    return next((name for name in columns if str(name).lower() == WEIGHT), None)


def _complete(name: Any, values: Any) -> Any:
    missing = sum(value is None for value in values) if isinstance(values, list) else 0
    if missing:
        raise InvalidGraph(
            f"not every edge has the attribute {name!r}",
            got=f"{missing} of {len(values)} edges have none",
            allowed="a number for each edge, or for none",
            fix="fill it in, or pass edge_weight=None",
        )
    return values


def unused_in_words(columns: Mapping[Any, Any], options: EdgeOptions) -> str | None:
    """A warning for what edges hold and is not taken; None where there is nothing."""
    weight = weight_name(columns, options if options.weight else AS_USUAL)
    used = {weight, *options.attributes, *_NOT_EDGE_DATA}
    rest = {name: values for name, values in columns.items() if name not in used}
    texts = describe_columns(rest)
    if not texts:
        return None
    name = next(name for name, values in rest.items() if describe_columns({name: values}))
    return (
        "models do not use what the edges hold: " + "; ".join(texts) + ". "
        f"edge_weight={str(name)!r} takes it as weights, edge_attributes=[{str(name)!r}] as "
        "attributes"
    )


def describe_columns(columns: Mapping[Any, Any]) -> list[str]:
    """A text for each attribute of edges that is not 1 throughout: its range or first values."""
    texts = []
    for name, values in columns.items():
        array = np.asarray(values) if not isinstance(values, list) else _column(values)
        if array.dtype.kind in "biuf":
            known = array[np.isfinite(array)] if array.dtype.kind == "f" else array
            if known.size and np.any(known != 1):
                texts.append(f"{name} {weights_in_words(known).removeprefix('weights ')}")
        else:
            distinct = list(dict.fromkeys(str(value) for value in array.tolist()))
            texts.append(f"{name} {', '.join(distinct[:3])}" + ", ..." * (len(distinct) > 3))
    return texts


def _column(values: list[Any]) -> np.ndarray:
    values = [value for value in values if value is not None]
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        return np.array([str(value) for value in values])
