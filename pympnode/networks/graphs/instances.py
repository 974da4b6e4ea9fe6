"""The graphs and frequencies of the published runs, from ``instances.json`` in this folder.

Drawn with LightGraphs 1.3.5 on Julia 1.10 by the calls of the public MP-NODE code: their random
numbers cannot be repeated in Python. Seed 42 is the published single graph, seeds 1 to 5 are the
published five-graph datasets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

from ...errors import InvalidOption
from ...graph import Graph

PUBLISHED_SEED = 42
FIVE_GRAPH_SEEDS = (1, 2, 3, 4, 5)


@lru_cache(maxsize=1)
def _content() -> dict[str, Any]:
    text = files(__package__).joinpath("instances.json").read_text(encoding="utf-8")
    return json.loads(text)


def published_graph(
    system: str, topology: str, nodes: int, options: Mapping[str, Any], seed: int
) -> Graph | None:
    """The published graph of a system, topology (BA, ER, WS), options and seed; None if there is none."""
    for entry in _content()["graphs"]:
        if (entry["system"], entry["topology"], entry["nodes"]) != (system, topology, nodes):
            continue
        neighbours = entry["neighbours"].get(str(seed))
        if entry["options"] != dict(options) or neighbours is None:
            continue
        edges = [(i, j) for i, higher in enumerate(neighbours) for j in higher]
        return Graph.from_edges(
            edges, nodes, source=f"published {system} {topology}({nodes}), seed {seed}"
        )
    return None


def published_omega(seed: int = PUBLISHED_SEED) -> np.ndarray:
    """float64 (3,): the frequencies of the published Kuramoto system of ``seed``, rad/s."""
    published = _content()["frequency"]
    if str(seed) not in published:
        raise InvalidOption(
            "no published frequencies of that seed",
            got=repr(seed),
            allowed=", ".join(published),
            fix='give the numbers: parameters={"frequency": [...]}',
        )
    return np.array(published[str(seed)], dtype=np.float64)
