"""Weights and attributes of edges: from sources to files, models, kernels, systems and plots."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import equations
import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
import xarray as xr
from kernel_windows import random_theta

import pympnode
from pympnode import Graph
from pympnode.errors import (
    InvalidData,
    InvalidGraph,
    InvalidOption,
    OutsideTrainingRange,
    PympnodeWarning,
    UnknownName,
)
from pympnode.networks import schema
from pympnode.networks.engines import choose
from pympnode.networks.engines.base import Batch
from pympnode.networks.engines.columns import Columns
from pympnode.networks.engines.julia.program import edges_of
from pympnode.networks.engines.torch.engine import TorchEngine
from pympnode.networks.graphs.topology import resolve
from pympnode.networks.readers import read_graph
from pympnode.networks.schema import Arrays
from pympnode.networks.spec import ModelSpec
from pympnode.networks.weights import layout_of
from pympnode.systems.registry import get

X = np.random.default_rng(0).normal(size=(6, 8, 4, 1))
FAST: dict[str, Any] = dict(epochs=1, kernel="eager", progress=False, hidden=4)
SENDER, RECEIVER, WEIGHT = [2, 0, 3, 1], [1, 1, 0, 2], [0.5, -2.0, 3.0, 0.25]
# What the edges above carry, from sender to receiver.
CARRIED = {(2, 1): 0.5, (0, 1): -2.0, (3, 0): 3.0, (1, 2): 0.25}


def given() -> Graph:
    attribute = np.column_stack([WEIGHT, np.arange(4)])
    return Graph.single(
        SENDER, RECEIVER, 4, weight=WEIGHT, attribute=attribute, attribute_names=("twin", "number")
    )


def carried(graph: Any) -> dict[tuple[int, int], float]:
    """Weights by (sender, receiver), of a `Graph` or a dataset."""
    if isinstance(graph, xr.Dataset):
        graph, _ = schema.graphs_of(graph)
    ends = zip(graph.sender.tolist(), graph.receiver.tolist())
    return dict(zip(ends, graph.weight_or_ones.tolist()))


def arrays(**options: Any) -> xr.Dataset:
    return pympnode.from_arrays(X, dt=0.1, **options)


# ---- Graph --------------------------------------------------------------------------------------


def test_edges_keep_what_they_hold() -> None:
    graph = given()
    assert carried(graph) == CARRIED
    assert np.array_equal(graph.attribute[:, 0], graph.weight)
    back = graph.reversed()
    assert carried(back) == {(k, j): w for (j, k), w in CARRIED.items()}
    assert np.array_equal(back.attribute[:, 0], back.weight)
    assert back.reversed().same(graph) and not back.same(graph)
    moved = graph.renumbered([3, 1, 0, 2])
    number = {0: 3, 1: 1, 2: 0, 3: 2}
    assert carried(moved) == {(number[j], number[k]): w for (j, k), w in CARRIED.items()}
    assert np.array_equal(moved.attribute[:, 0], moved.weight)
    both = Graph.union([graph, moved])
    assert (
        both[0].same(graph)
        and both[1].same(moved)
        and both[1].attribute_names == ("twin", "number")
    )
    assert carried(graph.select_edges(graph.weight > 0)).keys() == {(2, 1), (3, 0), (1, 2)}
    assert "weights -2 to 3 (1 of 4 negative), attributes twin, number" in repr(graph)
    assert graph.without_weights.weight is None and graph.without_weights.attribute is None
    again = Graph.from_networkx(graph.to_networkx(), edge_attributes=["twin", "number"])
    assert again.same(graph)
    assert np.array_equal(graph.in_weight, [3.0, -1.5, 0.25, 0.0])
    assert np.array_equal(graph.in_degree, [1, 2, 1, 0])
    dense = graph.matrix @ np.arange(4.0)
    assert np.array_equal(dense, [9.0, 1.0, 0.25, 0.0])


def test_equality_is_of_weights_and_attributes_too() -> None:
    graph = given()
    assert not graph.same(graph.without_weights)
    assert not graph.same(graph.with_weight(graph.weight * 2))
    plain = graph.without_weights
    assert plain.same(plain.with_weight(np.ones(4)))
    other = Graph.single(SENDER, RECEIVER, 4, weight=WEIGHT, attribute=np.zeros((4, 2)))
    assert not graph.same(other)
    mixed = Graph.union([plain, plain.with_weight([2.0] * 4)])
    assert mixed.weight.tolist() == [1.0] * 4 + [2.0] * 4
    with pytest.raises(InvalidGraph, match="same attributes"):
        Graph.union([graph, plain])


def test_large_graphs_sum_weighted_values() -> None:
    rng = np.random.default_rng(3)
    pairs = np.unique(rng.integers(0, 400, (900, 2)), axis=0)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    graph = Graph.from_edges(pairs, 400, directed=True, weight=rng.normal(size=len(pairs)))
    assert not isinstance(graph.matrix, np.ndarray)
    values = rng.normal(size=(2, 400, 3))
    expected = np.zeros_like(values)
    for j, k, w in zip(graph.sender, graph.receiver, graph.weight):
        expected[:, k] += w * values[:, j]
    np.testing.assert_allclose(graph.sum_neighbours(values), expected, atol=1e-13)


BAD = {
    "NaN": lambda: Graph.single([0], [1], 2, weight=[np.nan]),
    "infinite": lambda: Graph.single([0], [1], 2, weight=[np.inf]),
    "another length": lambda: Graph.single([0], [1], 2, weight=[1.0, 2.0]),
    "text": lambda: Graph.single([0], [1], 2, weight=["much"]),
    "complex": lambda: Graph.single([0], [1], 2, weight=[1j]),
    "attributes of one axis": lambda: Graph.single([0], [1], 2, attribute=[1.0]),
    "attributes of other edges": lambda: Graph.single([0], [1], 2, attribute=[[1.0], [2.0]]),
    "names of other attributes": lambda: Graph.single(
        [0], [1], 2, attribute=[[1.0]], attribute_names=("a", "b")
    ),
    "twice": lambda: Graph.single([0, 0], [1, 1], 2, weight=[1.0, 2.0]),
    "two columns of weights": lambda: Graph.from_edges([(0, 1, 2.0)], weight=[1.0]),
    "some weights": lambda: resolve(nx.Graph([(0, 1, {"weight": 2}), (1, 2)])),
    "weights of text": lambda: resolve(nx.Graph([(0, 1, {"weight": "a"})])),
    "a name for an adjacency": lambda: arrays(topology=np.eye(4, k=1), edge_weight="km"),
    "attributes of a list": lambda: arrays(edges=[(0, 1)], edge_attributes=["km"]),
    "attributes of a name": lambda: arrays(topology="ring", edge_attributes=["km"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_weights_are_refused(name: str) -> None:
    with pytest.raises(InvalidGraph) as caught:
        BAD[name]()
    assert caught.value.got is not None and caught.value.allowed is not None


# ---- sources --------------------------------------------------------------------------------------

DENSE = np.zeros((4, 4))
for (_j, _k), _w in CARRIED.items():
    DENSE[_j, _k] = _w


def digraph(**more: Any) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(range(4))
    for (j, k), w in CARRIED.items():
        graph.add_edge(j, k, weight=w, **more)
    return graph


def table() -> Any:
    pandas = pytest.importorskip("pandas")
    rows = [(w, k, j) for (j, k), w in CARRIED.items()]
    return pandas.DataFrame(rows, columns=["Weight", "target", "source"])


SOURCES: dict[str, Any] = {
    "networkx": lambda: dict(topology=digraph()),
    "dense": lambda: dict(topology=DENSE),
    "list of rows": lambda: dict(topology=DENSE.tolist()),
    "tensor": lambda: dict(topology=torch.as_tensor(DENSE)),
    "sparse": lambda: dict(topology=sp.csr_array(DENSE)),
    "receiver first": lambda: dict(topology=DENSE.T, adjacency_convention="receiver_first"),
    "sparse, receiver first": lambda: dict(
        topology=sp.coo_array(DENSE.T), adjacency_convention="receiver_first"
    ),
    "dims": lambda: dict(topology=xr.DataArray(DENSE.T, dims=("receiver", "sender"))),
    "dims before the convention": lambda: dict(
        topology=xr.DataArray(DENSE, dims=("sender", "receiver")),
        adjacency_convention="receiver_first",
    ),
    "frame": lambda: dict(edges=table(), directed=True),
    "list": lambda: dict(edges=[(*pair, w) for pair, w in CARRIED.items()], directed=True),
    "array": lambda: dict(edges=np.array([(*p, w) for p, w in CARRIED.items()]), directed=True),
    "Graph": lambda: dict(topology=given()),
    "read": lambda: dict(topology=read_graph(digraph())),
    "named column": lambda: dict(
        edges=table().rename(columns={"Weight": "w"}), directed=True, edge_weight="w"
    ),
    "read from a list": lambda: dict(
        edges=read_graph([(*p, w) for p, w in CARRIED.items()], directed=True)
    ),
}


@pytest.mark.parametrize("name", SOURCES)
def test_sources_give_weights_with_their_direction(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ds = arrays(**SOURCES[name]())
        assert carried(ds) == CARRIED
        without = (
            arrays(**{**SOURCES[name](), "edge_weight": None}) if name != "named column" else None
        )
    assert without is None or (
        "edge_weight" not in without and carried(without).keys() == CARRIED.keys()
    )


def test_undirected_edges_have_the_weight_in_both_directions() -> None:
    both = {(0, 1): 0.5, (1, 0): 0.5, (1, 2): -2.0, (2, 1): -2.0}
    for edges in (
        [(0, 1, 0.5), (1, 2, -2.0)],
        [(0, 1, 0.5), (1, 0, 0.5), (1, 2, -2.0)],
        nx.Graph([(0, 1, {"weight": 0.5}), (1, 2, {"weight": -2.0}), (3, 2, {"weight": 1.0})][:2]),
    ):
        assert (
            carried(Graph.from_edges(edges) if isinstance(edges, list) else resolve(edges)) == both
        )
    with pytest.raises(InvalidGraph, match="both orders"):
        Graph.from_edges([(0, 1, 0.5), (1, 0, 0.7)])


def test_labels_and_weights() -> None:
    names = ["d", "a", "b", "c"]
    at = {name: i for i, name in enumerate(names)}
    edges = [("a", "b", 2.0), ("c", "d", -1.0)]
    wanted = {(at["a"], at["b"]): 2.0, (at["c"], at["d"]): -1.0}
    graph = nx.DiGraph()
    graph.add_weighted_edges_from(edges)
    read = read_graph(graph)
    for options in (
        dict(edges=edges, directed=True),
        dict(edges=np.array(edges, dtype=object), directed=True),
        dict(edges=np.array(edges), directed=True),
        dict(topology=graph),
        dict(topology=read),
    ):
        assert carried(arrays(nodes=names, **options)) == wanted
    numbered = read_graph(sp.coo_array(DENSE))  # a matrix names no nodes: they are in order
    assert (
        carried(arrays(topology=numbered, nodes=names))
        == carried(arrays(topology=numbered))
        == CARRIED
    )
    with pytest.raises(InvalidGraph):  # nothing says which node of the data is "a"
        arrays(topology=read)
    ds = pympnode.simulate("heat", topology=read, trajectories=2, steps=2)
    assert ds.node.values.tolist() == list(read.labels) and carried(ds) == carried(read.graph)
    with pytest.raises(InvalidGraph):
        pympnode.from_arrays(X[:, :, :3], dt=0.1, topology=read)


def test_attributes_by_name() -> None:
    graph = digraph(km=3.0, kind="road")
    with pytest.warns(PympnodeWarning, match="kind road"):
        ds = arrays(topology=graph, edge_weight="km", edge_attributes=["weight"])
    assert set(ds.edge_weight.values) == {3.0}
    assert ds.edge_attribute.dims == ("edge", "edge_feature")
    assert ds.edge_feature.values.tolist() == ["weight"]
    found = dict(zip(zip(ds.sender.values, ds.receiver.values), ds.edge_attribute.values[:, 0]))
    assert found == CARRIED
    for options in (dict(edge_weight="wieght"), dict(edge_attributes=["wieght"])):
        with pytest.raises(UnknownName, match="weight"):
            arrays(topology=digraph(), **options)


def test_duplicate_edges_as_asked() -> None:
    twice = [(0, 1, 2.0), (1, 2, 5.0), (0, 1, 3.0)]
    with pytest.raises(InvalidGraph, match="twice") as caught:
        arrays(edges=twice, directed=True)
    assert "duplicate_edges" in str(caught.value.fix)
    for how, value in (("sum", 5.0), ("first", 2.0)):
        ds = arrays(edges=twice, directed=True, duplicate_edges=how)
        assert carried(ds) == {(0, 1): value, (1, 2): 5.0}
    many = nx.MultiGraph([(0, 1), (1, 0), (2, 3)])
    with pytest.raises(InvalidGraph, match="twice"):
        arrays(topology=many)
    summed = carried(arrays(topology=many, duplicate_edges="sum"))
    assert summed == {(0, 1): 2.0, (1, 0): 2.0, (2, 3): 1.0, (3, 2): 1.0}
    assert "edge_weight" not in arrays(topology=many, duplicate_edges="first")
    with pytest.raises(UnknownName, match="duplicate_edges"):
        arrays(edges=twice, duplicate_edges="last")
    with pytest.raises(UnknownName, match="adjacency_convention"):
        arrays(topology=DENSE, adjacency_convention="physics")
    entries = sp.coo_array(([1.0, 4.0], ([0, 0], [1, 1])), shape=(4, 4))
    assert carried(arrays(topology=entries)) == {(0, 1): 5.0}


def test_read_graph_takes_the_same_choices() -> None:
    assert carried(read_graph(DENSE.T, adjacency_convention="receiver_first").graph) == CARRIED
    matrix = sp.coo_array(DENSE.T)
    assert carried(read_graph(matrix, adjacency_convention="receiver_first").graph) == CARRIED
    with pytest.raises(InvalidOption, match="belongs to matrices"):
        read_graph(digraph(), adjacency_convention="receiver_first")
    many = nx.MultiDiGraph()
    many.add_weighted_edges_from([("a", "b", 2.0), ("a", "b", 3.0)])
    assert carried(read_graph(many, duplicate_edges="first").graph) == {(0, 1): 2.0}
    with pytest.raises(InvalidGraph, match="twice"):
        read_graph(many, duplicate_edges="error")
    with pytest.warns(PympnodeWarning, match="summed"):
        assert carried(read_graph(many).graph) == {(0, 1): 5.0}


def test_three_edges_with_weights_are_no_adjacency() -> None:
    edges = [(0, 1, 0.5), (1, 2, 2.0), (2, 0, 3.0)]
    x = X[:, :, :3]
    ds = pympnode.from_arrays(x, dt=0.1, edges=edges, directed=True)
    assert carried(ds) == {(0, 1): 0.5, (1, 2): 2.0, (2, 0): 3.0}
    for topology in (edges, np.array(edges)):
        with pytest.raises(InvalidGraph, match="three edges with weights, or an adjacency"):
            pympnode.from_arrays(x, dt=0.1, topology=topology, self_loops="drop")
    index = [[0, 1, 2], [1, 2, 0]]
    for two in (index, np.array(index)):
        with pytest.raises(InvalidGraph, match="senders and receivers of three edges"):
            pympnode.from_arrays(x, dt=0.1, edges=two)
    matrix = np.array([[0, 2.0, 0], [2.0, 0, 1.0], [0, 1.0, 0]])
    assert carried(pympnode.from_arrays(x, dt=0.1, topology=matrix))[0, 1] == 2.0


def test_tables_take_weights() -> None:
    pandas = pytest.importorskip("pandas")
    rows = [(t, n, float(t)) for t in range(3) for n in "abc"]
    frame = pandas.DataFrame(rows, columns=["time", "node", "v"])
    edges = pandas.DataFrame(
        {"from": ["a", "b"], "to": ["b", "c"], "weight": [2.0, -1.0], "km": [5, 6]}
    )
    ds = pympnode.from_frame(
        frame, features="v", edges=edges, directed=True, edge_attributes=["km"]
    )
    assert carried(ds) == {(0, 1): 2.0, (1, 2): -1.0}
    assert ds.edge_attribute.values.ravel().tolist() == [5.0, 6.0]
    matrix = pandas.DataFrame(DENSE[:3, :3], list("abc"), list("abc"))
    other = pympnode.from_frame(
        frame, features="v", topology=matrix, adjacency_convention="receiver_first"
    )
    assert carried(other) == {(1, 0): -2.0, (1, 2): 0.5, (2, 1): 0.25}


# ---- datasets -------------------------------------------------------------------------------------


def test_datasets_keep_weights_in_files_and_subgraphs(tmp_path: Path) -> None:
    ds = arrays(topology=[given(), given().reversed()], nodes=list("abcd"))
    ds.to_netcdf(tmp_path / "a.nc")
    back = xr.open_dataset(tmp_path / "a.nc")
    assert schema.graphs_of(back)[0].same(schema.graphs_of(ds)[0])
    assert schema.graphs_of(back)[0].attribute_names == ("twin", "number")
    packed = schema.pack(back)
    assert packed.graph[1].same(given().reversed())
    assert not schema.own_variables(ds)
    one = arrays(topology=given(), nodes=list("abcd"))
    part = schema.validate(pympnode.subgraph(one, ["b", "d", "a"]))
    at = {"b": 0, "d": 1, "a": 2}
    assert carried(part) == {(at["a"], at["b"]): -2.0, (at["d"], at["a"]): 3.0}
    assert np.array_equal(part.edge_attribute[:, 0], part.edge_weight)
    # The edges of a dataset may come in any order: weights go with them.
    shuffled = one.isel(edge=[2, 0, 3, 1])
    assert carried(shuffled) == CARRIED


def test_datasets_with_bad_weights_are_refused() -> None:
    ds = arrays(topology=given())
    for bad, words in (
        (ds.assign(edge_weight=ds.edge_weight.where(ds.edge_weight > 0)), "not finite"),
        (ds.assign(edge_weight=("edge", np.full(4, np.inf))), "not finite"),
        (ds.assign(edge_weight=("node", np.ones(4))), "wrong dims"),
        (ds.assign(edge_weight=("edge", list("abcd"))), "hold numbers"),
        (ds.assign(edge_attribute=("edge", np.ones(4))), "wrong dims"),
        (ds.assign(sender=("edge", [0, 0, 0, 0]), receiver=("edge", [1, 1, 2, 3])), "stand twice"),
        (ds.drop_vars(["sender", "receiver"]).isel(node=[0]), "belongs to edges"),
    ):
        with pytest.raises(InvalidData, match=words) as caught:
            schema.validate(bad)
        assert caught.value.got and caught.value.allowed


# ---- kernels --------------------------------------------------------------------------------------


def bound(spec: ModelSpec, graph: Graph, kernel: str, batch: int = 2) -> Any:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(batch, 4, int(graph.nodes[0]), 2))
    data = Arrays(x, 0.1 * np.arange(4), graph, np.zeros(batch, np.int64))
    return TorchEngine().bind(spec, [data], dtype="float64", kernel=kernel, device="cpu")


def outcome(spec: ModelSpec, graph: Graph, kernel: str) -> tuple[Any, ...]:
    """Loss, gradient, rollout, and the rollout's vector-Jacobian product."""
    program = bound(spec, graph, kernel)
    theta = random_theta(spec, np.random.default_rng(1), torch.float64).numpy()
    batch = Batch(np.arange(2), np.zeros(2, np.int64), 3)
    bar = np.random.default_rng(2).normal(size=(2, 4, int(graph.nodes[0]), 2))
    return (*program.loss_and_gradient(theta, batch), *program.rollout_vjp(theta, batch, bar))


SPECS = {
    "state, mean": dict(),
    "emitted, sum": dict(messages="emitted", aggregation="sum", divisor=1.5, coupling="superposed"),
}


@pytest.mark.parametrize("name", SPECS)
def test_kernels_agree_on_weighted_graphs_of_any_size(name: str) -> None:
    spec = ModelSpec(channels=2, hidden=5, **SPECS[name])
    rng = np.random.default_rng(4)
    for nodes, edges in ((6, 14), (300, 900)):  # dense products, and sums over edges
        pairs = np.unique(rng.integers(0, nodes, (edges, 2)), axis=0)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        graph = Graph.from_edges(pairs, nodes, directed=True, weight=rng.normal(size=len(pairs)))
        truth = outcome(spec, graph, "eager")
        plain = outcome(spec, graph.without_weights, "eager")
        assert not np.allclose(truth[2], plain[2], atol=1e-3)
        for kernel in ("torch", "numba"):
            for found, wanted in zip(outcome(spec, graph, kernel), truth):
                np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kernel", ["eager", "torch", "numba"])
def test_what_weights_mean(kernel: str) -> None:
    pairs = [(0, 1), (2, 1), (1, 2), (2, 0)]
    graph = Graph.from_edges(pairs, 4, directed=True)
    for options in SPECS.values():
        spec = ModelSpec(channels=2, hidden=5, **options)
        ones = outcome(spec, graph.with_weight(np.ones(4)), kernel)
        for found, wanted in zip(ones, outcome(spec, graph, kernel)):
            assert np.array_equal(found, wanted)  # bit for bit
    summed = ModelSpec(channels=2, hidden=5, aggregation="sum", divisor=1.5)
    absent = outcome(summed, graph.with_weight(graph.sender != 2), kernel)
    for found, wanted in zip(
        absent, outcome(summed, graph.select_edges(graph.sender != 2), kernel)
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-13)
    # "mean" divides by the number of edges, also of those of weight 0.
    mean = ModelSpec(channels=2, hidden=5)
    absent = outcome(mean, graph.with_weight(graph.sender != 2), kernel)
    removed = outcome(mean, graph.select_edges(graph.sender != 2), kernel)
    assert not np.allclose(absent[2], removed[2], atol=1e-6)


def test_one_edge_of_2w_is_two_of_w_for_a_sum() -> None:
    """Two senders in one state send the same; one sends with twice the weight, or both with w."""
    spec = ModelSpec(channels=2, hidden=5, messages="emitted", aggregation="sum", divisor=1.5)
    layout = layout_of(spec)
    theta = random_theta(spec, np.random.default_rng(1), torch.float64).numpy()
    z = np.random.default_rng(2).normal(size=(1, 3, 2))
    z[0, 1] = z[0, 0]
    one = Graph.single([0], [2], 3, weight=[1.4])
    two = Graph.single([0, 1], [2, 2], 3, weight=[0.7, 0.7])
    program = TorchEngine().bind(spec, dtype="float64", kernel="eager", device="cpu")
    slopes = [program.field(theta, z, graph)[0, 2] for graph in (one, two)]
    np.testing.assert_allclose(*slopes, rtol=1e-14)
    listed = Graph.from_edges([(0, 2, 0.7), (0, 2, 0.7)], 3, directed=True, duplicate_edges="sum")
    assert listed.same(one)
    wanted = equations.field(spec, layout.unpack(theta), one, z[0])
    np.testing.assert_allclose(program.field(theta, z, one)[0], wanted, rtol=1e-12)


def test_signed_weights_that_cancel_are_not_divided_by_their_sum() -> None:
    graph = Graph.single([0, 1], [2, 2], 3, weight=[1.0, -1.0])
    columns = Columns.arrange(graph, np.zeros(1, np.int64))
    assert columns.edge_weight("mean", 1.0).tolist() == [0.5, -0.5]
    assert columns.edge_weight("sum", 4.0).tolist() == [0.25, -0.25]


def test_julia_refuses_weights_in_words() -> None:
    with pytest.raises(InvalidOption, match="Julia engine takes no weights") as caught:
        edges_of(given())
    assert 'engine="torch"' in str(caught.value.fix)
    edges_of(given().without_weights)
    assert choose("auto", weighted=True)[0] == "torch"


# ---- systems --------------------------------------------------------------------------------------


def loops(name: str, x: np.ndarray, graph: Graph, p: dict[str, Any]) -> np.ndarray:
    """The fields of the systems from their equations, an edge at a time; x (node, feature)."""
    rate = np.zeros_like(x)
    for i in range(len(x)):
        if name == "kuramoto":
            rate[i] += p["frequency"]
        if name == "gene":
            rate[i] -= p["decay"] * x[i]
    for j, i, w in zip(graph.sender, graph.receiver, graph.weight):
        if name == "kuramoto":
            rate[i] += p["coupling"] * w * np.sin(x[j] - x[i])
        if name == "gene":
            rate[i] += p["coupling"] * abs(w) * (x[j] ** 2 if w > 0 else 1) / (1 + x[j] ** 2)
        if name == "heat":
            rate[i] += p["diffusivity"] * w * (x[j] - x[i])
        if name == "coupled_pendulum":
            spring = p["stiffness"] * p["length"] * w * (np.sin(x[j, 0]) - np.sin(x[i, 0]))
            rate[i, 1] += spring / (p["mass"] * p["length"] * np.cos(x[i, 0]))
        if name == "lorenz":
            rate[i] += w * p["coupling"][i, :, j, :] @ x[j]
    return rate


@pytest.mark.parametrize("name", ["kuramoto", "gene", "heat", "coupled_pendulum", "lorenz"])
def test_fields_of_systems_are_weighted_sums(name: str) -> None:
    system, graph = get(name), given()
    x = np.random.default_rng(1).normal(size=(2, 4, system.features))
    p = system.resolve_parameters({"coupling": "high"} if name == "lorenz" else None, graph)
    found = system.field(0.0, x, None, graph, p)
    if name in ("coupled_pendulum", "lorenz"):  # what nodes do by themselves
        found = found - system.uncoupled_field(0.0, x, None, graph, p)
    for one, rate in zip(x, found):
        np.testing.assert_allclose(rate, loops(name, one, graph, p), atol=1e-12)


def test_own_systems_get_the_weights() -> None:
    def field(t: float, x: Any, u: Any, graph: Graph, parameters: Any) -> Any:
        out = np.zeros_like(x)
        for j, k, w in zip(graph.sender, graph.receiver, graph.weight):
            out[:, k] += w * np.tanh(x[:, j])
        return out

    system = pympnode.own_system("weighted_tanh", field, ["v"])
    ds = pympnode.simulate(system, topology=given(), trajectories=2, steps=3, dt=0.1)
    assert carried(ds) == CARRIED
    start = ds.state.values[:, 0]
    slope = field(0.0, start, None, given(), None)
    small = pympnode.simulate(system, topology=given(), initial=start, steps=1, dt=1e-5)
    moved = (small.state.values[:, 1] - start) / 1e-5
    np.testing.assert_allclose(moved, slope, atol=1e-3)


# ---- models ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weighted() -> xr.Dataset:
    return arrays(topology=given().with_weight(np.abs(WEIGHT)))


@pytest.fixture(scope="module")
def plain() -> xr.Dataset:
    return arrays(topology=given().without_weights)


def quiet(make: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return make()


def test_attributes_of_edges_are_said_to_be_unused_once(weighted: xr.Dataset) -> None:
    with pytest.warns(PympnodeWarning, match="do not take attributes of edges: twin") as caught:
        pympnode.train(data=weighted, messages="emitted", **FAST)
    assert len(caught) == 1


def test_messages_that_are_not_chosen_take_attributes_of_edges(weighted: xr.Dataset) -> None:
    model = quiet(lambda: pympnode.train(data=weighted, **FAST)).model
    assert model.spec.messages == "pairwise" and "twin" in model.edge_attributes


@pytest.fixture(scope="module")
def with_weights(weighted: xr.Dataset) -> Any:
    return quiet(lambda: pympnode.train(data=weighted.drop_vars("edge_attribute"), **FAST)).model


@pytest.fixture(scope="module")
def without_weights(plain: xr.Dataset) -> Any:
    return quiet(lambda: pympnode.train(data=plain, **FAST)).model


def test_a_model_without_weights_refuses_them(
    without_weights: Any, weighted: xr.Dataset, plain: xr.Dataset
) -> None:
    model, graph = without_weights, schema.graphs_of(weighted)[0]
    assert model.trained.weight == () and "weight" not in model.trained.as_dict()
    for use in (
        lambda: model.rollout(weighted),
        lambda: model.rollout(plain, topology=graph),
        lambda: model.rollout(X[0, 0], topology=graph),
        lambda: model.vector_field(X[:, 0], graph=graph),
        lambda: pympnode.evaluate(model, weighted),
        lambda: pympnode.finetune(model, data=weighted.drop_vars("edge_attribute"), **FAST),
    ):
        with pytest.raises(InvalidData, match="trained without weights") as caught:
            use()
        assert "ignore_weights=True" in str(caught.value.fix)
        assert "0.25 to 3" in str(caught.value.got) and caught.value.allowed
    with_them = quiet(lambda: model.rollout(weighted, ignore_weights=True))
    assert with_them.state.equals(model.rollout(plain).state) and "edge_weight" not in with_them
    scores = quiet(lambda: pympnode.evaluate(model, weighted, ignore_weights=True))
    assert float(scores.rmse_z[0]) == float(pympnode.evaluate(model, plain).rmse_z[0])
    one = quiet(lambda: pympnode.finetune(model, data=weighted, ignore_weights=True, **FAST))
    two = pympnode.finetune(model, data=plain, **FAST)
    assert np.array_equal(one.model.theta, two.model.theta) and not one.model.trained.weight


def test_a_model_with_weights(
    with_weights: Any, weighted: xr.Dataset, plain: xr.Dataset, tmp_path: Path
) -> None:
    model = with_weights
    assert model.trained.weight == (0.25, 3.0) and "0.25 to 3" in repr(model)
    model.save(tmp_path / "m.nc")
    assert pympnode.load(tmp_path / "m.nc").trained == model.trained
    with pytest.warns(PympnodeWarning, match="does not take these attributes of edges: twin"):
        rollout = model.rollout(weighted)
    assert carried(rollout) == carried(weighted)
    words = "trained with weights of edges, 0.25 to 3, and the graph has none"
    with pytest.warns(PympnodeWarning, match=words):
        unweighted = model.rollout(plain)
    bare = weighted.drop_vars("edge_attribute")
    ones = bare.assign(edge_weight=("edge", np.ones(4)))
    assert model.rollout(ones).state.equals(unweighted.state)
    assert not np.allclose(unweighted.state, rollout.state)
    far = bare.assign(edge_weight=bare.edge_weight * 3)
    finer = replace(model, spec=model.spec.replace(substeps=3))  # stable at these weights
    with pytest.warns(
        OutsideTrainingRange, match=r"weights of edges 0.75 to 9, trained on 0.25 to 3"
    ):
        finer.rollout(far)
    with pytest.warns(PympnodeWarning, match="they are 1"):
        tuned = pympnode.finetune(model, data=plain, **FAST).model
    assert tuned.trained.weight == (1.0, 1.0)  # it goes on to take weights


def test_ensembles_and_several_datasets(weighted: xr.Dataset, plain: xr.Dataset) -> None:
    bare = weighted.drop_vars("edge_attribute")
    with pytest.warns(PympnodeWarning, match="1 of 2 datasets have no weights"):
        model = pympnode.train(data=[bare, plain], members=2, **FAST).model
    assert model.trained.weight == (0.25, 3.0)
    assert model.rollout(bare).sizes["member"] == 2


def test_families(weighted: xr.Dataset) -> None:
    bare = weighted.drop_vars("edge_attribute")
    with pytest.raises(InvalidData, match="whole system has no edges") as caught:
        pympnode.train(data=bare, model="node", **FAST)
    assert "ignore_weights=True" in str(caught.value.fix)
    model = pympnode.train(data=bare, model="node", ignore_weights=True, **FAST).model
    with pytest.raises(InvalidData, match="whole system has no edges"):
        model.rollout(bare)
    assert model.rollout(bare, ignore_weights=True).finite.all()
    sender = pympnode.train(data=bare, model="l2s", **FAST).model
    assert sender.trained.weight == (0.25, 3.0)


def test_a_simulation_to_train_on_is_weighted() -> None:
    result = pympnode.train(
        "heat", topology=given().without_weights.with_weight(np.abs(WEIGHT)),
        trajectories=6, steps=4, dt=0.1, **FAST,
    )  # fmt: skip
    assert result.model.trained.weight == (0.25, 3.0)


def test_coupled_nodes_move_by_the_weights() -> None:
    size = dict(nodes=4, trajectories=6, steps=4, dt=0.1)
    plain = pympnode.train("heat", topology="ring", **size, **FAST).model
    graph = given().without_weights.with_weight(np.abs(WEIGHT))
    with pytest.raises(InvalidData, match="trained without weights"):
        pympnode.couple([plain, "heat", "heat", "heat"], graph)
    heat = get("heat")
    parameters = heat.resolve_parameters(None, graph)
    x = np.random.default_rng(0).normal(size=(1, 4, 1))
    mixed = pympnode.couple(["heat"] * 4, graph)
    np.testing.assert_allclose(
        mixed.field(0.0, x), heat.field(0.0, x, None, graph, parameters), rtol=1e-13
    )
    model = pympnode.train("heat", topology=graph, **{**size, "nodes": None}, **FAST).model
    learned = pympnode.couple([model] * 4, graph).rollout(x, steps=2, dt=0.1)
    np.testing.assert_allclose(
        learned.state, model.rollout(x, steps=2, dt=0.1, topology=graph).state, rtol=1e-4
    )


# ---- plots ----------------------------------------------------------------------------------------


def test_plots_show_weights_signs_and_directions() -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.collections import LineCollection
    from matplotlib.patches import FancyArrowPatch

    ax = pympnode.plotting.graph_state(arrays(topology=given()), layout="circular")
    arrows = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    graph = given()
    assert len(arrows) == 4
    order = np.argsort([arrow.get_linewidth() for arrow in arrows])
    assert np.array_equal(order, np.argsort(np.abs(graph.weight)))
    dashed = [arrow.get_linestyle() in ("--", "dashed") for arrow in arrows]
    assert dashed == (graph.weight < 0).tolist()
    pairs = [(0, 1, 1.0), (1, 2, -4.0)]
    ax = pympnode.plotting.graph_state(arrays(edges=pairs), layout="circular")
    assert not [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    lines = next(c for c in ax.collections if isinstance(c, LineCollection))
    assert len(lines.get_segments()) == 2
    assert lines.get_linewidths()[1] > lines.get_linewidths()[0]
    assert lines.get_linestyles()[0][1] is None and lines.get_linestyles()[1][1] is not None
    pyplot.close("all")
