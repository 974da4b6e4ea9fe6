"""simulate, train, finetune and rollout with engine="julia", through the stand-in and through Julia."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines_under_test import ENGINES, engine_under_test

import pympnode
from pympnode.networks.engines.julia import client as clients

SMALL: dict[str, Any] = dict(trajectories=8, steps=6, seed=1)
SHORT: dict[str, Any] = dict(epochs=2, batch_size=4, hidden=8, dtype="float64", progress=False)


@pytest.fixture(params=ENGINES[1:])
def worker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The worker behind engine="julia"."""
    client = engine_under_test(request.param).client
    monkeypatch.setattr(clients, "_shared", client)
    monkeypatch.setattr(clients.installed, "options", lambda: client.options)
    yield client


def test_datasets_are_equal_to_tolerance(worker: Any) -> None:
    for system, options in (
        ("kuramoto", {"nodes": 5, "topology": "ring", "graphs": 1}),
        ("gene", {"nodes": 5, "topology": ("BA", {"k": 2}), "graphs": 2}),
        ("kuramoto_controlled", {"nodes": 4, "topology": "ring"}),
    ):
        made = [
            pympnode.simulate(system, engine=engine, tolerance=1e-10, **SMALL, **options)
            for engine in ("torch", "julia")
        ]
        scale = float(np.abs(made[0].state).max())
        np.testing.assert_allclose(made[1].state, made[0].state, rtol=0, atol=1e-8 * max(1, scale))
        np.testing.assert_array_equal(made[1].state[:, 0], made[0].state[:, 0])
        assert set(made[0].variables) == set(made[1].variables)
        facts = pympnode.networks.schema.record(made[1])
        assert facts["engine"] == "julia" and "Julia" in facts["engine_why"]
        assert "Julia" in facts["solver"]


def test_trained_in_one_engine_and_on_in_the_other(worker: Any, tmp_path: Path) -> None:
    result = pympnode.train("lorenz", nodes=3, engine="julia", **SMALL, **SHORT)
    assert result.engine == "julia" and result.kernel == "discrete"
    data = pympnode.simulate("lorenz", nodes=3, engine="torch", **SMALL)
    model = result.model
    torch_model = model.to_engine("torch")
    a, b = model.rollout(data, check=False), torch_model.rollout(data, check=False)
    np.testing.assert_allclose(a.state, b.state, rtol=0, atol=1e-9)
    model.save(tmp_path / "model.nc")
    np.testing.assert_array_equal(pympnode.load(tmp_path / "model.nc").theta, model.theta)
    more = pympnode.finetune(
        torch_model, nodes=4, engine="torch", **SMALL, **{**SHORT, "hidden": None}
    )
    back = pympnode.finetune(
        more.model, nodes=4, engine="julia", **SMALL, **{**SHORT, "hidden": None}
    )
    assert len(back.restored_tensors) == len(model.weights)
    assert np.isfinite(back.best_loss)


def test_both_engines_train_to_the_same_weights(worker: Any) -> None:
    """The same loop, data and seed; after two epochs only rounding can have come between.

    By Adam: the bases of the default optimiser enlarge roundings.
    """
    data = pympnode.simulate("kuramoto", nodes=4, topology="ring", engine="torch", **SMALL)
    thetas = [
        pympnode.train(data=data, engine=engine, optimiser="adam", **SHORT).model.theta
        for engine in ("torch", "julia")
    ]
    np.testing.assert_allclose(thetas[1], thetas[0], rtol=0, atol=1e-9)


def test_ctrl_c_keeps_the_best_weights_and_the_worker(
    worker: Any, tmp_path: Path, ctrl_c_after: Callable[[float], None]
) -> None:

    worker.start()
    pid = worker.pid
    ctrl_c_after(3.0)
    with pytest.raises(KeyboardInterrupt):
        pympnode.train(
            "kuramoto",
            nodes=4,
            topology="ring",
            engine="julia",
            run=tmp_path / "run",
            **SMALL,
            **{**SHORT, "epochs": 100_000},
        )
    assert worker.pid == pid and worker.call("ping") == {}
    assert (tmp_path / "run" / "model.nc").is_file()
