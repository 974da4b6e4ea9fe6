"""A graph that is not known is learned: data, search, pruning, model, files, errors."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pandas as pd
import pytest

import pympnode
from pympnode.errors import InvalidData, InvalidOption, NotEnoughMemory
from pympnode.graph import Graph
from pympnode.networks.graph_of_each import Functions, Samples
from pympnode.networks.pruning import (
    Equations,
    prune_by_gap,
    prune_by_validation,
    prune_by_valley,
    solved,
)
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


def learn(trajectories=24):
    graph = nx.gnp_random_graph(6, 0.35, seed=3, directed=True)
    ds = pympnode.simulate(
        "kuramoto",
        nodes=6,
        topology=graph,
        edge_weight=(0.5, 2.0),
        trajectories=trajectories,
        seed=1,
    )
    return ds, pympnode.train(data=blind(ds), **RUN)


@pytest.fixture(scope="module")
def learned():
    """A model with a graph that was learned in a few updates; the test below has the whole search."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pympnode.networks.unknown_graph._UPDATES", 60)
        patch.setattr("pympnode.networks.unknown_graph._ROUNDS", 2)
        return learn(trajectories=12)


@pytest.mark.slow
def test_a_weighted_directed_graph_is_found():
    ds, result = learn()
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


def each_adjacency(ds):
    """(trajectory, receiver, sender): whether there is an edge, of data of several graphs."""
    nodes = ds.sizes["node"]
    of_graph = np.zeros((int(ds.graph.max()) + 1, nodes, nodes), bool)
    of_graph[ds.edge_graph.values, ds.receiver.values, ds.sender.values] = True
    return of_graph[ds.graph.values]


@pytest.fixture(scope="module")
def each_learned():
    # Oscillators of different frequencies, each simulation on another random graph.
    rng = np.random.default_rng(1)
    upper = np.triu(rng.random((24, 4, 4)) < 0.5, 1)
    true = upper | upper.transpose(0, 2, 1)
    frequency, phase = rng.uniform(1, 10, (24, 4)), rng.uniform(0, 2 * np.pi, (24, 4))
    out = []
    for step in range(490):
        if step % 10 == 0:
            out.append(phase)
        middle = phase + 0.005 * slope_of(phase, frequency, true)
        phase = phase + 0.01 * slope_of(middle, frequency, true)
    data = pympnode.from_arrays(
        np.stack(out, axis=1)[..., None], dt=0.1, topology="learn each", features=["phase"],
        units=["rad"], circular="phase", node_attribute=frequency[..., None],
        split=["train"] * 16 + ["validation"] * 2 + ["test"] * 6,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pympnode.networks.graph_of_each._MEAN_FIELD", 40)
        patch.setattr("pympnode.networks.graph_of_each._ITERATIONS", 60)
        result = pympnode.train(data=data, updates=3, progress=False)
    return true, data, result


def slope_of(phase, frequency, coupled):
    return frequency + (coupled * np.sin(phase[:, None] - phase[:, :, None])).sum(axis=2)


def test_each_trajectory_has_a_graph(each_learned):
    true, data, result = each_learned
    model = result.model
    assert model.edge_scores.dims == ("trajectory", "receiver", "sender")
    assert model.graph.graphs == 24
    kept = each_adjacency(model.rollout(data))
    assert (kept == true).mean() > 0.97
    assert (kept[18:] == true[18:]).mean() > 0.95  # functions were not fitted to these
    assert "each trajectory" in result.history.attrs["graph"]
    assert is_unknown(data)


def test_graphs_of_trajectories_are_found_by_their_first_states(each_learned, tmp_path):
    _, data, result = each_learned
    model = result.model
    model.save(tmp_path / "m.nc")
    loaded = pympnode.load(tmp_path / "m.nc")
    assert loaded.edge_scores.equals(model.edge_scores)
    some = data.isel(trajectory=[20, 3])
    rollout = loaded.rollout(some)
    np.testing.assert_array_equal(
        each_adjacency(rollout), each_adjacency(model.rollout(data))[[20, 3]]
    )
    one = model.rollout(data.isel(trajectory=[5]))
    np.testing.assert_allclose(one.state[0], model.rollout(data).state[5], rtol=3e-6, atol=1e-5)
    assert np.isfinite(pympnode.evaluate(model, data).rmse_z).all()
    with pytest.raises(InvalidData, match="2 of 2 trajectories with other first states"):
        model.rollout(some.isel(time=slice(1, None)))


def test_a_graph_of_each_needs_derivatives():
    uneven = pympnode.from_arrays(
        np.random.default_rng(0).normal(size=(3, 8, 3, 1)), time=np.arange(8) ** 2.0,
        topology="learn each",
    )  # fmt: skip
    with pytest.raises(InvalidData, match="the time grid is uneven"):
        pympnode.train(data=uneven, **RUN)


def test_the_gradient_of_functions_with_fitted_weights():
    rng = np.random.default_rng(0)
    slope = rng.normal(size=(3, 12, 4, 2))
    slope[0, 3, 1] = np.nan
    samples = Samples(rng.normal(size=(3, 12, 4, 3)), slope, rng.uniform(0, 0.01, 12))
    functions = Functions(3, 2)
    theta = functions.initial(rng)
    for mean_field in (True, False):
        _, gradient, _ = functions.loss(theta, samples, mean_field)
        for number in rng.choice(len(theta), 20, replace=False):
            step = np.zeros_like(theta)
            step[number] = 1e-5
            after, before = (
                functions.loss(theta + s, samples, mean_field)[0] for s in (step, -step)
            )
            assert (after - before) / 2e-5 == pytest.approx(gradient[number], rel=1e-3, abs=1e-7)


def test_the_lowest_density_separates_edges():
    rng = np.random.default_rng(0)
    edge = rng.random((20, 6, 6)) < 0.4
    weight = np.where(
        edge, rng.uniform(0.3, 2.0, edge.shape), np.abs(rng.normal(0, 0.04, edge.shape))
    )
    weight[:, np.eye(6, dtype=bool)], edge[:, np.eye(6, dtype=bool)] = 0, False
    kept, _ = prune_by_valley(weight)
    np.testing.assert_array_equal(kept, edge)
    assert not prune_by_valley(np.zeros((2, 3, 3)))[0].any()


def test_derivatives_of_angles_that_turn_far_within_a_filter():
    from pympnode.networks.matching import slopes
    from pympnode.networks.schema import Arrays

    time = np.arange(40) * 0.1
    x = (9.0 * time + 0.2 * np.sin(2 * time))[None, :, None, None]
    graph = Graph.single([], [], 1)
    arrays = Arrays(
        (x + np.pi) % (2 * np.pi) - np.pi, time, graph, np.zeros(1, int), None, None, None
    )
    _, slope, _, _ = slopes(arrays, np.zeros(1, int), (0,))
    np.testing.assert_allclose(slope[0, :, 0, 0], 9 + 0.4 * np.cos(2 * time), atol=1e-3)
