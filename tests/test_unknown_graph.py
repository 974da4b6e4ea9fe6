"""A graph that is not known is learned: data, search, pruning, model, files, errors."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pandas as pd
import pytest

import pympnode
from pympnode.errors import InvalidData, InvalidOption, NotEnoughMemory
from pympnode.graph import Graph
from pympnode.networks.pruning import Equations, prune_by_gap, prune_by_validation, solved
from pympnode.networks.unknown_graph import is_unknown

RUN = {"updates": 40, "progress": False, "kernel": "torch"}


def blind(ds):
    """The same states without their graph."""
    split = None if "split" not in ds else list(ds.split.values)
    return pympnode.from_arrays(ds.state, topology="learn", split=split)


def adjacency(ds):
    """(receiver, sender) weights of a dataset of one graph."""
    nodes = ds.sizes["node"]
    out = np.zeros((nodes, nodes))
    weight = ds.edge_weight if "edge_weight" in ds else 1.0
    out[ds.receiver.values, ds.sender.values] = weight
    return out


def area(scores, truth):
    """The area under the receiver operating characteristic of the pairs of different nodes."""
    off = ~np.eye(len(truth), dtype=bool)
    score, edge = scores[off], truth[off] != 0
    return float(np.mean(score[edge][:, None] > score[~edge]) + 0.5 * np.mean(
        score[edge][:, None] == score[~edge]
    ))  # fmt: skip


@pytest.fixture(scope="module")
def learned():
    graph = nx.gnp_random_graph(6, 0.35, seed=3, directed=True)
    ds = pympnode.simulate(
        "kuramoto", nodes=6, topology=graph, edge_weight=(0.5, 2.0), trajectories=24, seed=1
    )
    return ds, pympnode.train(data=blind(ds), **RUN)


def test_a_weighted_directed_graph_is_found(learned):
    ds, result = learned
    truth, model = adjacency(ds), result.model
    assert model.edge_scores.dims == ("receiver", "sender")
    assert area(model.edge_scores.values, truth) == 1.0
    graph = model.graph
    assert set(zip(graph.receiver, graph.sender)) == set(zip(*np.nonzero(truth)))
    assert graph.weight.mean() == pytest.approx(1.0)
    assert np.corrcoef(graph.weight, truth[graph.receiver, graph.sender])[0, 1] > 0.95
    assert "rounds" in result.history.attrs["graph"]


def test_the_model_rolls_out_on_its_graph_and_is_saved_with_it(learned, tmp_path):
    ds, result = learned
    model, data = result.model, blind(ds)
    rollout = model.rollout(data)
    np.testing.assert_array_equal(rollout.sender, model.graph.sender)
    again = model.rollout(ds.state.values[:, 0], steps=ds.sizes["time"] - 1, dt=0.05)
    np.testing.assert_allclose(again.state, rollout.state, atol=1e-5)
    model.save(tmp_path / "m.nc")
    loaded = pympnode.load(tmp_path / "m.nc")
    assert loaded.edge_scores.equals(model.edge_scores)
    np.testing.assert_array_equal(loaded.rollout(data).state, rollout.state)
    assert np.isfinite(pympnode.evaluate(model, data).rmse_z).all()
    tuned = pympnode.finetune(model, data=data, updates=1, progress=False)
    assert tuned.model.trained.weight == model.trained.weight


def test_data_of_other_nodes_are_refused(learned):
    _, result = learned
    names = list(result.model.features)
    other = pympnode.from_arrays(np.zeros((2, 5, 4, 3)), dt=0.1, topology="learn", features=names,
                                 units=["rad"] * 3)  # fmt: skip
    with pytest.raises(InvalidData, match="has learned none of these nodes"):
        result.model.rollout(other)
    with pytest.raises(InvalidOption, match="fresh model"):
        pympnode.finetune(result.model, data=other, topology="learn", progress=False)


def test_data_say_that_their_graph_is_not_known():
    rows = [(t, n, t * 0.1) for t in range(8) for n in "ab"]
    frame = pd.DataFrame(rows, columns=["time", "node", "x"])
    for ds in (
        pympnode.from_frame(frame, features="x", topology="learn"),
        pympnode.from_arrays(np.zeros((2, 5, 4, 1)), dt=0.1, topology="learn"),
    ):
        assert is_unknown(ds) and ds.sizes["edge"] == 0
    assert not is_unknown(pympnode.from_arrays(np.zeros((2, 5, 4, 1)), dt=1, topology="none"))


def test_windows_serve_where_there_are_no_derivatives(monkeypatch):
    from pympnode.networks import unknown_graph

    monkeypatch.setattr(unknown_graph, "_WINDOWS", 250)
    ds = pympnode.simulate("kuramoto", nodes=4, topology="path", trajectories=16, seed=1)
    uneven = np.delete(np.arange(51), [3, 17, 30])
    data = pympnode.from_arrays(
        ds.state.values[:, uneven], time=ds.time.values[uneven], topology="learn"
    )
    result = pympnode.train(data=data, **{**RUN, "updates": 2})
    assert "windows of rollouts" in result.history.attrs["graph"]
    assert area(result.model.edge_scores.values, adjacency(ds)) > 0.9


def test_least_squares_are_exact_and_non_negative():
    rng = np.random.default_rng(0)
    truth = np.where(rng.random((5, 5)) < 0.4, rng.uniform(0.5, 2, (5, 5)), 0.0)
    np.fill_diagonal(truth, 0.0)
    gain, sent = rng.normal(size=(60, 5, 2, 3)), rng.normal(size=(60, 5, 3))
    rest = np.einsum("sidp,ij,sjp->sid", gain, truth, sent)
    rest[3, 2] = np.nan  # a derivative that is not known
    made = Equations(np.repeat(np.arange(6), 10), rest, gain, sent)
    weight, residual = solved(made)
    np.testing.assert_allclose(weight, truth, atol=1e-6)
    assert residual < 1e-10
    noisy = Equations(made.trajectory, rest + 0.3 * rng.normal(size=rest.shape), gain, sent)
    weight, _ = solved(noisy)
    assert (weight >= 0).all()
    kept, text = prune_by_validation(weight, noisy, noisy)
    np.testing.assert_array_equal(kept, truth > 0)
    assert "sparsest" in text


def test_a_gap_separates_edges():
    weight = np.array([[0, 0.9, 0.05], [0.7, 0, 0.08], [0.06, 1.0, 0]])
    kept, _ = prune_by_gap(weight)
    np.testing.assert_array_equal(kept, weight > 0.5)


def test_all_pairs_are_refused_before_their_memory_is_taken(monkeypatch):
    import pympnode.memory

    monkeypatch.setattr(pympnode.memory, "available_bytes", lambda device="cpu": 1 << 27)
    data = pympnode.from_arrays(np.zeros((2, 12, 2000, 1)), dt=0.1, topology="learn")
    with pytest.raises(NotEnoughMemory, match="all pairs of 2,000 nodes"):
        pympnode.train(data=data, **RUN)


def test_one_dataset_of_several_nodes_is_asked_for():
    data = pympnode.from_arrays(np.zeros((4, 12, 3, 1)), dt=0.1, topology="learn")
    with pytest.raises(InvalidOption, match="one dataset"):
        pympnode.train(data=[data, data], **RUN)
    one = pympnode.from_arrays(np.zeros((4, 12, 1, 1)), dt=0.1)
    with pytest.raises(InvalidData, match="no graph to learn"):
        pympnode.train(data=one, topology="learn", **RUN)


@pytest.mark.slow
@pytest.mark.parametrize(
    "system, options, trajectories",
    [
        ("kuramoto", dict(nodes=10), 50),
        ("kuramoto", dict(nodes=10, noise=0.05), 50),
        ("gene", dict(nodes=16), 150),
        ("kuramoto", dict(nodes=50, topology=("BA", {"k": 2})), 50),
        ("kuramoto", dict(nodes=12, topology=Graph.from_edges(
            [(i, (3 * i + j) % 12) for i in range(12) for j in (1, 4, 6) if (3 * i + j) % 12 != i],
            12, directed=True), edge_weight=(0.2, 2.0)), 100),
    ],
)  # fmt: skip
def test_graphs_of_systems(system, options, trajectories):
    ds = pympnode.simulate(system, **options, trajectories=trajectories, seed=1, graph_seed=7)
    clean = {k: v for k, v in options.items() if k != "noise"}
    test = pympnode.simulate(system, **clean, trajectories=30, seed=9, graph_seed=7, split=None)
    run = {"updates": 500, "progress": False}
    model = pympnode.train(data=blind(ds), **run).model
    assert area(model.edge_scores.values, adjacency(ds)) >= 0.98
    error = pympnode.evaluate(model, blind(test)).rmse_z.sel(predictor="model")
    known = pympnode.train(data=ds, **run).model
    assert error <= 1.5 * pympnode.evaluate(known, test).rmse_z.sel(predictor="model")
