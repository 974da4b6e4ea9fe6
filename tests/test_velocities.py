"""Velocities that are estimated from positions: values, models of positions alone, errors."""

from __future__ import annotations

import numpy as np
import pytest

import pympnode
from pympnode.datasets.record import record
from pympnode.errors import InvalidData, UnknownName


def swing(trajectories, seed):
    return pympnode.simulate(
        "swing", nodes=8, trajectories=trajectories, steps=40, seed=seed, split=None
    )


def measured(ds, features=2):
    """The first features of a simulation without its attributes and parameters."""
    return pympnode.from_arrays(
        ds.state.values[..., :features], dt=float(ds.time[1]), features=["theta", "omega"][:features],
        units=["rad", "rad/s"][:features], time_unit="s", directed=True,
        edges=np.column_stack([ds.sender, ds.receiver]),
    )  # fmt: skip


def positions(ds):
    return measured(ds, 1)


def error(rollout, ds):
    return float(np.sqrt(((rollout.state[..., 0] - ds.state.values[..., 0]) ** 2).mean()))


def test_velocities_are_those_of_the_simulation():
    ds = swing(3, 1)
    found = pympnode.with_velocities(positions(ds), "theta")
    assert found.feature.values.tolist() == ["theta", "velocity of theta"]
    assert found.unit.values.tolist() == ["rad", "rad/s"]
    np.testing.assert_array_equal(found.state[..., 0], ds.state[..., 0])
    away = np.abs(found.state[..., 1].values - ds.state[..., 1].values)
    assert away.max() < 0.02 * float(ds.state[..., 1].std())
    assert away[:, 5:-5].max() < 1e-3 * float(ds.state[..., 1].std())
    assert 5 <= record(found)["velocity_times"] <= 25


def test_noise_widens_the_polynomials():
    ds = positions(swing(3, 1))
    exact = pympnode.with_velocities(ds)
    noise = np.random.default_rng(0).normal(0, 0.03, ds.state.shape)
    found = pympnode.with_velocities(ds.assign(state=ds.state + noise))
    assert record(found)["velocity_times"] > record(exact)["velocity_times"]
    away = (found.state - exact.state)[:, 8:-8, :, 1]
    difference = noise[:, 2:] - noise[:, :-2]
    assert float(away.std()) < 0.5 * float(difference.std()) / (2 * float(ds.time[1]))


def test_phases_on_a_circle_may_jump():
    ds = positions(swing(3, 1))
    wrapped = ds.assign(state=(ds.state + np.pi) % (2 * np.pi) - np.pi)
    wrapped = wrapped.assign_coords(period=("feature", [2 * np.pi]))
    np.testing.assert_allclose(
        pympnode.with_velocities(wrapped).state[..., 1],
        pympnode.with_velocities(ds).state[..., 1], atol=1e-10,
    )  # fmt: skip


def test_a_model_of_phases_alone_predicts_almost_as_well_as_one_that_has_the_rates():
    ds, test = swing(40, 1), swing(20, 2)
    options = dict(updates=400, progress=False, messages="emitted")
    full = pympnode.train(data=measured(ds), **options).model
    model = pympnode.train(data=pympnode.with_velocities(positions(ds)), **options).model
    rollout = model.rollout(positions(test), check=False)
    assert record(rollout)["velocity_times"] < 25
    known = error(full.rollout(measured(test), check=False), test)
    assert error(rollout, test) < 1.5 * known
    scores = pympnode.evaluate(model, positions(test))
    assert "velocity of theta" in scores.feature.values


def test_what_has_no_velocities_is_refused():
    ds = positions(swing(2, 1))
    with pytest.raises(UnknownName):
        pympnode.with_velocities(ds, "omega")
    with pytest.raises(InvalidData, match="has this velocity"):
        pympnode.with_velocities(pympnode.with_velocities(ds), "theta")
    with pytest.raises(InvalidData, match="cannot be estimated"):
        pympnode.with_velocities(ds.isel(time=slice(0, 5)))
    noisy = ds.assign(state=ds.state + np.random.default_rng(0).normal(size=ds.state.shape))
    with pytest.raises(InvalidData, match="cannot be estimated"):
        pympnode.with_velocities(noisy)
    uneven = ds.assign_coords(time=ds.time**1.1)
    with pytest.raises(InvalidData, match="even time grid"):
        pympnode.with_velocities(uneven)
