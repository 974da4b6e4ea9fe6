"""Edges that switch on and off at known times."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from kernel_windows import random_graph, random_theta

import pympnode
from pympnode import Graph
from pympnode.errors import InvalidData, InvalidGraph
from pympnode.networks import schema
from pympnode.networks.engines.columns import Columns
from pympnode.networks.engines.delays import Delays
from pympnode.networks.engines.torch import kernel_eager as eager
from pympnode.networks.engines.torch.engine import TorchEngine
from pympnode.networks.engines.torch.kernel_numba import run as compiled
from pympnode.networks.engines.torch.window import Window
from pympnode.networks.spec import ModelSpec
from pympnode.networks.weights import layout_of

X = np.random.default_rng(0).normal(size=(3, 9, 4, 1)).cumsum(axis=1)
EDGES = [(0, 1), (1, 2), (2, 3), (3, 0)]
STATE: dict[str, Any] = dict(messages="state")
EMITTED: dict[str, Any] = dict(messages="emitted", coupling="superposed", message=3)
PAIRWISE: dict[str, Any] = dict(messages="pairwise", coupling="superposed", message=2)
SPECS: dict[str, dict[str, Any]] = {
    "state, mean": STATE,
    "emitted, sum": {**EMITTED, "aggregation": "sum", "divisor": 1.5},
    "emitted, mean": EMITTED,
    "emitted, max": {**EMITTED, "aggregation": "max"},
    "pairwise, mean": PAIRWISE,
    "pairwise, antisymmetric": {**PAIRWISE, "aggregation": "sum", "antisymmetric": True},
    "l2s": dict(family="l2s"),
}


def given(intervals: Any, **options: Any) -> xr.Dataset:
    keywords = {"dt": 0.5, "edges": EDGES, "directed": True, **options}
    return pympnode.from_arrays(X, edge_intervals=intervals, **keywords)


def on_of(ds: xr.Dataset) -> dict[tuple[int, int], list[float]]:
    ends = zip(ds.sender.values.tolist(), ds.receiver.values.tolist())
    return {pair: ds.edge_weight.values[:-1, e].tolist() for e, pair in enumerate(ends)}


# ---- data ------------------------------------------------------------------------------------------


def test_intervals_become_weights_of_0_and_1() -> None:
    ds = given({(0, 1): [(0.0, 1.0), (2.5, 4.0)], (2, 3): [], (3, 0): [(1.5, 2.0)]})
    assert ds.edge_weight.dims == ("time", "edge")
    assert on_of(ds) == {
        (0, 1): [1, 1, 0, 0, 0, 1, 1, 1],
        (1, 2): [1] * 8,
        (2, 3): [0] * 8,
        (3, 0): [0, 0, 0, 1, 0, 0, 0, 0],
    }
    # Weights stay, and touching intervals are one.
    held = given({(0, 1): [(0.0, 1.0), (1.0, 2.0)]}, edges=[(0, 1, 2.0), (1, 2, 0.5)])
    assert on_of(held) == {(0, 1): [2.0] * 4 + [0.0] * 4, (1, 2): [0.5] * 8}
    names = given({("b", "c"): [(0.5, 1.0)]}, nodes=list("abcd"),
                  edges=[("a", "b"), ("b", "c")], directed=False)  # fmt: skip
    assert on_of(names)[1, 2] == [0, 1, 0, 0, 0, 0, 0, 0] and on_of(names)[2, 1] == [1.0] * 8
    late = given({(0, 1): [(0.5, 1.0)]}, edge_delay=0.5)
    assert late.edge_delay.values.tolist() == [0.5] * 4
    # Stamps far from zero are rounded.
    stamps = 1.7e9 + 0.1 * np.arange(9)
    far = given({(0, 1): [(stamps[1], stamps[3])]}, dt=None, time=stamps)
    assert on_of(far)[0, 1] == [0, 1, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("intervals", "words"),
    [
        ({(0, 1): [(0.0, 0.7)]}, "switched at times of the data"),
        ({(0, 1): [(0.0, 5.0)]}, "switched inside the record"),
        ({(0, 1): [(-0.5, 1.0)]}, "switched inside the record"),
        ({(0, 1): [(0.0, 2.0), (1.5, 3.0)]}, "overlap"),
        ({(0, 1): [(2.0, 3.0), (0.0, 4.0)]}, "overlap"),
        ({(0, 1): [(1.0, 1.0)]}, "ends after it begins"),
        ({(0, 1): [(2.0, 1.0)]}, "ends after it begins"),
        ({(0, 1): [(np.nan, 1.0)]}, "switched inside the record"),
        ({(1, 0): [(0.0, 1.0)]}, "an edge that the graph does not have"),
        ({(0, 1): [0.0, 1.0]}, "intervals of each edge by its ends"),
        ({(0, 1): "always"}, "intervals of each edge by its ends"),
        ({0: [(0.0, 1.0)]}, "intervals of each edge by its ends"),
        ([(0, 1)], "intervals of each edge by its ends"),
    ],
)
def test_bad_intervals_are_refused(intervals: Any, words: str) -> None:
    with pytest.raises(InvalidData, match=words) as caught:
        given(intervals)
    assert caught.value.got and caught.value.allowed
    with pytest.raises(InvalidGraph):
        given({(0, 9): [(0.0, 1.0)]})


# ---- models ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["eager", "auto"])
@pytest.mark.parametrize("name", SPECS)
def test_an_edge_that_is_off_is_not_there(name: str, kernel: str) -> None:
    """Also where the mean is taken: over the edges that are on."""
    spec = ModelSpec(channels=2, hidden=5, **SPECS[name])
    graph = Graph.single([0, 1, 2, 3, 0, 2], [1, 2, 1, 1, 3, 0], 4)
    on = np.array([1.0, 0.0, 1.0, 0.0, 0.0, 1.0])[np.lexsort((graph.sender, graph.receiver))]
    rng = np.random.default_rng(1)
    theta = random_theta(spec, rng, torch.float64).numpy()
    x0, times = rng.normal(size=(5, 4, 2)), 0.1 * np.arange(6)
    engine = TorchEngine()
    held = np.tile(on, (6, 1))
    arrays = schema.Arrays(np.zeros((5, 6, 4, 2)), times, graph, np.zeros(5, np.int64),
                           edge_weight=held)  # fmt: skip
    program = engine.bind(spec, [arrays], dtype="float64", device="cpu", kernel=kernel)
    switched = program.rollout(theta, x0, graph, times, edge_weight=held)
    few = program.rollout(theta, x0, graph.select_edges(on > 0), times)
    np.testing.assert_allclose(switched.state, few.state, rtol=1e-12, atol=1e-13)


def test_a_switch_acts_from_its_time_on() -> None:
    spec = ModelSpec(channels=1, hidden=4, **EMITTED)
    graph = Graph.single([0], [1], 2)
    theta = random_theta(spec, np.random.default_rng(1), torch.float64).numpy()
    program = TorchEngine().bind(spec, None, dtype="float64", device="cpu", kernel="eager")
    times = 0.1 * np.arange(8)
    x0 = np.random.default_rng(2).normal(size=(1, 2, 1))

    def node_1(first: int) -> np.ndarray:
        weight = (np.arange(8) >= first).astype(float)[:, None]
        return program.rollout(theta, x0, graph, times, edge_weight=weight).state[0, :, 1, 0]

    never = node_1(8)
    for first in (0, 3, 6):
        found = node_1(first)
        np.testing.assert_array_equal(found[: first + 1], never[: first + 1])
        assert abs(found[first + 1 :] - never[first + 1 :]).min() > 1e-6


@pytest.mark.parametrize("delayed", [False, True])
@pytest.mark.parametrize("name", ["state, mean", "emitted, sum", "emitted, mean", "pairwise, mean",
                                  "pairwise, antisymmetric"])  # fmt: skip
def test_kernels_agree(name: str, delayed: bool) -> None:
    spec = ModelSpec(channels=2, hidden=5, **SPECS[name])
    if delayed and spec.refuses_delays:
        return
    rng = np.random.default_rng(5)
    graph = random_graph(rng, [5, 3, 7])
    if delayed:
        graph = replace(graph, delay=np.array([0.0, 0.05, 0.17])[rng.integers(0, 3, graph.edges)])
    columns = Columns.arrange(graph, np.array([0, 0, 1, 2, 0, 2]))
    total, steps = columns.total, 6

    def normal(*shape: int) -> torch.Tensor:
        return torch.as_tensor(rng.standard_normal(shape))

    weight = []
    for edges, (_, width, _, _) in zip(columns.block_edges(), columns.blocks()):
        shape = (steps, edges.stop - edges.start, width)
        weight.append(normal(*shape) * torch.as_tensor(rng.random(shape) < 0.6))
    delays = Delays.of(spec, columns, 0.05)
    past = [None, None] if delays is None else [normal(delays.prefix, 2, total) for _ in range(2)]
    window = Window(
        columns, normal(2, total), 2 * normal(steps + 1, 2, total), None, None, None,
        np.full(steps, 0.05), 1 / total, weight, delays=delays,
        history=past[0], history_slopes=past[1],
    )  # fmt: skip
    theta = random_theta(spec, rng, torch.float64)
    value, gradient = eager.loss_and_gradient(spec, theta, window)
    states = eager.rollout(spec, theta, window)
    for store in (True, False):
        found, slope = compiled.loss_and_gradient(spec, theta, window, store=store)
        np.testing.assert_allclose(found, value, rtol=1e-12)
        np.testing.assert_allclose(slope, gradient, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(
        compiled.rollout(spec, theta, window), states, rtol=1e-11, atol=1e-12
    )
    layout = layout_of(spec)
    for index in rng.choice(layout.size, 5, replace=False).tolist():
        moved = [theta.clone(), theta.clone()]
        moved[0][index] += 1e-5
        moved[1][index] -= 1e-5
        high, low = (compiled.loss(spec, each, window) for each in moved)
        np.testing.assert_allclose(
            float(gradient[index]), (high - low) / 2e-5, rtol=1e-6, atol=1e-8
        )


def test_training_with_switched_edges() -> None:
    intervals = {(0, 1): [(0.0, 1.0), (2.5, 4.0)], (3, 0): [(1.5, 2.0)]}
    ds = given(intervals)
    result = pympnode.train(data=ds, updates=2, progress=False, messages="emitted", dtype="float64")
    assert result.history.attrs.get("kernel", "numba") == "numba"
    out = result.model.rollout(ds, check=False)
    np.testing.assert_array_equal(out.edge_weight, ds.edge_weight)
    assert pympnode.evaluate(result, ds).loss.notnull().all()
