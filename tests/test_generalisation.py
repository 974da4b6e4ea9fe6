"""benchmarks/generalisation.py: its random graphs and its five dynamics."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import networkx
import numpy as np
import pytest

from pympnode.graph import Graph

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module("generalisation")
    finally:
        sys.path.remove(str(BENCHMARKS))


def graphs(script: ModuleType, gamma: float, beta: float, count: int = 6) -> list[Graph]:
    rngs = [np.random.default_rng(seed) for seed in range(count)]
    return [script.s1_graph(300, gamma, beta, rng) for rng in rngs]


def test_s1_graph_is_simple_undirected_and_seeded(script: ModuleType) -> None:
    graph = script.s1_graph(80, 2.5, 2.0, np.random.default_rng(3))
    assert graph.same(script.s1_graph(80, 2.5, 2.0, np.random.default_rng(3)))
    assert not graph.same(script.s1_graph(80, 2.5, 2.0, np.random.default_rng(4)))
    matrix = graph.adjacency()
    assert np.array_equal(matrix, matrix.T) and not matrix.diagonal().any()
    assert matrix.max() == 1


@pytest.mark.parametrize(("gamma", "beta"), [(2.1, 2.0), (4.0, 2.0), (4.0, 1.1), (4.0, 20.0)])
def test_s1_mean_degree_does_not_depend_on_the_axes(
    script: ModuleType, gamma: float, beta: float
) -> None:
    # A sum of independent pairs: variance of the mean degree <= 4 * 900 / 300^2 / 6, so 4 sigma = 0.33.
    mean = np.mean([g.mean_degree for g in graphs(script, gamma, beta)])
    assert mean == pytest.approx(6.0, abs=0.33)


def test_s1_gamma_is_heterogeneity_and_beta_is_clustering(script: ModuleType) -> None:
    def spread(gamma: float) -> float:
        return float(np.mean([g.in_degree.var() / 6.0 for g in graphs(script, gamma, 2.0)]))

    def clustering(beta: float) -> float:
        found = [networkx.average_clustering(g.to_networkx()) for g in graphs(script, 4.0, beta, 3)]
        return float(np.mean(found))

    assert spread(2.1) > 2 * spread(3.0) > 2 * spread(8.0)
    assert clustering(1.1) < 0.5 * clustering(2.0) < 0.5 * clustering(20.0)
    # Sharp circles of nearly equal degree: the known limit of one-dimensional random geometric graphs, 3/4.
    sharp = [script.s1_graph(300, 60.0, 200.0, np.random.default_rng(s)) for s in range(3)]
    found = np.mean([networkx.average_clustering(g.to_networkx()) for g in sharp])
    assert found == pytest.approx(0.75, abs=0.05)


def test_s1_joins_what_is_near_on_the_circle(script: ModuleType) -> None:
    """With nearly equal hidden degrees and a sharp limit the graph is that of distances on a circle."""
    nodes = 300
    rng = np.random.default_rng(5)
    rng.random(nodes)  # hidden degrees, which are drawn first
    angle = rng.random(nodes)
    edge = script.s1_graph(nodes, 60.0, 200.0, np.random.default_rng(5)).adjacency() > 0
    apart = np.abs(angle[:, None] - angle)
    apart = np.minimum(apart, 1.0 - apart) + np.eye(nodes)
    # Products of hidden degrees span a factor nodes^(2 / 59) = 1.21 about a limit near 3 / nodes.
    assert edge[apart < 2.0 / nodes].all()
    assert not edge[apart > 4.0 / nodes].any()
    assert (apart < 2.0 / nodes)[angle < 0.01][
        :, angle > 0.99
    ].any()  # pairs across the origin are there


def test_induced_graph_has_the_edges_between_kept_nodes(script: ModuleType) -> None:
    graph = Graph.from_edges([(0, 1), (1, 2), (2, 3), (3, 0)], 4)
    got = script.induced(graph, np.array([0, 2, 3]))
    expected = graph.adjacency()[np.ix_([0, 2, 3], [0, 2, 3])]
    assert np.array_equal(got.adjacency(), expected)
    assert script.induced(graph, np.array([0, 2])).edges == 0


# dx_i/dt of x_i and of the states of its neighbours, as in the docstrings of the papers.
LAWS: dict[str, Callable[[float, list[float]], float]] = {
    "SIS": lambda x, near: -x + 0.3 * (1 - x) * sum(near),
    "MAK": lambda x, near: 1 - x - 0.2 * sum(x * y for y in near),
    "MM": lambda x, near: -x + sum(y**2 / (1 + y**2) for y in near),
    "ND": lambda x, near: -x + sum(1 / (1 + math.exp(-(y - 3))) for y in near),
    "BD": lambda x, near: -(x**2) + 0.3 * sum(near),
}


@pytest.mark.parametrize("key", LAWS)
def test_right_hand_sides(script: ModuleType, key: str) -> None:
    graph = script.s1_graph(12, 2.5, 2.0, np.random.default_rng(1), degree=3.0)
    x = np.random.default_rng(2).uniform(0, 3, (2, 12, 1))
    got = script.DYNAMICS[key][1](0.0, x, None, graph, {})
    matrix = graph.adjacency()
    for trajectory in range(2):
        for node in range(12):
            near = [float(x[trajectory, j, 0]) for j in np.flatnonzero(matrix[node])]
            expected = LAWS[key](float(x[trajectory, node, 0]), near)
            assert got[trajectory, node, 0] == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_all_dynamics_are_tested(script: ModuleType) -> None:
    assert set(script.DYNAMICS) == set(LAWS)
