"""Node labels: names of nodes in graphs, edges and matrices, matched to the nodes of the data."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...config import listing
from ...errors import InvalidData, InvalidGraph, shown_value


def plain(label: Any) -> Any:
    """A label without its NumPy type; the text of bytes, as HDF5 files hold it."""
    label = label.item() if isinstance(label, np.generic) else label
    return label.decode("utf-8", "replace") if isinstance(label, bytes) else label


def as_coords(labels: Sequence[Any]) -> list[Any]:
    """Labels as values of a coordinate: text where they are of several types, or tuples."""
    kinds = {type(label) for label in labels}
    return (
        list(labels)
        if len(kinds) == 1 and kinds <= {int, float, str, bool}
        else [*map(str, labels)]
    )


def shown(labels: Sequence[Any], most: int = 8) -> str:
    """The first labels as text, for errors."""
    return ", ".join(repr(label) for label in labels[:most]) + ", ..." * (len(labels) > most)


@dataclass(frozen=True)
class NodeLabels:
    """The labels of the nodes of some data, in the order of its nodes.

    Where the labels are text, a node may also be called by its number, unless they are ``strict``,
    as those of a table are.
    """

    values: tuple[Hashable, ...]
    strict: bool = False

    @classmethod
    def of(cls, values: Iterable[Any], *, strict: bool = False) -> NodeLabels:
        """Labels of any kind, each once.

        Raises InvalidData for a label that names two nodes and for missing labels.
        """
        values = getattr(values, "values", values) if hasattr(values, "dims") else values
        labels = tuple(plain(value) for value in listing("nodes", values))
        for label in labels:
            try:
                hash(label)
            except TypeError as error:
                raise InvalidData(
                    "a label of a node is a text or a number",
                    got=shown_value(label),
                    allowed="a text or a number for each node",
                ) from error
        missing = [i for i, label in enumerate(labels) if label is None or _is_nan(label)]
        if missing:
            raise InvalidData(
                "a node has no label",
                got=f"{labels[missing[0]]!r} for node {missing[0]}",
                allowed="a text or a number for each node",
                fix="give it a name",
            )
        if len(set(labels)) < len(labels):
            twice = next(label for label in labels if labels.count(label) > 1)
            raise InvalidData(
                "two nodes have the same label",
                got=repr(twice),
                allowed="each label once",
                fix="rename one of them",
            )
        return cls(labels, strict)

    @classmethod
    def numbered(cls, nodes: int) -> NodeLabels:
        """The labels of nodes that are called by their numbers alone."""
        return cls(tuple(range(nodes)))

    @property
    def are_numbers(self) -> bool:
        """Whether the labels are 0, 1, 2, ... in this order."""
        return self.values == tuple(range(len(self.values)))

    @property
    def error(self) -> type[InvalidData | InvalidGraph]:
        """What is raised for edges that do not fit: of a table the data are to blame as much."""
        return InvalidData if self.strict else InvalidGraph

    @cached_property
    def _number(self) -> dict[Hashable, int]:
        return {label: i for i, label in enumerate(self.values)}

    def match(self, names: Iterable[Any]) -> Mapping[Hashable, int]:
        """The number of the node that each name means.

        All names are labels; or all are equal to labels as text (3 and "3"); or, where labels are
        text, all are numbers of nodes. Raises `error` for anything else.
        """
        wanted = list(dict.fromkeys(plain(name) for name in names))
        if all(name in self._number for name in wanted):
            return {name: self._number[name] for name in wanted}
        as_text = {str(label): i for i, label in enumerate(self.values)}
        mixed = _all_text(wanted) != _all_text(self.values)
        if mixed and all(str(name) in as_text for name in wanted):
            return {name: as_text[str(name)] for name in wanted}
        numbers = range(len(self.values))
        if (
            not self.strict
            and _all_text(self.values)
            and _all_whole(wanted)
            and all(n in numbers for n in wanted)
        ):
            return {name: int(name) for name in wanted}
        strangers = [name for name in wanted if name not in self._number]
        from_one = _all_whole(wanted) and min(wanted) == 1 and max(wanted) == len(self.values)
        raise self.error(
            "an edge names a node that is not in the data, which has no rows of it",
            got=shown(strangers),
            allowed=shown(self.values),
            fix="nodes count from 0: subtract 1"
            if self.are_numbers and from_one
            else "call the nodes as the data do, or give the data the labels of the graph "
            "(a graph of networkx is renamed by nx.relabel_nodes(g, {name: label}))",
        )


def _is_nan(label: Any) -> bool:
    return str(label) in ("<NA>", "NaT") or (isinstance(label, float) and label != label)


def _all_text(names: Iterable[Any]) -> bool:
    return all(isinstance(name, str) for name in names)


def _all_whole(names: Sequence[Any]) -> bool:
    return bool(names) and all(isinstance(n, int) and not isinstance(n, bool) for n in names)
