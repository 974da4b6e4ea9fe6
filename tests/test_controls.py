"""Controls end to end: drawn or given, learned, and rolled out under inputs never seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode.errors import InvalidData, InvalidGraph, InvalidOption
from pympnode.networks.systems.user import own_system
from pympnode.systems.base import Variable

TRAIN: dict[str, Any] = dict(kernel="eager", batch_size=8, progress=False, dtype="float64")
SMALL: dict[str, Any] = {**TRAIN, "hidden": 4, "message_size": 1, "epochs": 1}
SIZE: dict[str, Any] = dict(nodes=4, topology="ring", steps=6)


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return pympnode.simulate("kuramoto_controlled", trajectories=12, **SIZE)


@pytest.fixture(scope="module")
def model(data: xr.Dataset) -> pympnode.Model:
    return pympnode.train(data=data, **SMALL).model


def leaky(t: float, x: Any, u: Any, graph: Any, parameters: Any) -> Any:
    return u - x


def steps_of(rng: np.random.Generator, nodes: int, times: np.ndarray) -> np.ndarray:
    return rng.choice([-1.0, 0.0, 1.0], (len(times), nodes, 1))


# ---- simulating -------------------------------------------------------------------------------


def test_given_inputs_are_those_of_the_dataset_and_are_held() -> None:
    system = own_system("leaky", leaky, "x", controls=["push"])
    u = np.zeros((2, 4, 1, 1))
    u[0, :, 0, 0] = [1.0, 0.0, -2.0, 9.0]
    ds = pympnode.simulate(
        system, topology="none", nodes=1, dt=0.5, steps=3, control=u, initial=np.zeros((2, 1, 1))
    )
    np.testing.assert_array_equal(ds.control, u)
    x, expected = 0.0, [0.0]
    for push in (1.0, 0.0, -2.0):  # x' = push - x over each half
        x = push + (x - push) * np.exp(-0.5)
        expected.append(x)
    np.testing.assert_allclose(ds.state[0, :, 0, 0], expected, rtol=0, atol=1e-7)
    assert not ds.state[1].any()


@pytest.mark.parametrize(
    "initial", [3.0, np.zeros((4, 1)), np.zeros((0, 4, 1)), np.zeros((2, 5, 1))]
)
def test_initial_states_that_do_not_fit(initial: Any) -> None:
    system = own_system("leaky", leaky, "x", controls=["push"])
    with pytest.raises(InvalidData, match="wrong shape"):
        pympnode.simulate(system, initial=initial, **SIZE)


def test_inputs_without_trajectories_are_the_same_for_all() -> None:
    u = np.random.default_rng(0).normal(size=(7, 4, 1))
    ds = pympnode.simulate("kuramoto_controlled", trajectories=3, control=u, **SIZE)
    np.testing.assert_array_equal(ds.control, np.broadcast_to(u, (3, 7, 4, 1)))


def test_a_user_system_draws_its_inputs() -> None:
    push = Variable("push", "N")
    system = own_system("leaky", leaky, "x", controls=[push], inputs=steps_of)
    ds = pympnode.simulate(system, trajectories=5, **SIZE)
    assert set(np.unique(ds.control)) == {-1.0, 0.0, 1.0}
    assert list(ds.control_feature.values) == ["push"]
    prefix = pympnode.simulate(system, trajectories=3, **SIZE)
    np.testing.assert_array_equal(prefix.control, ds.control[:3])
    still = pympnode.simulate(
        own_system("l", leaky, "x", controls=["push"]), trajectories=2, **SIZE
    )
    assert not still.control.any()


@pytest.mark.parametrize(
    "shape", [(12, 6, 4, 1), (12, 7, 3, 1), (12, 7, 4, 2), (11, 7, 4, 1), (7,)]
)
def test_simulating_with_inputs_of_the_wrong_length(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidData, match=r"controls has the wrong shape[\s\S]*\(12, 7, 4, 1\)"):
        pympnode.simulate("kuramoto_controlled", trajectories=12, control=np.zeros(shape), **SIZE)


def test_inputs_that_do_not_fit_the_system() -> None:
    with pytest.raises(InvalidOption, match="takes no controls"):
        pympnode.simulate("kuramoto", trajectories=2, control=np.zeros((7, 4, 1)), **SIZE)
    with pytest.raises(InvalidOption, match="controls that have names"):
        own_system("l", leaky, "x", inputs=steps_of)
    wrong = own_system("l", leaky, "x", controls=["a"], inputs=lambda rng, n, t: np.zeros((n, 1)))
    with pytest.raises(InvalidData, match="inputs of l have the wrong shape"):
        pympnode.simulate(wrong, trajectories=2, **SIZE)
    bad = np.zeros((7, 4, 1))
    bad[1] = np.nan
    with pytest.raises(InvalidData, match="not finite"):
        pympnode.simulate("kuramoto_controlled", trajectories=2, control=bad, **SIZE)


# ---- rolling out ------------------------------------------------------------------------------


def test_a_graph_of_another_size_is_refused(model: pympnode.Model, data: xr.Dataset) -> None:
    seven = pympnode.Graph.from_edges([(0, 1)], 7)
    with pytest.raises(InvalidGraph, match="another number of nodes"):
        model.rollout(data, topology=seven)


def test_new_inputs_act_from_the_moment_they_differ(
    model: pympnode.Model, data: xr.Dataset
) -> None:
    before = model.rollout(data)
    u = data.control.values.copy()
    u[:, 3, 0] += 0.4
    after = model.rollout(data, control=u)
    np.testing.assert_array_equal(after.state[:, :4], before.state[:, :4])
    assert np.all(np.abs(after.state - before.state).values[:, 4, 0] > 1e-6)
    np.testing.assert_array_equal(after.control, u)
    longest = model.rollout(data, control=u[:, :6])
    np.testing.assert_array_equal(longest.state, after.state)


def test_the_last_input_is_not_used(model: pympnode.Model, data: xr.Dataset) -> None:
    empty = data.copy(deep=True)
    empty.control[:, -1] = np.nan
    np.testing.assert_array_equal(model.rollout(empty).state, model.rollout(data).state)
    same = pympnode.train(data=empty, **SMALL).model
    np.testing.assert_array_equal(same.theta, model.theta)
    further = model.rollout(empty, steps=8)
    assert np.isfinite(further.state).all()
    np.testing.assert_array_equal(further.control[:, 6:9], further.control[:, [5, 5, 5]].values)


def test_another_grid_holds_the_inputs_of_the_data(model: pympnode.Model, data: xr.Dataset) -> None:
    u = data.control.values
    fine = model.rollout(data, dt=0.025, steps=12, check=False)
    np.testing.assert_array_equal(fine.control[:, :12], np.repeat(u[:, :6], 2, axis=1))
    coarse = model.rollout(data, dt=0.1, steps=3, check=False)
    np.testing.assert_array_equal(coarse.control[:, :3], u[:, :6:2])
    nodes = ["kuramoto_controlled"] * 4
    exact = pympnode.couple(nodes, "ring").rollout(data, dt=0.025, steps=12, tolerance=1e-9)
    np.testing.assert_allclose(exact.state[:, ::2], data.state, rtol=0, atol=1e-7)


@pytest.mark.parametrize("options", [dict(steps=0), dict(steps=2.5), dict(dt=0.0), dict(dt=-1.0)])
def test_grids_that_are_none(model: pympnode.Model, data: xr.Dataset, options: Any) -> None:
    with pytest.raises(InvalidOption):
        model.rollout(data, **options)


def test_from_initial_states(model: pympnode.Model, data: xr.Dataset) -> None:
    x0, u = data.state.values[:, 0], data.control.values
    out = model.rollout(x0, steps=6, topology="ring", control=u)
    # The step is the largest of the training grid, which differs from the others by rounding.
    np.testing.assert_allclose(out.state, model.rollout(data).state, rtol=0, atol=1e-13)
    with pytest.raises(InvalidData, match="control"):
        model.rollout(x0, steps=6, topology="ring")


@pytest.mark.parametrize(
    "shape", [(12, 5, 4, 1), (12, 9, 4, 1), (12, 7, 4, 2), (2, 7, 4, 1), (7, 4)]
)
def test_rollouts_with_inputs_of_the_wrong_length(
    model: pympnode.Model, data: xr.Dataset, shape: tuple[int, ...]
) -> None:
    with pytest.raises(InvalidData, match="controls have the wrong shape") as caught:
        model.rollout(data, control=np.zeros(shape))
    assert "(12, 7, 4, 1)" in str(caught.value.allowed) and str(shape) in str(caught.value.got)


def test_rollouts_with_inputs_that_are_not_finite(model: pympnode.Model, data: xr.Dataset) -> None:
    u = data.control.values.copy()
    u[3, 2, 1] = np.inf
    with pytest.raises(InvalidData, match="trajectory 3, time 2, node 1"):
        model.rollout(data, control=u)


def test_data_without_the_inputs_of_the_model(model: pympnode.Model, data: xr.Dataset) -> None:
    with pytest.raises(InvalidData, match="control"):
        model.rollout(data.drop_vars(["control", "control_feature"]))
    with pytest.raises(InvalidData, match="control"):
        pympnode.evaluate(model, data.drop_vars(["control", "control_feature"]))


def test_vector_field_takes_inputs(model: pympnode.Model, data: xr.Dataset) -> None:
    x, u = data.state.values[:2, 0], data.control.values[:2, 0]
    slope, _ = model.vector_field(x, u=u, graph="ring")
    other, _ = model.vector_field(x, u=u + 1.0, graph="ring")
    assert np.abs(slope - other).max() > 1e-6
    for bad in (None, u[:, :2], u[0]):
        with pytest.raises(InvalidData, match="u has the wrong shape"):
            model.vector_field(x, u=bad, graph="ring")
    with pytest.raises(InvalidData, match="m has the wrong shape"):
        model.vector_field(x, np.zeros((2, 4, 9)), u, "ring")
    with pytest.raises(InvalidData, match="x has the wrong shape"):
        model.vector_field(x[0], u=u, graph="ring")


# ---- learning ---------------------------------------------------------------------------------


def test_a_model_learns_the_effect_of_its_inputs() -> None:
    """Trained under drawn steps, it follows a ramp; inputs shuffled in time would not do."""
    system = own_system("leaky", leaky, "x", controls=["push"], inputs=steps_of)
    size = dict(nodes=2, topology="none", steps=10, dt=0.2)
    result = pympnode.train(
        system, trajectories=40, hidden=8, messages="zero", epochs=12, learning_rate=2e-2,
        **size, **TRAIN,
    )  # fmt: skip
    ramp = np.linspace(-1, 1, 11)[:, None, None] * np.ones((1, 2, 1))
    truth = pympnode.simulate(system, trajectories=10, control=ramp, seed=8, **size)
    error = float(np.sqrt(((result.model.rollout(truth).state - truth.state) ** 2).mean()))
    wrong = result.model.rollout(truth, control=np.ascontiguousarray(ramp[::-1]))
    confused = float(np.sqrt(((wrong.state - truth.state) ** 2).mean()))
    assert error < 0.4 * float(truth.state.std())
    assert confused > 3 * error
