"""Graphs and topologies: structure, the user's own graphs, and what cannot be built."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from pympnode.errors import InvalidGraph, InvalidOption, UnknownName
from pympnode.graph import Graph
from pympnode.networks.graphs.instances import published_omega
from pympnode.networks.graphs.topology import TOPOLOGIES, resolve


def test_edges_are_sorted_by_receiver_then_sender_and_unique():
    graph = Graph.single([2, 0, 1, 0, 2], [1, 1, 0, 1, 0], 4)
    assert graph.receiver.tolist() == [0, 0, 1, 1]
    assert graph.sender.tolist() == [1, 2, 0, 2]
    assert graph.sender.dtype == graph.receiver.dtype == graph.nodes.dtype == np.int64
    assert graph.in_degree.tolist() == [2, 2, 0, 0]
    assert graph.receiver_offset.tolist() == [0, 2, 4, 4, 4]


def test_union_and_its_parts():
    first = Graph.from_edges([(0, 1), (1, 2)], 4)  # node 3 is isolated
    second = Graph.from_edges([(0, 1)], 2)
    union = Graph.union([first, second, first])
    assert union.nodes.tolist() == [4, 2, 4]
    assert union.node_offset.tolist() == [0, 4, 6, 10]
    assert union.edge_offset.tolist() == [0, 4, 6, 10]
    assert union.edge_graph.tolist() == [0] * 4 + [1] * 2 + [2] * 4
    assert union[0].same(first) and union[1].same(second) and union[2].same(first)
    assert union[-1].same(first) and len(union) == 3
    assert union.mean_degree == 1.0
    with pytest.raises(IndexError):
        union[3]


@pytest.mark.parametrize("nodes", [5, 400])  # the second is summed by a sparse matrix
def test_sum_over_neighbours_equals_a_loop_and_is_zero_at_isolated_nodes(nodes):
    rng = np.random.default_rng(0)
    sender, receiver = rng.integers(0, nodes - 1, (2, 3 * nodes))
    keep = sender != receiver
    graph = Graph.single(sender[keep], receiver[keep], nodes)
    values = rng.normal(size=(3, nodes, 2))
    expected = np.zeros_like(values)
    for s, r in zip(graph.sender, graph.receiver, strict=True):
        expected[:, r] += values[:, s]
    # each sum has at most `degree` terms of order 1: rounding is a few times degree * eps
    bound = 8 * graph.in_degree.max() * np.finfo(float).eps
    assert np.abs(graph.sum_neighbours(values) - expected).max() < bound
    assert np.all(graph.sum_neighbours(values)[:, nodes - 1] == 0)
    assert graph.sum_neighbours(values[0]).shape == (nodes, 2)


def test_networkx_round_trip_keeps_direction():
    undirected = nx.karate_club_graph()
    graph = Graph.from_networkx(undirected)
    assert graph.weight is not None and (graph.weight.min(), graph.weight.max()) == (1, 7)
    assert graph.edges == 2 * undirected.number_of_edges()
    assert Graph.from_networkx(graph.to_networkx()).same(graph)
    directed = nx.DiGraph([(0, 1), (1, 2)])
    one_way = Graph.from_networkx(directed)
    assert one_way.sender.tolist() == [0, 1] and one_way.receiver.tolist() == [1, 2]
    assert one_way.to_networkx().is_directed()
    assert one_way.adjacency()[0, 1] == 1 and one_way.adjacency()[1, 0] == 0


EDGES = {  # undirected edges of each topology at 12 nodes, from its definition
    "complete": 66,
    "full": 66 + 6,  # a self loop is one directed edge, half an undirected one
    "ring": 12,
    "path": 11,
    "star": 11,
    "none": 0,
    "grid": 3 * 3 + 2 * 4,
    "BA": 6 * 6,
    "WS": 12 * 3,
}


@pytest.mark.parametrize("name", EDGES)
def test_every_topology_has_its_number_of_edges(name):
    graph = resolve(name, 12)
    assert graph.nodes.tolist() == [12]
    assert graph.edges == 2 * EDGES[name]
    assert np.array_equal(graph.adjacency(), graph.adjacency().T)
    assert np.any(graph.sender == graph.receiver) == (name == "full")
    assert name in TOPOLOGIES


def test_names_take_options_and_any_case():
    assert resolve(("BA", {"k": 3}), 20).edges == 2 * 3 * 17
    assert resolve(("er", {"m": 7}), 20).edges == 14
    assert resolve(("ER", {"p": 1.0}), 5).same(resolve("complete", 5))
    assert resolve(("ws", {"k": 4, "beta": 0.0}), 9).in_degree.tolist() == [4] * 9
    assert resolve(("grid", {"rows": 2}), 12).edges == 2 * (2 * 5 + 6)


def test_a_graph_may_be_given_in_any_common_form():
    edges = [(0, 1), (1, 2)]
    expected = Graph.from_edges(edges, 3)
    adjacency = expected.adjacency()
    for form in (
        edges,
        np.array(edges),
        adjacency,
        nx.path_graph(3),
        expected,
        nx.to_scipy_sparse_array(nx.path_graph(3)),
    ):
        assert resolve(form).same(expected)
        assert resolve(form, 3).same(expected)
    assert resolve(edges, 5).nodes.tolist() == [5]  # two isolated nodes more
    assert resolve([nx.path_graph(3), expected]).graphs == 2
    assert resolve([nx.path_graph(3), expected], graphs=1).graphs == 2
    assert resolve(nx.path_graph(3), graphs=4).graphs == 4


def test_graph_seed_42_is_the_published_graph_and_others_are_drawn_reproducibly():
    published = resolve("BA", 10, system="kuramoto")
    assert published.edges == 50 and "published" in published.provenance
    drawn = resolve("BA", 10, graph_seed=7, system="kuramoto")
    assert "networkx" in drawn.provenance
    assert drawn.same(resolve("BA", 10, graph_seed=7, system="kuramoto"))
    assert not drawn.same(resolve("BA", 10, graph_seed=8, system="kuramoto"))
    assert not drawn.same(published)
    other = resolve(("BA", {"k": 3}), 10, system="kuramoto")
    assert "networkx" in other.provenance  # no such graph was published


def test_several_graphs_are_the_published_five_then_drawn():
    five = resolve("ER", 10, graphs=5, system="kuramoto")
    assert five.graphs == 5 and five.edges == 50
    for i in range(5):
        assert five[i].same(resolve("ER", 10, graph_seed=i + 1, system="kuramoto"))
    seven = resolve("ER", 10, graphs=7, system="kuramoto")
    assert ["published" in s for s in seven.source] == [True] * 5 + [False] * 2
    more = resolve("BA", 12, graphs=3, graph_seed=1)
    fewer = resolve("BA", 12, graphs=2, graph_seed=1)
    assert more[0].same(fewer[0]) and more[1].same(fewer[1]) and not more[0].same(more[1])


def test_published_frequencies():
    assert published_omega().shape == (3,)
    with pytest.raises(InvalidOption, match="published"):
        published_omega(99)


IMPOSSIBLE = [
    lambda: resolve(("BA", {"k": 10}), 10),
    lambda: resolve("BA", 1),
    lambda: resolve(("ER", {"m": 46}), 10),
    lambda: resolve(("ER", {"p": 1.5}), 10),
    lambda: resolve(("ER", {"p": 0.5, "m": 3}), 10),
    lambda: resolve(("WS", {"k": 10}), 10),
    lambda: resolve(("WS", {"k": 4, "beta": -0.1}), 10),
    lambda: resolve("ring", 2),
    lambda: resolve("grid", 13),
    lambda: resolve(("grid", {"rows": 5}), 12),
    lambda: resolve("BA"),
    lambda: resolve([(0, 1), (1, 12)], 10),
    lambda: resolve([(0, 0), (0, 1)]),
    lambda: resolve([(0, 1, 2, 3)]),
    lambda: resolve([(0, 1, "x")]),
    lambda: resolve([(0.5, 1.5)]),
    lambda: resolve(nx.path_graph(3), 4),
    lambda: resolve(nx.Graph()),
    lambda: resolve(object()),
    lambda: resolve([nx.path_graph(3), nx.path_graph(3)], graphs=3),
    lambda: Graph.from_adjacency(np.ones((2, 3))),
    lambda: Graph.single([0, -1], [1, 0], 2),
    lambda: Graph.single([0], [1, 0], 2),
    lambda: Graph([0], [1], [1, 1]),
    lambda: Graph([], [], [0]),
    lambda: Graph.union([]),
]


@pytest.mark.parametrize("build", IMPOSSIBLE)
def test_impossible_graphs_are_refused_with_got_or_fix(build):
    with pytest.raises(InvalidGraph) as caught:
        build()
    assert caught.value.got is not None or caught.value.fix is not None


def test_unknown_names_suggest_the_closest():
    with pytest.raises(UnknownName, match="'complete'"):
        resolve("complet", 5)
    with pytest.raises(UnknownName, match="'beta'"):
        resolve(("WS", {"beeta": 0.1}), 10)
    with pytest.raises(InvalidOption):
        resolve("BA", 0)
    with pytest.raises(InvalidOption):
        resolve("BA", 10, graphs=0)


@pytest.mark.parametrize(
    ("shape", "fix"), [((5, 5), "topology="), ((6, 5), "attribute="), ((2, 7), "edge_index.T")]
)
def test_an_array_that_holds_no_pairs_is_refused_with_what_helps(
    shape: tuple[int, int], fix: str
) -> None:
    with pytest.raises(InvalidGraph, match="holds pairs") as refused:
        Graph.from_edges(np.ones(shape, dtype=int), 5)
    assert fix in str(refused.value)
