"""Errors in observables: what `evaluate` says of order parameters, energies and the like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode.errors import InvalidData
from pympnode.networks.systems.user import own_system

TRAIN: dict[str, Any] = dict(
    kernel="eager",
    hidden=4,
    message_size=1,
    batch_size=8,
    progress=False,
    dtype="float64",
    epochs=1,
)


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return pympnode.simulate(
        "kuramoto", nodes=5, topology="BA", graphs=2, trajectories=10, steps=6, graph_seed=3
    )


@pytest.fixture(scope="module")
def model(data: xr.Dataset) -> pympnode.Model:
    return pympnode.train(data=data, **TRAIN).model


def order(phase: np.ndarray) -> np.ndarray:
    return np.abs(np.exp(1j * phase).mean(axis=-2)).mean(axis=-1)


def test_order_parameter_is_scored_for_every_predictor(
    model: pympnode.Model, data: xr.Dataset
) -> None:
    score = pympnode.evaluate(model, data)
    assert list(score.observable.values) == ["order_parameter", "phase_difference"]
    assert list(score.observable_unit.values) == ["1", "rad"]
    pick = dict(observable="order_parameter")
    np.testing.assert_allclose(
        score.observable_true.sel(pick), order(data.state.values), atol=1e-14
    )
    predicted = order(score.predicted.values)
    np.testing.assert_allclose(score.observable_predicted.sel(pick), predicted, atol=1e-14)
    error = predicted - order(data.state.values)
    total = score.observable_rmse.sel(**pick, predictor="model")
    assert float(total) == pytest.approx(np.sqrt(np.mean(error[:, 1:] ** 2)), rel=1e-12)
    still = order(data.state.values[:, :1]) - order(data.state.values)
    over_time = score.observable_rmse_time.sel(**pick, predictor="persistence")
    np.testing.assert_allclose(over_time, np.sqrt(np.mean(still**2, axis=0)), atol=1e-14)
    assert over_time[0] == 0


def test_each_trajectory_is_observed_on_its_own_graph(
    model: pympnode.Model, data: xr.Dataset
) -> None:
    score = pympnode.evaluate(model, data)
    for i in range(4):
        edges = np.flatnonzero(data.edge_graph.values == int(data.graph[i]))
        a, b = data.sender.values[edges], data.receiver.values[edges]
        phase = data.state.values[i]
        apart = np.abs(np.angle(np.exp(1j * (phase[:, a] - phase[:, b])))).mean(axis=(1, 2))
        seen = score.observable_true.sel(observable="phase_difference")[i]
        np.testing.assert_allclose(seen, apart, atol=1e-13)


def test_missing_states_have_no_observable(model: pympnode.Model, data: xr.Dataset) -> None:
    holed = data.copy(deep=True)
    holed.state[2, 3, 1, 0] = np.nan
    score = pympnode.evaluate(model, holed)
    unknown = np.isnan(score.observable_true.values)
    assert unknown[2, 3].all() and unknown.sum() == 2
    assert np.isfinite(score.observable_rmse).all()


def test_given_data_have_none(data: xr.Dataset) -> None:
    ds = pympnode.from_arrays(data.state.values[:4, :, :2, :1], dt=0.05, edges=[(0, 1)])
    score = pympnode.evaluate(pympnode.train(data=ds, **TRAIN), ds)
    assert "observable_rmse" not in score and list(score.predictor.values) == [
        "model",
        "persistence",
    ]


def consensus(t: float, x: Any, u: Any, graph: Any, parameters: Any) -> Any:
    return graph.sum_neighbours(x) - graph.in_degree[:, None] * x


def test_a_user_system_need_not_be_registered() -> None:
    spread = {"spread": lambda x, graph, parameters: x[..., 0].std(axis=-1)}
    system = own_system("consensus", consensus, "opinion", observables=spread)
    result = pympnode.train(system, nodes=4, topology="ring", trajectories=10, steps=5, **TRAIN)
    score = result.evaluate(trajectories=4)
    assert list(score.observable.values) == ["spread"]
    assert "uncoupled" in score.predictor
    ds = result.test_set(3)
    assert "observable_rmse" not in pympnode.evaluate(result, ds)
    assert "observable_rmse" in pympnode.evaluate(result, ds, system=system)


def test_an_observable_of_the_wrong_shape_is_named() -> None:
    system = own_system("bad", consensus, "x", observables={"all": lambda x, graph, parameters: x})
    result = pympnode.train(system, nodes=3, topology="ring", trajectories=6, steps=4, **TRAIN)
    with pytest.raises(InvalidData, match="observable 'all' of bad"):
        result.evaluate(trajectories=2)
