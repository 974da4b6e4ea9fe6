"""Weights of edges that vary in time: ``edge_weight(time, edge)``, each held over an interval."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import Any

import equations
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from kernel_windows import random_theta

import pympnode
from pympnode import Graph, plotting
from pympnode.errors import (
    EngineUnavailable,
    InvalidData,
    InvalidGraph,
    InvalidOption,
    OutsideTrainingRange,
    PympnodeWarning,
)
from pympnode.networks import schema
from pympnode.networks.engines.base import Batch
from pympnode.networks.engines.julia.program import JuliaProgram
from pympnode.networks.engines.torch.engine import TorchEngine
from pympnode.networks.recordings import cut_windows
from pympnode.networks.schema import Arrays
from pympnode.networks.spec import ModelSpec
from pympnode.networks.task import TrajectoryTask
from pympnode.networks.weights import layout_of

FAST: dict[str, Any] = dict(epochs=1, progress=False, hidden=4)
TIMES = 7
ONE = Graph.single([2, 0, 3, 1, 2], [1, 1, 0, 2, 3], 4)
TWO = Graph.union([ONE, Graph.single([0, 1, 3], [3, 0, 1], 4)])
SPECS: dict[str, dict[str, Any]] = {
    "state, mean": dict(),
    "emitted, sum": dict(messages="emitted", aggregation="sum", divisor=1.5, coupling="superposed"),
    "emitted, max": dict(messages="emitted", aggregation="max"),
    "pairwise": dict(
        messages="pairwise", coupling="superposed", message=2, aggregation="sum", divisor=2.0
    ),
    "pairwise, max, substeps": dict(messages="pairwise", aggregation="max", substeps=2),
    "l2s": dict(family="l2s"),
}


def spec_of(name: str) -> ModelSpec:
    return ModelSpec(channels=2, hidden=5, **SPECS[name])


def random_arrays(edge_weight: Any, graph: Graph = TWO, trajectories: int = 3) -> Arrays:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(trajectories, TIMES, 4, 2))
    time = 0.1 * np.arange(TIMES)
    of = np.arange(trajectories, dtype=np.int64) % graph.graphs
    return Arrays(x, time, graph, of, edge_weight=edge_weight)


def switching(*shape: int) -> np.ndarray:
    """Weights of either sign, half of them 0: edges that come and go."""
    rng = np.random.default_rng(5)
    weight = rng.normal(size=shape) * (rng.random(shape) < 0.5)
    weight[..., -1, :] = np.nan  # of no interval
    return weight


def program_of(spec: ModelSpec, arrays: Arrays, kernel: str = "auto") -> Any:
    return TorchEngine().bind(spec, [arrays], dtype="float64", device="cpu", kernel=kernel)


def graphs_in_time(arrays: Arrays, trajectory: int, first: int, count: int) -> list[Graph]:
    """Without the edges of weight 0, which are off: they do not count in a mean, nor as the largest."""
    number = int(arrays.graph_of[trajectory])
    graphs = [arrays.graph_at(first + t, trajectory)[number] for t in range(count)]
    return [graph.select_edges(graph.weight_or_ones != 0) for graph in graphs]


# ---- the model ------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_trajectory", [False, True])
@pytest.mark.parametrize("name", SPECS)
def test_loss_and_gradient_are_those_of_the_loops(name: str, per_trajectory: bool) -> None:
    """Windows that start at different times, on two graphs, with edges that switch on and off."""
    spec, layout = spec_of(name), layout_of(spec_of(name))
    lead = (3,) if per_trajectory else ()
    arrays = random_arrays(switching(*lead, TIMES, TWO.edges))
    batch = Batch(np.array([2, 0, 1, 2]), np.array([1, 0, 3, 2]), 3)
    theta = random_theta(spec, np.random.default_rng(1), torch.float64).numpy()
    value, gradient = program_of(spec, arrays).loss_and_gradient(theta, batch)

    class Window:
        u = b = None
        times = arrays.time[:4]
        mask = np.ones((4, 4, 2), bool)

        def __init__(self, trajectory: int, start: int) -> None:
            self.graph = graphs_in_time(arrays, trajectory, start, 3)
            self.x = arrays.x[trajectory, start : start + 4]

    windows = [Window(*each) for each in zip(batch.trajectory.tolist(), batch.start.tolist())]

    def loss(vector: np.ndarray) -> Any:
        return equations.huber(spec, layout.unpack(vector), windows)

    np.testing.assert_allclose(value, loss(theta), rtol=1e-12)
    some = np.random.default_rng(2).choice(len(theta), 12, replace=False)
    wanted = equations.derivatives(
        lambda part: loss(_with(theta.astype(complex), some, part)), theta[some]
    )
    np.testing.assert_allclose(gradient[some], wanted, rtol=1e-9, atol=1e-12)
    # and against differences of the program's own loss
    program, h = program_of(spec, arrays), 1e-6
    for i in some[:3]:
        step = h * np.eye(len(theta))[i]
        slope = (program.loss(theta + step, batch) - program.loss(theta - step, batch)) / (2 * h)
        np.testing.assert_allclose(gradient[i], slope, rtol=1e-5, atol=1e-8)


def _with(theta: np.ndarray, index: np.ndarray, values: np.ndarray) -> np.ndarray:
    theta[index] = values
    return theta


@pytest.mark.parametrize("per_trajectory", [False, True])
@pytest.mark.parametrize("name", SPECS)
def test_rollouts_are_those_of_the_loops(name: str, per_trajectory: bool) -> None:
    spec = spec_of(name)
    lead = (3,) if per_trajectory else ()
    arrays = random_arrays(switching(*lead, TIMES, TWO.edges))
    theta = random_theta(spec, np.random.default_rng(1), torch.float64).numpy()
    program = TorchEngine().bind(spec, None, dtype="float64", device="cpu", kernel="eager")
    found = program.rollout(
        theta, arrays.x[:, 0], TWO, arrays.time, graph_of=arrays.graph_of,
        edge_weight=arrays.edge_weight,
    )  # fmt: skip
    for i in range(3):
        graphs = graphs_in_time(arrays, i, 0, TIMES - 1)
        wanted = equations.rollout(
            spec, layout_of(spec).unpack(theta), graphs, arrays.x[i, 0], arrays.time
        )
        np.testing.assert_allclose(found.state[i], wanted[..., :2], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", SPECS)
def test_weights_constant_in_time_are_constant_weights(name: str) -> None:
    spec = spec_of(name)
    weight = np.random.default_rng(8).normal(size=TWO.edges)
    varying = random_arrays(np.tile(weight, (TIMES, 1)))
    constant = random_arrays(None, TWO.with_weight(weight))
    theta = random_theta(spec, np.random.default_rng(1), torch.float64).numpy()
    batch = Batch(np.array([0, 1, 2]), np.array([1, 0, 2]), 4)
    bar = np.random.default_rng(2).normal(size=(3, 5, 4, 2))
    outcomes = []
    for arrays in (varying, constant):
        program = program_of(spec, arrays, "eager")
        outcomes.append(
            (*program.loss_and_gradient(theta, batch), *program.rollout_vjp(theta, batch, bar))
        )
    for found, wanted in zip(*outcomes):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


def test_kernels_that_take_none_are_passed_over_or_refuse(caplog: Any) -> None:
    spec, arrays = spec_of("pairwise, max, substeps"), random_arrays(switching(TIMES, TWO.edges))
    with caplog.at_level(logging.INFO, "pympnode"):
        assert program_of(spec, arrays).kernel == "eager"
    assert "numba: the largest message of edges whose weights vary in time" in caplog.text
    for kernel in ("numba", "torch"):
        with pytest.raises(EngineUnavailable, match="cannot run this model") as caught:
            program_of(spec, arrays, kernel)
        assert "vary in time" in str(caught.value.got) and caught.value.fix
        program = TorchEngine().bind(spec, None, dtype="float64", device="cpu", kernel=kernel)
        with pytest.raises(EngineUnavailable, match="cannot run this rollout"):
            program.rollout(
                np.zeros(program.layout.size), arrays.x[:, 0], TWO, arrays.time,
                graph_of=arrays.graph_of, edge_weight=arrays.edge_weight,
            )  # fmt: skip
    assert program_of(spec_of("pairwise"), arrays).kernel == "numba"
    assert program_of(spec, random_arrays(None), "auto").kernel != "eager"


def test_julia_refuses_in_words() -> None:
    program = JuliaProgram.__new__(JuliaProgram)
    with pytest.raises(InvalidOption, match="Julia engine takes no weights") as caught:
        program.rollout(
            np.zeros(1), np.zeros((1, 4, 2)), ONE, np.arange(2.0), edge_weight=np.ones(5)
        )  # type: ignore[arg-type]
    assert 'engine="torch"' in str(caught.value.fix)
    with pytest.raises(InvalidOption, match="Julia engine takes no weights"):
        program._bound(random_arrays(np.ones((TIMES, TWO.edges))))


# ---- datasets --------------------------------------------------------------------------------------

X = np.random.default_rng(0).normal(size=(6, TIMES, 4, 1))
PAIRS = [(2, 1), (0, 1), (3, 0), (1, 2)]  # not in the order of the graph


def given(edge_weight: Any = None, **options: Any) -> xr.Dataset:
    weight = switching(TIMES, 4) if edge_weight is None else edge_weight
    options = {"edges": PAIRS, "directed": True, "dt": 0.1, **options}
    return pympnode.from_arrays(X, edge_weight=weight, **options)


def carried(ds: xr.Dataset, time: int, trajectory: int = 0) -> dict[tuple[int, int], float]:
    graph = schema.pack(ds).graph_at(time, trajectory)
    ends = zip(graph.sender.tolist(), graph.receiver.tolist())
    return dict(zip(ends, graph.weight_or_ones.tolist()))


def test_weights_keep_to_their_edges() -> None:
    weight = switching(TIMES, 4)
    ds = given(weight)
    assert ds.edge_weight.dims == ("time", "edge")
    for time in range(TIMES - 1):
        assert carried(ds, time) == dict(zip(PAIRS, weight[time].tolist()))
    shuffled = ds.isel(edge=[3, 1, 0, 2])
    assert all(carried(shuffled, t) == carried(ds, t) for t in range(TIMES - 1))
    both = given(weight[:, :3], edges=PAIRS[:3], directed=False)
    assert both.sizes["edge"] == 6
    assert carried(both, 2)[1, 2] == carried(both, 2)[2, 1] == weight[2, 0]
    loops = given(weight, edges=[*PAIRS[:3], (2, 2)], self_loops="drop")
    assert carried(loops, 1) == dict(zip(PAIRS[:3], weight[1, :3].tolist()))
    graph = Graph.from_edges(PAIRS, directed=True)
    of_graph = given(weight, edges=None, topology=graph, directed=False)
    assert np.array_equal(of_graph.edge_weight, weight, equal_nan=True)
    named = xr.DataArray(weight.T, dims=("edge", "time"))
    assert np.array_equal(given(named).edge_weight, ds.edge_weight, equal_nan=True)
    per = xr.DataArray(switching(6, TIMES, 4), dims=("trajectory", "time", "edge"))
    assert np.array_equal(
        given(per.transpose("edge", "trajectory", "time")).edge_weight,
        given(per.values).edge_weight,
        equal_nan=True,
    )
    short = given(weight[:-1])  # without the last, which is of no interval
    assert all(carried(short, t) == carried(ds, t) for t in range(TIMES - 1))
    lead = given(switching(6, TIMES, 4))
    assert lead.edge_weight.dims == ("trajectory", "time", "edge")
    assert carried(lead, 1, 0) != carried(lead, 1, 1)
    names = given(
        weight, edges=[("c", "b"), ("a", "b"), ("d", "a"), ("b", "c")], nodes=list("abcd")
    )
    assert carried(names, 0) == carried(ds, 0)


def test_files_selections_and_joins_keep_them(tmp_path: Path) -> None:
    ds = given()
    ds.to_netcdf(tmp_path / "w.nc")
    back = xr.open_dataset(tmp_path / "w.nc").load()
    schema.validate(back)
    assert all(carried(back, t) == carried(ds, t) for t in range(TIMES - 1))
    later = ds.isel(time=slice(2, None))
    assert carried(later, 0) == carried(ds, 2)
    assert carried(ds.sel(time=slice(0.15, None)), 0) == carried(ds, 2)
    few = pympnode.subgraph(ds, [2, 1, 0])  # number 0 is node 2, and so on
    assert carried(few, 3) == {
        (2 - j, 2 - k): w for (j, k), w in carried(ds, 3).items() if 3 not in (j, k)
    }
    joined = xr.concat([ds, ds], "trajectory", data_vars="minimal")
    assert schema.pack(joined).edge_weight.shape == (TIMES, 4)  # type: ignore[union-attr]
    own = given(switching(6, TIMES, 4))
    twice = xr.concat([own, own], "trajectory", data_vars=["state", "edge_weight"], coords="minimal",
                        compat="override")  # fmt: skip
    assert carried(twice, 1, 7) == carried(own, 1, 1)
    assert (
        schema.pack(own)
        .select(np.array([3, 1]))
        .graph_at(2, 0)
        .same(schema.pack(own).graph_at(2, 3))
    )
    windows = cut_windows(ds.isel(trajectory=[0]), 2)
    assert windows.edge_weight.dims == ("trajectory", "time", "edge")
    assert carried(windows, 1, 2) == carried(ds, 5)
    several = cut_windows(ds, 2)  # 3 windows of 6 trajectories
    assert several.edge_weight.shape == (18, 3, 4)
    assert all(carried(several, 1, i) == carried(ds, 2 * (i // 6) + 1) for i in range(18))
    with pytest.warns(PympnodeWarning, match="vary in time"):
        assert schema.graphs_of(ds)[0].weight is None


def test_bad_weights_are_refused() -> None:
    weight = switching(TIMES, 4)
    for bad in (np.nan, np.inf):
        wrong = weight.copy()
        wrong[2, 1] = bad
        with pytest.raises(InvalidData, match="'edge_weight' holds values that are not finite"):
            given(wrong)
    for shape in ((TIMES, 3), (TIMES + 1, 4), (5, TIMES, 4), (TIMES,), (1, 1, TIMES, 4)):
        with pytest.raises(
            InvalidData, match="does not fit the times of x and the edges"
        ) as caught:
            given(np.ones(shape))
        assert caught.value.got and caught.value.allowed and caught.value.fix
    with pytest.raises(InvalidData, match="given twice"):
        graph = Graph.from_edges(PAIRS, directed=True, weight=[1.0, 2.0, 3.0, 4.0])
        given(weight, edges=None, topology=graph, directed=False)
    with pytest.raises(InvalidData, match="has the axis"):
        ds = given()
        schema.validate(
            ds.assign(edge_weight=ds.edge_weight.isel(time=0).expand_dims(trajectory=6))
        )
    frame = pd.DataFrame({"node": [0, 1] * 3, "time": [0, 0, 1, 1, 2, 2], "x": np.arange(6.0)})
    with pytest.raises(InvalidOption, match="name of what the edges hold") as refused:
        pympnode.from_frame(frame, features=["x"], edges=[(0, 1)], edge_weight=np.ones((3, 1)))
    ds = pympnode.from_frame(frame, features=["x"], edges=[(0, 1)])
    ds["edge_weight"] = ("time", "edge"), np.arange(6.0).reshape(3, 2)  # as the fix says
    assert '("time", "edge")' in str(refused.value.fix)
    assert carried(ds, 1) == {(1, 0): 2.0, (0, 1): 3.0}
    with pytest.raises(InvalidGraph, match="stand twice"):
        given(weight, edges=[*PAIRS[:3], PAIRS[0]])


# ---- training, rollouts, evaluation ----------------------------------------------------------------


@pytest.fixture(scope="module")
def trained() -> Any:
    return pympnode.train(data=given(), dtype="float64", **FAST)


@pytest.fixture(scope="module")
def unweighted() -> Any:
    return pympnode.train(data=given().drop_vars("edge_weight"), dtype="float64", **FAST)


def test_a_model_is_trained_with_or_without(trained: Any, unweighted: Any) -> None:
    ds = given()
    held = ds.edge_weight.values[:-1]
    assert trained.model.trained.weight == (held.min(), held.max())
    with pytest.raises(InvalidData, match="trained without weights") as caught:
        unweighted.model.rollout(ds)
    assert "ignore_weights" in str(caught.value.fix)
    ignored = unweighted.model.rollout(ds, ignore_weights=True)
    assert "edge_weight" not in ignored
    xr.testing.assert_equal(
        ignored.state, unweighted.model.rollout(ds.drop_vars("edge_weight")).state
    )
    with pytest.raises(InvalidData, match="trained without weights"):
        pympnode.train(data=ds, start=unweighted.model, **FAST)
    again = pympnode.train(data=ds, start=trained.model, **FAST)
    assert again.model.trained.weight == trained.model.trained.weight
    with pytest.warns(PympnodeWarning, match="they are 1"):
        trained.model.rollout(ds.drop_vars("edge_weight"))
    heavy = ds.assign(edge_weight=ds.edge_weight * 50)
    with pytest.warns(OutsideTrainingRange, match="weights of edges"):
        with pytest.warns(PympnodeWarning, match="the rollout takes .* substeps"):
            trained.model.rollout(heavy)
    with pytest.raises(InvalidData, match="has no edges, and so no weights"):
        pympnode.train(data=ds, model="node", **FAST)
    with pytest.raises(InvalidOption, match="learned by one model"):
        pympnode.train(data=ds, edge_weight="learn", **FAST)
    with pytest.raises(EngineUnavailable, match="cannot run this model"):
        pympnode.train(data=ds, kernel="torch", **FAST)


def test_rollouts_take_the_weights_of_their_times(trained: Any, tmp_path: Path) -> None:
    ds, model = given(), trained.model
    full = model.rollout(ds)
    assert np.array_equal(full.edge_weight, schema.pack(ds).edge_weight, equal_nan=True)
    # A rollout from a later time goes on with the weights of that time.
    first = model.rollout(ds, steps=3)
    rest = ds.isel(time=slice(3, None)).copy(deep=True)
    rest.state[:, 0] = first.state[:, -1]
    if not model.spec.carried:
        second = model.rollout(rest, check=False)
        np.testing.assert_allclose(second.state[:, 1:], full.state[:, 4:], rtol=1e-10, atol=1e-12)
    constant = ds.assign(edge_weight=ds.edge_weight.isel(time=0, drop=True))
    other = model.rollout(constant)
    np.testing.assert_allclose(other.state[:, 1], full.state[:, 1], rtol=1e-12)
    assert np.abs(other.state - full.state).max() > 1e-6
    model.save(tmp_path / "m.nc")
    xr.testing.assert_equal(pympnode.load(tmp_path / "m.nc").rollout(ds).state, full.state)
    for options in (dict(steps=TIMES), dict(dt=0.05), dict(steps=3, dt=0.2)):
        with pytest.raises(InvalidData, match="not known at the times of the rollout") as caught:
            model.rollout(ds, **options)
        assert "edge_weight(time, edge)" in str(caught.value.fix)
    xr.testing.assert_equal(model.rollout(ds, steps=3, dt=0.1).state, first.state)
    # As the fix says: a dataset of other times, with unknown states.
    longer = xr.concat(
        [ds, ds.isel(time=[-1]).assign_coords(time=[0.7])], "time", data_vars="minimal"
    )
    longer["edge_weight"] = ("time", "edge"), np.ones((TIMES + 1, 4))
    longer.state[:, 1:] = np.nan
    assert model.rollout(longer, check=False).sizes["time"] == TIMES + 1
    moved = model.rollout(ds, topology=schema.pack(ds).graph_at(0, 0), check=False)
    assert moved.edge_weight.dims == ("edge",)
    np.testing.assert_allclose(moved.state, other.state, rtol=1e-9, atol=1e-12)


def test_evaluation_and_ensembles(trained: Any) -> None:
    ds = given()
    out = pympnode.evaluate(trained, ds)
    xr.testing.assert_allclose(
        out.predicted.drop_vars("split", errors="ignore"),
        trained.model.rollout(ds).state.drop_vars("split", errors="ignore"),
    )
    several = pympnode.train(data=ds, members=2, **FAST)
    assert several.model.rollout(ds).state.sizes["member"] == 2


def test_a_run_goes_on_with_the_same_bits(tmp_path: Path, monkeypatch: Any) -> None:
    ds = given(switching(6, TIMES, 4))
    settings: dict[str, Any] = dict(data=ds, hidden=4, epochs=6)
    whole = pympnode.train(**settings, progress=False)

    losses, made = TrajectoryTask.losses, []

    def interrupted(self: Any, *given: Any) -> Any:
        made.append(1)
        if len(made) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return losses(self, *given)

    run = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TrajectoryTask, "losses", interrupted)
        pympnode.train(**settings, run=run, progress=False)
    assert 3 <= len(made) < 6
    resumed = pympnode.train(**settings, run=run, progress=False)
    np.testing.assert_array_equal(resumed.model.theta, whole.model.theta)
    np.testing.assert_array_equal(resumed.history.loss, whole.history.loss)


def test_long_recordings_are_cut_with_their_weights() -> None:
    """Windows of one long recording, split in time, and states that are missing."""
    rng = np.random.default_rng(1)
    x = np.cumsum(rng.normal(size=(1, 260, 4, 1)), axis=1)
    x[0, 50, 2] = np.nan
    ds = pympnode.from_arrays(
        x, dt=0.1, edges=PAIRS, directed=True, edge_weight=rng.normal(size=(260, 4))
    )
    result = pympnode.train(data=ds, missing="mask", updates=2, progress=False, hidden=4)
    assert result.model.trained.weight
    assert np.isfinite(result.history.loss).all()


# ---- systems ---------------------------------------------------------------------------------------


def contacts(rng: Any, sender: Any, receiver: Any, times: Any) -> np.ndarray:
    return (rng.random((len(times), len(sender))) < 0.5) * 1.5


def test_simulation_holds_the_weight_of_each_interval() -> None:
    """Each interval alone, with its weights as constant ones, from the state before."""
    ds = pympnode.simulate("kuramoto", nodes=5, trajectories=3, steps=6, edge_weight=contacts)
    arrays = schema.pack(ds)
    assert ds.edge_weight.dims == ("time", "edge") and set(np.unique(ds.edge_weight)) == {0.0, 1.5}
    parameters = {k: v for k, v in schema.parameters_of(ds).items()}
    for t in range(6):
        one = pympnode.simulate(
            "kuramoto", topology=arrays.graph_at(t, 0), initial=arrays.x[:, t], steps=1,
            dt=float(ds.time[1]), parameters=parameters,
        )  # fmt: skip
        np.testing.assert_allclose(one.state[:, 1], arrays.x[:, t + 1], atol=1e-7)
    again = pympnode.simulate("kuramoto", nodes=5, trajectories=3, steps=6, edge_weight=contacts)
    assert np.array_equal(again.state, ds.state)
    same = pympnode.simulate(
        "kuramoto", nodes=5, trajectories=3, steps=6, edge_weight=ds.edge_weight.values
    )
    assert np.array_equal(same.state, ds.state)


def test_own_systems_get_the_weight_of_the_interval() -> None:
    def field(t: Any, x: Any, u: Any, graph: Graph, p: Any, edge_weight: Any) -> np.ndarray:
        out = np.zeros_like(x)
        for e, (j, k) in enumerate(zip(graph.sender, graph.receiver)):
            out[:, k] += edge_weight[e] * (x[:, j] - x[:, k])
        return out

    system = pympnode.own_system("switched", field, ["x"], dt=0.1, steps=5)
    graph = Graph.from_edges([(0, 1)], 2, directed=True)
    weight = np.array([0.0, 2.0, -1.0, 0.0, 3.0])[:, None]
    start = np.array([[[1.0], [0.0]]])
    ds = pympnode.simulate(system, topology=graph, edge_weight=weight, initial=start, split=None)
    x = ds.state.values[0, :, 1, 0]
    # Node 1 relaxes to node 0, which stays at 1: 1 - x falls by exp(-w dt).
    np.testing.assert_allclose(1 - x, np.exp(-0.1 * np.r_[0, np.cumsum(weight)]), atol=1e-7)
    for graphs in (1, 2):
        many = pympnode.simulate(
            system, nodes=5, graphs=graphs, trajectories=4, steps=4, edge_weight=contacts
        )
        assert many.edge_weight.shape == (5, many.sizes["edge"])
    result = pympnode.train(system, nodes=5, trajectories=6, edge_weight=contacts, **FAST)
    assert result.model.trained.weight == (0.0, 1.5)
    assert pympnode.evaluate(result, result.test_set(2)).rmse_z.size


@pytest.mark.parametrize(
    "weight",
    [
        np.ones((7, 3)),
        np.full((7, 8), np.nan),
        lambda rng, s, r, times: np.ones((len(times) + 2, len(s))),
    ],
)
def test_simulation_refuses_what_does_not_fit(weight: Any) -> None:
    with pytest.raises(InvalidData, match="weights that vary in time"):
        pympnode.simulate("heat", nodes=4, topology="ring", steps=6, edge_weight=weight)


def test_simulation_refuses_what_a_system_refuses() -> None:
    with pytest.raises(InvalidGraph, match="negative"):
        pympnode.simulate(
            "sis", nodes=4, topology="ring", steps=3, trajectories=2, edge_weight=-np.ones((4, 8))
        )
    with pytest.raises(InvalidOption, match="the topology has some"):
        pympnode.simulate(
            "heat", topology=Graph.from_edges([(0, 1, 2.0)]), steps=3, edge_weight=np.ones((4, 2))
        )


def test_observables_see_the_weights_of_their_time() -> None:
    def energy(x: Any, graph: Graph, p: Any) -> Any:
        return graph.sum_neighbours(x)[..., 0].sum(axis=-1)

    def field(t: Any, x: Any, u: Any, graph: Graph, p: Any) -> Any:
        return graph.sum_neighbours(x) - x

    system = pympnode.own_system("seen", field, ["x"], observables={"energy": energy}, steps=4)
    ds = pympnode.simulate(system, nodes=5, trajectories=6, edge_weight=contacts)
    result = pympnode.train(data=ds, **FAST)
    out = pympnode.evaluate(result, ds, system=system)
    weight = ds.edge_weight.values
    for t in range(5):
        of = weight[min(t, 3)]
        wanted = (of * ds.state.values[:, t, ds.sender.values, 0]).sum(axis=1)
        np.testing.assert_allclose(out.observable_true[:, t, 0], wanted, rtol=1e-10)


def test_graphs_are_drawn_with_mean_weights() -> None:
    from pympnode.networks.plots.selection import _edges

    ds = given(np.abs(switching(TIMES, 4)))
    _, _, weight = _edges(ds, 0, 6)
    np.testing.assert_allclose(weight, ds.edge_weight.values[:-1].mean(axis=0))
    pytest.importorskip("matplotlib")
    plotting.graph_state(ds, time=0.0)


def test_coupled_nodes_refuse_them() -> None:
    ds = pympnode.simulate("kuramoto", nodes=4, trajectories=2, steps=3, edge_weight=contacts)
    graph = schema.pack(ds).graph
    with pytest.raises(InvalidData, match="constant weights") as caught:
        pympnode.couple(["kuramoto"] * 4, graph).rollout(ds)
    assert "drop_vars" in str(caught.value.fix)
