"""The user's own numbers: arrays, tables in long form, gaps, uneven time, a given split."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import pympnode
from pympnode.errors import InvalidData, InvalidGraph, InvalidOption
from pympnode.networks import schema

TRAIN: dict[str, Any] = dict(
    kernel="eager", hidden=8, message_size=2, batch_size=8, progress=False, dtype="float64"
)


def long_form(ds: xr.Dataset) -> pd.DataFrame:
    """A table of a dataset, as a user would have it: one row for each trajectory, time and node."""
    wide = ds.state.drop_vars("unit").to_dataset("feature").to_dataframe().reset_index()
    return wide[["trajectory", "time", "node", *map(str, ds.feature.values)]]


@pytest.fixture(scope="module")
def kuramoto() -> xr.Dataset:
    return pympnode.simulate("kuramoto", nodes=5, topology="ring", trajectories=12, steps=8)


EDGES = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)]


# ---- arrays -----------------------------------------------------------------------------------


def test_arrays_come_back_as_they_were(kuramoto: xr.Dataset) -> None:
    x = kuramoto.state.values
    ds = pympnode.from_arrays(
        x, dt=0.05, edges=EDGES, features=["a", "b", "c"], units=["rad"] * 3, time_unit="s"
    )
    np.testing.assert_array_equal(ds.state, x)
    np.testing.assert_allclose(ds.time, kuramoto.time, rtol=0, atol=1e-15)
    assert ds.time.units == "s" and list(ds.unit.values) == ["rad"] * 3
    assert schema.graphs_of(ds)[0].same(schema.graphs_of(kuramoto)[0])
    one = pympnode.from_arrays(x[0], dt=0.05, edges=EDGES)
    assert one.sizes["trajectory"] == 1


def test_several_graphs_and_directed_edges() -> None:
    x = np.zeros((4, 3, 3, 1))
    ring, none = nx.cycle_graph(3), nx.empty_graph(3)
    ds = pympnode.from_arrays(x, dt=1.0, topology=[ring, none], graph_of=[0, 0, 1, 1])
    graph, of = schema.graphs_of(ds)
    assert graph.graphs == 2 and list(of) == [0, 0, 1, 1]
    assert list(graph[0].in_degree) == [2, 2, 2] and graph[1].edges == 0
    chain = pympnode.from_arrays(x, dt=1.0, edges=[(0, 1), (1, 2)], directed=True)
    assert list(schema.graphs_of(chain)[0].in_degree) == [0, 1, 1]


X = np.zeros((2, 4, 3, 1))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (dict(x=np.zeros(4)), InvalidData, "number of axes"),
        (dict(x=[[1.0, 2.0], [3.0]]), InvalidData, "does not hold numbers"),
        (dict(x=np.full(X.shape, np.inf)), InvalidData, "not finite"),
        (dict(x=np.full(X.shape, np.nan)), InvalidData, "first state"),
        (dict(dt=None), InvalidData, "time step or the times"),
        (dict(dt=0.0), InvalidOption, "positive"),
        (dict(dt=None, time=[0, 1, 2]), InvalidData, "time does not fit x"),
        (dict(dt=None, time=[0, 2, 1, 3]), InvalidData, "must increase"),
        (dict(edges=None), InvalidData, "needs a graph"),
        (dict(edges=[(0, 3)]), InvalidGraph, "0 to 2"),
        (dict(edges=[(0, -1)]), InvalidGraph, "0 to 2"),
        (dict(edges=[(0.5, 1)]), InvalidGraph, "whole numbers"),
        (dict(edges=[(1, 1)]), InvalidGraph, "self loops"),
        (dict(topology="ring"), InvalidData, "one of them"),
        (dict(control=np.zeros((2, 3, 3, 1))), InvalidData, r"\(trajectory, time, node, c"),
        (dict(control=np.full((2, 4, 3, 1), np.nan)), InvalidData, "not finite"),
        (dict(node_attribute=np.zeros((2, 1))), InvalidData, "node_attribute does not fit"),
        (dict(features=["a", "b"]), InvalidData, "features does not fit"),
        (dict(units=["m", "s"]), InvalidData, "units does not fit"),
        (dict(split=["train"]), InvalidData, "split does not fit"),
        (dict(split=["train", "tset"]), InvalidData, "unknown names"),
        (dict(graph_of=[0, 1]), InvalidData, "graph_of"),
    ],
)
def test_bad_arrays_are_refused_in_words(change: Any, error: type, words: str) -> None:
    options: dict[str, Any] = {"x": X, "dt": 0.1, "edges": [(0, 1)], **change}
    x = options.pop("x")
    with pytest.raises(error, match=words) as caught:
        pympnode.from_arrays(x, **options)
    assert caught.value.got is not None


def test_the_old_name_of_inputs_warns() -> None:
    inputs = np.arange(24.0).reshape(2, 4, 3, 1)
    with pytest.warns(DeprecationWarning, match="control=") as caught:
        old = pympnode.from_arrays(X, dt=0.1, edges=[(0, 1)], u=inputs)
    assert caught[0].filename == __file__
    xr.testing.assert_identical(
        old, pympnode.from_arrays(X, dt=0.1, edges=[(0, 1)], control=inputs)
    )
    with pytest.raises(InvalidData, match="given twice"):
        pympnode.from_arrays(X, dt=0.1, edges=[(0, 1)], u=inputs, control=inputs)


# ---- tables -----------------------------------------------------------------------------------


def test_a_table_in_any_order_gives_the_dataset(kuramoto: xr.Dataset) -> None:
    table = long_form(kuramoto).sample(frac=1.0, random_state=1)
    ds = pympnode.from_frame(
        table, features=list(kuramoto.feature.values), trajectory="trajectory", edges=EDGES
    )
    np.testing.assert_array_equal(ds.state, kuramoto.state)
    np.testing.assert_array_equal(ds.time, kuramoto.time)
    assert schema.graphs_of(ds)[0].same(schema.graphs_of(kuramoto)[0])


def test_labels_of_nodes_name_the_edges_and_stay() -> None:
    towns = ["Ulm", "Bonn", "Kiel"]
    rows = [(t, town, 10.0 * i + t) for t in (0.0, 1.0, 3.0) for i, town in enumerate(towns)]
    table = pd.DataFrame(rows, columns=["hour", "town", "level"])
    ds = pympnode.from_frame(
        table, features="level", time="hour", node="town", edges=[("Ulm", "Kiel")], time_unit="h"
    )
    assert list(ds.node.values) == towns and ds.time.units == "h"
    assert float(ds.state.sel(node="Kiel", time=3.0).squeeze()) == 23.0
    graph = schema.graphs_of(ds)[0]
    assert sorted(zip(graph.sender, graph.receiver)) == [(0, 2), (2, 0)]
    drawn = nx.Graph([("Ulm", "Kiel")])
    same = pympnode.from_frame(table, features="level", time="hour", node="town", topology=drawn)
    assert schema.graphs_of(same)[0].same(graph)
    ends = pd.DataFrame({"from": ["Ulm"], "to": ["Kiel"]})
    listed = pympnode.from_frame(table, features="level", time="hour", node="town", edges=ends)
    assert schema.graphs_of(listed)[0].same(graph)


def test_rows_that_lack_are_missing(kuramoto: xr.Dataset) -> None:
    table = long_form(kuramoto)
    rng = np.random.default_rng(3)
    keep = (rng.random(len(table)) > 0.3) | (table.time == 0) | (table.node == 0)
    features = list(kuramoto.feature.values)
    ds = pympnode.from_frame(table[keep], features=features, trajectory="trajectory", edges=EDGES)
    gone = np.isnan(ds.state.values)
    assert 0.15 < gone.mean() < 0.35
    np.testing.assert_array_equal(ds.state.values[~gone], kuramoto.state.values[~gone])
    with pytest.raises(InvalidData, match="missing="):
        pympnode.train(data=ds, epochs=1, **TRAIN)


def test_a_grid_with_a_step_has_holes_where_no_row_is() -> None:
    table = pd.DataFrame({"time": [0.0, 0.1, 0.4], "node": 0, "x": [1.0, 2.0, 3.0]})
    even = pympnode.from_frame(table, features="x", dt=0.1)
    assert even.sizes["time"] == 5 and int(np.isnan(even.state).sum()) == 2
    uneven = pympnode.from_frame(table, features="x")
    np.testing.assert_allclose(np.diff(uneven.time), [0.1, 0.3])
    with pytest.raises(InvalidData, match="between the points"):
        pympnode.from_frame(table, features="x", dt=0.15)


def test_time_may_count_from_each_first_row() -> None:
    table = pd.DataFrame(
        {"time": [5.0, 6.0, 9.0, 10.0], "run": [1, 1, 2, 2], "node": 0, "x": [1.0, 2.0, 3.0, 4.0]}
    )
    with pytest.raises(InvalidData, match="second half") as caught:
        pympnode.from_frame(table, features="x", trajectory="run")
    assert "relative_time=True" in str(caught.value.fix)
    ds = pympnode.from_frame(table, features="x", trajectory="run", relative_time=True)
    np.testing.assert_array_equal(ds.time, [0.0, 1.0])
    np.testing.assert_array_equal(ds.state.values[:, :, 0, 0], [[1, 2], [3, 4]])


def test_controls_attributes_and_split_are_columns() -> None:
    rows = [
        (run, t, node, run + t + node, t * 0.5, node * 2.0, "test" if run else "train")
        for run in (0, 1)
        for t in (0.0, 1.0, 2.0)
        for node in (0, 1)
    ]
    names = ["run", "time", "node", "x", "push", "rate", "part"]
    table = pd.DataFrame(rows, columns=names)
    options: dict[str, Any] = dict(
        features="x", trajectory="run", controls=["push"], attributes=["rate"], split="part",
        edges=[(0, 1)],
    )  # fmt: skip
    ds = pympnode.from_frame(table, **options)
    assert ds.control.shape == (2, 3, 2, 1) and float(ds.control[0, 2, 0, 0]) == 1.0
    assert list(ds.node_attribute.values[:, 0]) == [0.0, 2.0]
    assert list(ds.split.values) == ["train", "test"]
    changing = table.assign(rate=np.arange(len(table)))
    with pytest.raises(InvalidData, match="must not change"):
        pympnode.from_frame(changing, **options)


TABLE = pd.DataFrame({"time": [0.0, 0.0, 1.0, 1.0], "node": [0, 1, 0, 1], "x": [1.0, 2, 3, 4]})


@pytest.mark.parametrize(
    ("table", "options", "words"),
    [
        ([1, 2], {}, "table in long form"),
        (TABLE.drop(columns="node"), {}, "lacks columns"),
        (TABLE.iloc[:0], {}, "no rows"),
        (pd.concat([TABLE, TABLE]), {}, "two rows at the same time"),
        (TABLE.assign(time="2020-01-01"), {}, "times must be numbers"),
        (TABLE.assign(time=pd.to_datetime("2020-01-01")), {}, "two rows at the same time"),
        (TABLE.assign(x="high"), {}, "does not hold numbers"),
        (TABLE, {"edges": [(0, 7)]}, "has no rows"),
        (TABLE, {"edges": [(0, 1, 0, 2), (1, 0, 1, 2)]}, "a pair of nodes"),
        (TABLE, {"edges": [(0, 1)], "units": ["m", "s"]}, "units does not fit"),
    ],
)
def test_bad_tables_are_refused_in_words(table: Any, options: Any, words: str) -> None:
    with pytest.raises(InvalidData, match=words):
        pympnode.from_frame(table, **{"features": "x", "topology": "none", **options} if not options
                            else {"features": "x", **options})  # fmt: skip


# ---- training on them -------------------------------------------------------------------------


def test_training_on_uneven_time_with_gaps_finds_the_decay() -> None:
    """x' = -x on uneven times with a third of the values missing: rollouts follow exp(-t)."""
    rng = np.random.default_rng(0)
    time = np.sort(np.concatenate([[0.0], rng.uniform(0.05, 2.0, 15)]))
    start = rng.uniform(-2, 2, (40, 1, 1, 1))
    x = start * np.exp(-time)[None, :, None, None]
    gaps = rng.random(x.shape) < 0.33
    gaps[:, 0] = False
    ds = pympnode.from_arrays(np.where(gaps, np.nan, x), time=time)
    result = pympnode.train(
        data=ds, missing="mask", epochs=20, learning_rate=2e-2, messages="zero", **TRAIN
    )
    out = result.model.rollout(ds)
    np.testing.assert_array_equal(out.time, ds.time)
    spread = float(np.std(x))
    error = np.sqrt(np.mean((out.state.values - x)[:, 1:] ** 2))
    still = np.sqrt(np.mean((x[:, :1] - x)[:, 1:] ** 2))
    assert error < 0.2 * min(spread, still)


def test_test_trajectories_are_used_for_nothing(kuramoto: xr.Dataset) -> None:
    marks = np.array(["train"] * 8 + ["validation"] * 2 + ["test"] * 2)
    given = kuramoto.assign(split=("trajectory", marks))
    wild = given.copy(deep=True)
    wild.state.values[10:] += 1e3
    first = pympnode.train(data=given, epochs=2, **TRAIN)
    other = pympnode.train(data=wild, epochs=2, **TRAIN)
    np.testing.assert_array_equal(first.model.theta, other.model.theta)
    assert first.model.state_scale.same(other.model.state_scale)
    assert first.model.trained.high == other.model.trained.high
    assert first.model.trained.trajectories == 10
    held = first.test_set()
    assert list(held.trajectory.values) == [10, 11]
    changed = given.copy(deep=True)
    changed.state.values[0] += 0.1
    third = pympnode.train(data=changed, epochs=2, **TRAIN)
    assert not np.array_equal(first.model.theta, third.model.theta)


def test_only_test_trajectories_is_an_error(kuramoto: xr.Dataset) -> None:
    ds = kuramoto.assign(split=("trajectory", np.full(12, "test")))
    with pytest.raises(InvalidData, match="nothing to train"):
        pympnode.train(data=ds, epochs=1, **TRAIN)


def test_a_dataset_with_another_time_step_is_refused(kuramoto: xr.Dataset) -> None:
    coarse = kuramoto.isel(time=slice(None, None, 2))
    with pytest.raises(InvalidData, match="another time step") as caught:
        pympnode.train(data=[kuramoto, coarse], epochs=1, **TRAIN)
    assert "0.1" in str(caught.value.got) and "0.05" in str(caught.value.allowed)


def test_uneven_datasets_train_together(kuramoto: xr.Dataset) -> None:
    first = kuramoto.isel(time=[0, 1, 3, 4, 6])
    second = kuramoto.isel(time=[0, 2, 3, 5, 8])
    result = pympnode.train(data=[first, second], epochs=2, **TRAIN)
    assert result.status == "completed"
    assert result.model.trained.dt == pytest.approx((0.05, 0.15))
