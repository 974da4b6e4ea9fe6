"""Node identity: edges join the nodes that the user named, whatever the order of names and rows."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import pympnode
from pympnode.errors import InvalidData, InvalidGraph, PympnodeError
from pympnode.networks import schema

X = np.zeros((3, 5, 4, 1))
# As nx.read_edgelist(..., nodetype=int) gives it: the nodes were added in the order 3, 0, 2, 1.
GRAPH = nx.Graph([(3, 0), (0, 2), (2, 1)])
WANTED = {frozenset(edge) for edge in GRAPH.edges}
NAMED = nx.relabel_nodes(GRAPH, dict(enumerate("abcd")))
FAST: dict[str, Any] = dict(epochs=1, kernel="eager", progress=False)


def edges(ds: xr.Dataset) -> set[frozenset[Any]]:
    """The edges of a dataset as pairs of labels."""
    label = [v.item() if hasattr(v, "item") else v for v in ds.node.values]
    return {
        frozenset((label[a], label[b]))
        for a, b in zip(ds.sender.values, ds.receiver.values, strict=True)
    }


def of_graph(graph: pympnode.Graph) -> set[frozenset[int]]:
    pairs = zip(graph.sender.tolist(), graph.receiver.tolist(), strict=True)
    return {frozenset(pair) for pair in pairs}


def arrays(x: Any = X, **options: Any) -> xr.Dataset:
    return pympnode.from_arrays(x, dt=1.0, **options)


def matrix(order: list[Any], graph: nx.Graph = GRAPH) -> pd.DataFrame:
    values = nx.to_numpy_array(graph, nodelist=order, weight=None)
    return pd.DataFrame(values, index=order, columns=order)


@pytest.fixture(scope="module")
def model() -> pympnode.Model:
    return pympnode.train("heat", nodes=4, topology="ring", trajectories=4, steps=4, **FAST).model


# ---- networkx -----------------------------------------------------------------------------------

FUNCTIONS: dict[str, Callable[[Any, Any], set[Any]]] = {
    "from_arrays": lambda g, model: edges(arrays(topology=g)),
    "from_arrays edges": lambda g, model: edges(arrays(edges=g)),
    "several": lambda g, model: edges(arrays(topology=[g, g])),
    "from_frame": lambda g, model: edges(
        pympnode.from_frame(table([2, 0, 3, 1]), features="v", topology=g)
    ),
    "simulate": lambda g, model: edges(
        pympnode.simulate("heat", nodes=4, topology=g, trajectories=2, steps=2)
    ),
    "train": lambda g, model: edges(
        pympnode.train("heat", nodes=4, topology=g, trajectories=4, steps=2, **FAST).model.rollout(
            np.zeros((4, 1)), steps=1, topology=g, check=False
        )
    ),
    "rollout": lambda g, model: edges(
        model.rollout(np.zeros((4, 1)), steps=2, topology=g, check=False)
    ),
    "rollout of data": lambda g, model: edges(
        model.rollout(arrays(topology="none"), topology=g, check=False)
    ),
    "couple": lambda g, model: of_graph(pympnode.couple(["heat"] * 4, g).graph),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_whole_numbers_of_networkx_are_the_numbers(name: str, model: pympnode.Model) -> None:
    directed = nx.DiGraph([*GRAPH.edges, *((b, a) for a, b in GRAPH.edges)])
    for graph in (GRAPH, directed, nx.relabel_nodes(GRAPH, np.int64)):
        assert FUNCTIONS[name](graph, model) == WANTED


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n not in ("simulate", "train")])
def test_names_that_the_data_do_not_have_are_refused(name: str, model: pympnode.Model) -> None:
    for graph in (NAMED, nx.relabel_nodes(GRAPH, lambda k: k + 1)):
        with pytest.raises(PympnodeError, match="not in the data"):
            FUNCTIONS[name](graph, model)


def test_simulated_data_take_the_names_of_their_graph() -> None:
    wanted = {frozenset(edge) for edge in NAMED.edges}
    for topology in (NAMED, matrix(list("dacb"), NAMED)):
        ds = pympnode.simulate("heat", topology=topology, trajectories=1, steps=2)
        assert set(ds.node.values) == set("abcd") and edges(ds) == wanted
    later = nx.relabel_nodes(GRAPH, lambda k: 10 * k)
    ds = pympnode.simulate("heat", topology=later, trajectories=1, steps=2)
    assert ds.node.values.tolist() == [0, 10, 20, 30]
    assert edges(ds) == {frozenset(edge) for edge in later.edges}


def test_names_are_matched_to_the_labels_of_arrays() -> None:
    wanted = {frozenset(edge) for edge in NAMED.edges}
    x = xr.DataArray(X[0, :, :, 0], dims=("time", "node"), coords={"node": list("dbca")})
    for topology in (
        NAMED,
        [(a, b) for a, b in NAMED.edges],
        matrix(list("cadb"), NAMED),
        xr.DataArray(
            matrix(list("cadb"), NAMED).values,
            dims=("receiver", "sender"),
            coords={"receiver": list("cadb"), "sender": list("cadb")},
        ),
    ):
        assert edges(arrays(nodes=list("dbca"), topology=topology)) == wanted
        assert edges(arrays(x, topology=topology)) == wanted
    text = nx.relabel_nodes(GRAPH, str)  # as nx.read_edgelist gives it without nodetype
    assert edges(arrays(topology=text)) == WANTED
    # Whole numbers that are labels are labels, not positions.
    assert edges(arrays(nodes=[3, 2, 1, 0], edges=[(0, 1)])) == {frozenset((0, 1))}
    with pytest.raises(InvalidData, match="4 labels"):
        str(arrays(nodes=["a"], topology="ring"))


def test_pairs_come_as_anything_that_holds_them() -> None:
    pairs = list(GRAPH.edges)
    for given in (set(pairs), iter(pairs), GRAPH.edges, np.array(pairs), tuple(pairs)):
        assert edges(arrays(topology=given)) == WANTED
    assert edges(arrays(edges=((a, b) for a, b in pairs))) == WANTED
    grid = nx.grid_2d_graph(2, 2)
    ds = arrays(topology=grid, nodes=list(grid))
    assert edges(ds) == {frozenset((str(a), str(b))) for a, b in grid.edges}
    for given in ("ring", 3, {0: [1]}):
        with pytest.raises(InvalidGraph, match="pairs of nodes"):
            arrays(edges=given)
    with pytest.raises(InvalidData, match="two nodes have the same label"):
        arrays(topology="ring", nodes=list("aabc"))
    with pytest.raises(InvalidData, match="a table in long form"):
        pympnode.from_frame(ds, features="v")


def test_a_matrix_with_labels_is_never_read_by_position() -> None:
    assert edges(arrays(topology=matrix([2, 0, 1, 3]))) == WANTED
    larger = nx.Graph([*NAMED.edges, ("d", "e")])
    with pytest.raises(InvalidGraph, match="other nodes than the data"):
        arrays(nodes=list("abcd"), topology=matrix(list("abcde"), larger))
    lost = matrix(list("abcd"), NAMED).reset_index(drop=True)
    with pytest.raises(InvalidGraph, match="different labels"):
        arrays(nodes=list("abcd"), topology=lost)


# ---- tables -------------------------------------------------------------------------------------


def table(nodes: Any, times: int = 3) -> pd.DataFrame:
    rows = [(t, node, float(t)) for t in range(times) for node in nodes]
    return pd.DataFrame(rows, columns=["time", "node", "v"])


def test_tables_keep_the_order_that_was_given() -> None:
    path = nx.to_numpy_array(nx.path_graph(4))
    order = ["n1", "n2", "n10", "n9"]
    chain = {frozenset(pair) for pair in pairwise(order)}
    frame = table(order)
    categorical = pd.Categorical(frame.node, categories=["n0", *order[::-1]])
    for given, options in (
        (frame, {}),
        (frame.astype({"node": "string"}), {}),
        (frame.assign(node=categorical), {}),
        (frame.sample(frac=1.0, random_state=1), {"nodes": order}),
        (frame.set_index(["time", "node"]), {}),
    ):
        ds = pympnode.from_frame(given, features="v", topology=path, **options)
        assert edges(ds) == chain
    assert ds.node.values.tolist() == order
    assert (
        pympnode.from_frame(
            frame.assign(node=categorical), features="v", topology=path
        ).node.values.tolist()
        == order[::-1]
    )
    labelled = pd.DataFrame(path, index=sorted(order), columns=sorted(order))
    by_label = pympnode.from_frame(frame, features="v", topology=labelled)
    assert edges(by_label) == {frozenset(p) for p in pairwise(sorted(order))}
    with pytest.raises(InvalidData, match="not the list of the nodes"):
        pympnode.from_frame(frame, features="v", topology=path, nodes=order[:3])


def test_edges_of_a_table_are_labels() -> None:
    frame = table([30, 10, 20])
    ds = pympnode.from_frame(frame, features="v", topology=[(10, 30)])
    assert ds.node.values.tolist() == [10, 20, 30] and edges(ds) == {frozenset((10, 30))}
    ends = pd.DataFrame({"id": [7], "target": ["b"], "source": ["a"]})
    one_way = pympnode.from_frame(table("ab"), features="v", edges=ends, directed=True)
    assert one_way.node.values[one_way.sender.values].tolist() == ["a"]
    # Leading zeros were lost on one side.
    with pytest.raises(InvalidData, match="not in the data"):
        pympnode.from_frame(table(["00010", "00020"]), features="v", topology=nx.Graph([(10, 20)]))


nan_time = table("ab").astype({"time": float})
nan_time.loc[2, "time"] = np.nan


@pytest.mark.parametrize(
    ("frame", "options", "words"),
    [
        (table([1, "a"]), {}, "mixes labels"),
        (table(["a", None]), {}, "lacks labels"),
        (table([1.0, np.nan]), {}, "lacks labels"),
        (table("ab").assign(run=[1, np.nan] * 3), {"trajectory": "run"}, "lacks labels"),
        (nan_time, {"dt": 1.0}, "no time"),
        (nan_time, {}, "no time"),
        (pd.concat([table("ab"), table("ab")[["v"]]], axis=1), {}, "have one name"),
        (table("ab"), {"dt": 0.0}, "dt"),
    ],
)
def test_tables_with_holes_in_their_labels(frame: Any, options: Any, words: str) -> None:
    with pytest.raises(PympnodeError, match=words) as caught:
        pympnode.from_frame(frame, features="v", topology="none", **options)
    assert caught.value.got is not None


# ---- selecting nodes ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chain() -> xr.Dataset:
    x = np.random.default_rng(0).normal(size=(4, 6, 4, 1))
    ds = pympnode.from_arrays(x, dt=0.05, edges=[(0, 1)], features=["temperature"])
    return ds.assign_coords(node=list("dcba"))  # labels given later; d is joined to c


MOVED: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "sortby": lambda ds: ds.sortby("node"),
    "reversed": lambda ds: ds.isel(node=slice(None, None, -1)),
    "sel": lambda ds: ds.sel(node=["b", "a"]),
    "isel": lambda ds: ds.isel(node=[3, 2, 1, 0]),
    "reindex": lambda ds: ds.reindex(node=list("abcd")),
    "older file": lambda ds: (
        ds.drop_vars("node_number").assign_coords(node=range(4)).isel(node=[3, 2, 1, 0])
    ),
    "drop_isel": lambda ds: ds.drop_isel(node=[0]),
}


@pytest.mark.parametrize("name", MOVED)
def test_nodes_that_moved_are_refused_where_data_are_read(
    name: str, chain: xr.Dataset, model: pympnode.Model
) -> None:
    moved = MOVED[name](chain)
    for read in (
        lambda: pympnode.train(data=moved, **FAST),
        lambda: model.rollout(moved, check=False),
        lambda: pympnode.evaluate(model, moved),
    ):
        with pytest.raises(InvalidData, match=r"selected or sorted") as caught:
            read()
        assert "pympnode.subgraph" in str(caught.value.fix)


def test_subgraph_selects_nodes_with_their_edges(chain: xr.Dataset) -> None:
    for moved in (chain, chain.sortby("node"), chain.sel(node=list("cbd"))):
        chosen = pympnode.subgraph(moved, ["c", "b", "d"])
        schema.validate(chosen)
        assert edges(chosen) == {frozenset("cd")} and chosen.node.values.tolist() == list("cbd")
        np.testing.assert_array_equal(chosen.state.sel(node="d"), chain.state.sel(node="d"))
    assert pympnode.subgraph(chain, ["b", "a"]).sizes["edge"] == 0
    ds = pympnode.simulate("gene", nodes=5, topology=nx.path_graph(5), trajectories=2, steps=2)
    back = pympnode.subgraph(pympnode.subgraph(ds, [4, 2, 3, 0, 1]), range(5))
    xr.testing.assert_identical(back, ds)
    for nodes in (["z"], [], ["a", "a"]):
        with pytest.raises(InvalidData, match=r"each (label )?once"):
            pympnode.subgraph(chain, nodes)


def test_graph_numbers_that_are_missing_or_out_of_range() -> None:
    two = arrays(topology=[nx.path_graph(4), nx.cycle_graph(4)])
    schema.validate(two.isel(trajectory=[1, 0]))
    for broken, words in (
        (two.drop_vars("graph"), "no 'graph'"),
        (two.drop_vars("edge_graph"), "no 'edge_graph'"),
        (two.drop_vars("graph").drop_attrs(), "no 'graph'"),
        (two.drop_vars("edge_graph").drop_attrs(), "no 'edge_graph'"),
        (two.assign(graph=two.graph + 1), "does not exist"),
        (two.assign(graph=two.graph + 1).drop_attrs(), "without any edge"),
        (two.assign(edge_graph=two.edge_graph * 7), "does not exist"),
        (two.assign(edge_graph=two.edge_graph * 1.0), "whole numbers"),
        (two.assign(graph=two.graph * 1.0), "whole numbers"),
        (two.assign(edge_graph=two.edge_graph - 1), "negative"),
    ):
        with pytest.raises(InvalidData, match=words):
            schema.validate(broken)


# ---- labels in rollouts -------------------------------------------------------------------------


def test_labels_survive_every_rollout(chain: xr.Dataset, model: pympnode.Model) -> None:
    ds = chain.assign_coords(trajectory=list("wxyz"), height=("node", np.arange(4.0)))
    start = ds.state.isel(time=0).transpose("feature", "node", "trajectory")
    ensemble = pympnode.train(data=ds, members=2, **FAST).model
    mixed = pympnode.couple([model] * 4, nx.path_graph(4))
    options: tuple[dict[str, Any], ...] = (
        {}, {"steps": 2}, {"steps": 9}, {"dt": 0.1}, {"topology": nx.Graph([("a", "d")])},
    )  # fmt: skip
    rollouts = [one.rollout(ds, check=False, **o) for one in (model, ensemble) for o in options]
    rollouts += [
        model.rollout(start, steps=3, topology=[("a", "d")], check=False),
        mixed.rollout(start, steps=3, check=False),
        pympnode.evaluate(ensemble, ds).predicted,
    ]
    for out in rollouts:
        assert out.node.values.tolist() == list("dcba")
        assert out.trajectory.values.tolist() == list("wxyz")
        assert out.height.values.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert rollouts[3].time.values[1] == pytest.approx(0.1)
    assert edges(rollouts[4]) == edges(rollouts[-3]) == {frozenset("ad")}
    first = start.transpose("trajectory", "node", "feature")
    np.testing.assert_allclose(rollouts[-3].state.isel(time=0), first, rtol=1e-6)


def test_labels_of_particles_survive() -> None:
    ds = pympnode.simulate("gravity", particles=3, trajectories=3, steps=3, progress=False)
    ds = ds.assign_coords(particle=["sun", "earth", "moon"], trajectory=[7, 8, 9])
    model = pympnode.train(data=ds, updates=1, model="deltagn", progress=False).model
    for options in ({}, {"steps": 1}):
        out = model.rollout(ds, check=False, **options)
        assert out.particle.values.tolist() == ["sun", "earth", "moon"]
        assert out.trajectory.values.tolist() == [7, 8, 9]


# ---- graphs of read_graph -----------------------------------------------------------------------


@pytest.mark.parametrize("order", ["abcd", "dbca"])
def test_a_read_graph_is_matched_by_its_labels(order: str) -> None:
    read = pympnode.read_graph(NAMED)
    wanted = {frozenset(edge) for edge in NAMED.edges}
    assert edges(arrays(nodes=list(order), topology=read)) == wanted
    table = pd.DataFrame(
        [(t, node, 0.0) for t in range(3) for node in order], columns=["time", "node", "x"]
    )
    for keyword in ("edges", "topology"):
        assert edges(pympnode.from_frame(table, features="x", **{keyword: read})) == wanted
    two = arrays(nodes=list(order), topology=[read, read])
    assert two.sizes["edge"] == 2 * len(read.graph.sender)
    made = pympnode.simulate("heat", topology=read, trajectories=2, steps=2)
    assert edges(made) == wanted
    with pytest.raises(PympnodeError, match="not in the data"):
        arrays(nodes=["a", "b", "c", "x"], topology=read)


def test_a_read_matrix_without_names_is_in_the_order_of_the_nodes() -> None:
    matrix = np.zeros((4, 4))
    matrix[0, 1] = 1.0
    ds = arrays(nodes=list("dbca"), topology=pympnode.read_graph(matrix))
    assert ds.sender.values.tolist() == [0] and ds.receiver.values.tolist() == [1]
    with pytest.raises(InvalidGraph, match="another number of nodes"):
        arrays(nodes=list("dbca"), topology=pympnode.read_graph(matrix[:3, :3]))


def test_numbers_from_one_without_labels_say_so() -> None:
    with pytest.raises(InvalidGraph, match="subtract 1"):
        arrays(edges=[(1, 2), (3, 4)])
    assert edges(arrays(edges=[(1, 2), (3, 4)], nodes=[1, 2, 3, 4])) == {
        frozenset((1, 2)),
        frozenset((3, 4)),
    }
