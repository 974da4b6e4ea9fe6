"""What only a real Julia can show: its options, its worker, an interruption in its middle."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from engines_under_test import engine_under_test

from pympnode.errors import JuliaRuntimeError
from pympnode.graph import Graph
from pympnode.networks.engines.base import Batch
from pympnode.networks.engines.julia.client import JuliaClient
from pympnode.networks.engines.julia.engine import JuliaEngine
from pympnode.networks.schema import Arrays
from pympnode.networks.spec import ModelSpec
from pympnode.networks.weights import layout_of
from pympnode.systems.registry import get


@pytest.fixture(scope="module")
def engine() -> JuliaEngine:
    return engine_under_test("julia")


def test_the_worker_holds_neither_torch_nor_files(engine: JuliaEngine) -> None:
    modules = set(engine.client.call("environment", names=[])["modules"])
    assert "juliacall" in modules
    assert not modules & {"torch", "netCDF4", "matplotlib", "xarray", "numba"}


def test_options_reached_julia(engine: JuliaEngine) -> None:
    options, facts = engine.client.options, engine.client.facts
    if options.threads != "auto":
        assert facts["threads"] == int(options.threads)
    if options.executable:
        assert Path(options.executable).resolve().parent == Path(facts["bindir"]).resolve()
    if options.project:
        assert Path(options.project).resolve() in Path(facts["project"]).resolve().parents
    if options.depot:
        assert facts["depot"].split(":")[0] == options.depot.split(":")[0]


@pytest.mark.slow
def test_threads_reach_julia_and_change_nothing(engine: JuliaEngine) -> None:
    client = JuliaClient(replace(engine.client.options, threads="2"))
    try:
        assert client.start().facts["threads"] == 2
        system, graph = get("kuramoto"), Graph.from_edges([(0, 1), (1, 2)], 3)
        rng = np.random.default_rng(0)
        x0 = np.array([system.initial(rng, 3) for _ in range(7)])
        times = np.linspace(0, 1, 5)
        answers = [
            each.integrate(system, x0, graph, {}, times, 1e-8).x
            for each in (engine, JuliaEngine(client))
        ]
        np.testing.assert_array_equal(answers[0], answers[1])
        spec = ModelSpec(channels=3, hidden=8)
        data = [Arrays(answers[0], times, graph, np.zeros(7, np.int64))]
        theta = layout_of(spec).initial(rng)
        batch = Batch(np.arange(7), np.zeros(7, np.int64), 4)
        one, two = (
            each.bind(spec, data, dtype="float64").loss_and_gradient(theta, batch)
            for each in (engine, JuliaEngine(client))
        )
        assert abs(one[0] - two[0]) < 1e-12
        np.testing.assert_allclose(one[1], two[1], rtol=0, atol=1e-12)
    finally:
        client.close()


def test_ctrl_c_ends_a_solve_in_julia(
    engine: JuliaEngine, ctrl_c_after: Callable[[float], None]
) -> None:
    system, graph = get("lorenz"), Graph.from_adjacency(1 - np.eye(10, dtype=int))
    rng = np.random.default_rng(0)
    x0 = np.array([system.initial(rng, 10) for _ in range(3)])
    engine.integrate(system, x0, graph, {}, np.array([0.0, 0.1]), 1e-8)  # compiled
    pid = engine.client.pid
    ctrl_c_after(1.0)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        many = np.repeat(x0, 20_000, axis=0)
        engine.integrate(system, many, graph, {}, np.linspace(0, 20, 3), 1e-10)
    assert time.monotonic() - began < 60
    assert engine.client.pid == pid and engine.client.call("ping") == {}


def test_an_error_of_julia_is_translated(engine: JuliaEngine) -> None:
    with pytest.raises(JuliaRuntimeError) as caught:
        engine.client.call("loss", program=10**6, theta=0, trajectory=0, start=0, horizon=0)
    assert "KeyError" in str(caught.value)
    number = engine.client.call("program", options={"channels": 2})
    with pytest.raises(Exception, match="bind a dataset first") as caught2:
        engine.client.call(
            "loss",
            program=number,
            theta=np.zeros(layout_of(ModelSpec(channels=2)).size, np.float32),
            trajectory=np.array([5]),
            start=np.array([0]),
            horizon=1,
        )
    assert "got" in str(caught2.value)
