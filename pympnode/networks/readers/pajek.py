"""Pajek networks (.net) as edges: arcs, edges, their lists of neighbours, and matrices.

Format: V. Batagelj and A. Mrvar, "Pajek format",
http://vladowiki.fmf.uni-lj.si/doku.php?id=pajek:faq:format. networkx 3.6 reads one kind of section
alone: the first of ``*Arcs`` and ``*Edges``, also where it is empty, gives its direction to both. It
takes the second neighbour of an ``*Arcslist`` for a weight, and merges nodes that have one label.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import InvalidGraph, unknown_name
from .labelled import RawGraph

# A label in quotes may hold blanks; times of a link stand in brackets.
_CELL = re.compile(r'"[^"]*"|\[[^\]]*\]|\S+')
_LINKS = {"*arcs": True, "*edges": False, "*arcslist": True, "*edgeslist": False}
_OTHER_NAMES = {"*vertex": "*vertices", "*arc": "*arcs", "*edge": "*edges"}
_RELATION = re.compile(r"\d+:")


@dataclass
class _Network:
    """What the lines have said so far; ``edges`` holds (first, second, weight, is an arc)."""

    count: int = 0
    labels: dict[int, str] = field(default_factory=dict)
    edges: list[tuple[int, int, float, bool]] = field(default_factory=list)
    weighted: bool = False
    relations: set[str] = field(default_factory=set)


def parse_pajek(text: str, weight: Any) -> RawGraph:
    """The network of ``text``. An edge beside arcs is one in both directions; a link without weight
    has weight 1. Labels name the nodes where every node has another one, else their numbers do."""
    network, section, row = _Network(), "", 0
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip("\ufeff \t\r")
        if not line or line.startswith("%"):
            continue
        cells = _CELL.findall(line)
        try:
            if line.startswith("*"):
                section, row = cells[0].lower(), 0
                section = _OTHER_NAMES.get(section, section)
                _begin(network, section, cells)
            elif section == "*vertices":
                at = _node(network, cells[0])
                network.labels[at] = cells[1].strip('"') if len(cells) > 1 else ""
            elif section in _LINKS:
                _link(network, section, cells)
            elif section == "*matrix":
                row += 1
                _matrix_row(network, row, cells)
        except InvalidGraph:  # a ValueError too
            raise
        except (ValueError, IndexError) as error:
            raise InvalidGraph(
                "a line of the Pajek file cannot be read",
                got=f"line {number}: {line[:60]!r}",
                allowed="numbers of two nodes and a weight, below *Vertices and *Arcs or *Edges",
            ) from error
    return _assembled(network, weight)


def _begin(network: _Network, section: str, cells: list[str]) -> None:
    if section == "*vertices":
        if network.count:
            raise InvalidGraph(
                "the file holds several networks",
                got="more than one *Vertices",
                allowed="one network",
                fix="save each network as a file",
            )
        if len(cells) > 2:
            raise InvalidGraph(
                "the file holds a two-mode network, whose nodes are of two kinds",
                got=" ".join(cells)[:60],
                allowed="nodes of one kind",
            )
        network.count = int(cells[1])
    elif section in _LINKS or section == "*matrix":
        if len(cells) > 1 and cells[1].startswith(":"):
            network.relations.add(cells[1][1:])
    elif section != "*network" and not network.count:
        raise ValueError(section)


def _link(network: _Network, section: str, cells: list[str]) -> None:
    if _RELATION.fullmatch(cells[0]):  # "2: 7 8" is a link of relation 2
        network.relations.add(cells.pop(0)[:-1])
    first = _node(network, cells[0])
    if section.endswith("list"):
        others = [(other, 1.0) for other in cells[1:]]
    else:
        has_weight = len(cells) > 2 and not cells[2].startswith("[")
        network.weighted |= has_weight
        others = [(cells[1], float(cells[2]) if has_weight else 1.0)]
    for other, value in others:
        network.edges.append((first, _node(network, other), value, _LINKS[section]))


def _matrix_row(network: _Network, row: int, cells: list[str]) -> None:
    if len(cells) != network.count or row > network.count:
        raise ValueError(f"row {row} of {len(cells)} numbers")
    network.weighted = True
    for column, value in enumerate(map(float, cells)):
        if value != 0:
            network.edges.append((row - 1, column, value, True))


def _node(network: _Network, cell: str) -> int:
    number = int(cell)
    if not 1 <= number <= network.count:
        raise ValueError(cell)
    return number - 1


def _assembled(network: _Network, weight: Any) -> RawGraph:
    if not network.count:
        raise InvalidGraph("the file has no *Vertices", got=0, allowed="*Vertices and their number")
    if len(network.relations) > 1:
        raise InvalidGraph(
            "the file holds several relations between its nodes",
            got=f"relations {', '.join(sorted(network.relations)[:6])}",
            allowed="one relation",
            fix="save the lines of each relation as a file",
        )
    if weight not in (None, False, "weight"):
        raise unknown_name("attribute of edges", str(weight), ["weight"])
    directed = any(arc for *_, arc in network.edges)
    edges = network.edges
    if directed:
        # A loop is its own reverse.
        edges = edges + [(b, a, w, arc) for a, b, w, arc in edges if not arc and a != b]
    names = [network.labels.get(node, "") for node in range(network.count)]
    named = "" not in names and len(set(names)) == len(names)
    return RawGraph(
        np.array([a for a, *_ in edges], np.int64),
        np.array([b for _, b, *_ in edges], np.int64),
        list(names) if named else list(range(1, network.count + 1)),
        [w for _, _, w, _ in edges] if network.weighted and weight is not False else None,
        directed,
        "Pajek file",
        named,
        lists_nodes=True,
    )
