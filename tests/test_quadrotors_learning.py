"""Models of quadrotors: attitudes of unit norm, symmetries, errors and baselines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode import from_arrays
from pympnode.errors import FileDamaged, InvalidData, InvalidOption, UnknownName
from pympnode.networks.schema import parameters_of, validate
from pympnode.networks.systems.quadrotors import (
    Quadrotors,
    attitude_angle,
    augmented,
    load_of,
    rotated,
    tensions,
)
from pympnode.networks.unit_norm import normalise, with_unit_norm

QUATERNION = slice(3, 7)
SMALL = dict(
    messages="emitted", coupling="mixed", message_size=3, hidden=8, max_window=0.5, progress=False
)


@pytest.fixture(scope="module")
def flights() -> xr.Dataset:
    return pympnode.simulate("quadrotors", trajectories=4, steps=60, seed=2)


@pytest.fixture(scope="module")
def model(flights: xr.Dataset) -> pympnode.Model:
    more = pympnode.simulate("quadrotors", trajectories=16, steps=60, seed=3)
    return pympnode.train(
        data=more, updates=2500, **SMALL | {"hidden": 16, "message_size": 9}
    ).model


def norms(ds: xr.Dataset, name: str = "state") -> np.ndarray:
    return np.linalg.norm(ds[name].values[..., QUATERNION].astype(np.float64), axis=-1)


# ---- unit norm ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["numba", "torch", "eager"])
def test_attitudes_keep_their_norm_in_a_long_rollout(
    flights: xr.Dataset, model: pympnode.Model, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bind = pympnode.Model.bind
    monkeypatch.setattr(
        pympnode.Model, "bind",
        lambda self, *args, **words: bind(self, *args, **(words | {"kernel": kernel})),
    )  # fmt: skip
    free = replace(model, unit_norm=())
    kept, lost = (m.rollout(flights, check=False) for m in (model, free))
    assert kept.finite.all() and lost.finite.all()
    assert np.abs(norms(kept) - 1).max() < 1e-6
    assert np.abs(norms(lost) - 1).max() > 1e-4
    # Continuous in sign, and the first states are those given.
    assert (np.sum(np.diff(kept.state.values[..., QUATERNION], axis=1) ** 2, -1) < 0.5).all()
    np.testing.assert_array_equal(kept.state[:, 0], flights.state[:, 0].astype(np.float32))
    true = flights.state.values[..., QUATERNION]
    errors = [
        attitude_angle(r.state.values[..., QUATERNION] / norms(r)[..., None], true)
        for r in (kept, lost)
    ]
    # Of a model that is worth a rollout the constraint costs nothing.
    assert errors[1][:, :21].mean() < 0.05
    assert errors[0][:, :21].mean() <= 1.02 * errors[1][:, :21].mean()
    assert errors[0].mean() <= 1.1 * errors[1].mean()


def test_kernels_agree_and_one_interval_is_that_of_the_field(
    flights: xr.Dataset, model: pympnode.Model
) -> None:
    """After one interval the states are those without the constraint, divided by their norm."""
    one = model.rollout(flights, steps=1, check=False).state.values
    free = replace(model, unit_norm=()).rollout(flights, steps=1, check=False).state.values
    np.testing.assert_allclose(
        one, normalise(free, [(None, [3, 4, 5, 6])], None), rtol=0, atol=1e-6
    )
    assert np.abs(one - free).max() > 1e-6


def test_messages_that_are_integrated_are_not_begun_anew(flights: xr.Dataset) -> None:
    """Of state messages the states are divided at the end alone, whatever the messages."""
    state = dict(SMALL, messages="state", updates=3, aggregation="mean")
    model = pympnode.train(data=flights, **state).model
    kept = model.rollout(flights, check=False)
    free = replace(model, unit_norm=()).rollout(flights, check=False)
    np.testing.assert_array_equal(kept.message, free.message)
    assert np.abs(norms(kept) - 1).max() < 1e-6


def test_types_of_nodes_and_files_keep_the_groups(tmp_path: Path) -> None:
    ds = pympnode.simulate(Quadrotors(load="node"), trajectories=2, steps=20, seed=2)
    assert ds.unit_norm_quadrotor.values.tolist() == [0] * 3 + [1] * 4 + [0] * 6
    assert "unit_norm_load" not in ds.coords
    model = pympnode.train(data=ds, updates=2, **SMALL).model
    assert model.unit_norm == (tuple(f"quadrotor.quaternion_{a}" for a in "wxyz"),)
    model.save(tmp_path / "model.nc")
    again = pympnode.Model.from_dataset(model.to_dataset())
    assert again.unit_norm == model.unit_norm
    out = again.rollout(ds, check=False)
    assert np.abs(norms(out, "state_quadrotor") - 1).max() < 1e-6
    assert out.unit_norm_quadrotor.identical(ds.unit_norm_quadrotor)
    # A start model hands them on.
    other = pympnode.finetune(model, data=ds, updates=2, progress=False).model
    assert other.unit_norm == model.unit_norm
    wrong = replace(model, unit_norm=(("quadrotor.up", "quadrotor.rate_x"),))
    with pytest.raises(FileDamaged):
        pympnode.Model.from_dataset(wrong.to_dataset())


def test_own_data_are_marked_and_checked() -> None:
    angle = np.cumsum(np.full((2, 10, 2), 0.1), axis=1)
    x = np.stack([np.cos(angle), np.sin(angle), angle], axis=-1)
    ds = from_arrays(x, dt=0.1, edges=[(0, 1)], features=["c", "s", "a"])
    marked = with_unit_norm(ds, ("c", "s"))
    assert marked.unit_norm.values.tolist() == [1, 1, 0]
    reordered = marked.isel(feature=[2, 1, 0])
    model = pympnode.train(data=marked, updates=2, hidden=4, progress=False).model
    assert model.unit_norm == (("c", "s"),)
    out = model.rollout(reordered, check=False).state.values[..., :2].astype(float)
    np.testing.assert_allclose(np.linalg.norm(out, axis=-1), 1, atol=1e-6)
    with pytest.raises(InvalidData, match="not of unit norm"):
        with_unit_norm(ds, ("c", "s", "a"))
    with pytest.raises(UnknownName, match="b"):
        with_unit_norm(ds, ("c", "b"))
    for groups in ((("c",),), (("c", "s"), ("s", "a"))):
        with pytest.raises(InvalidOption, match="two features"):
            with_unit_norm(ds, *groups)


# ---- symmetries ---------------------------------------------------------------------------------


def test_features_that_enter_nothing_are_an_exact_symmetry(flights: xr.Dataset) -> None:
    shifted = ["position_x", "position_y", "position_z"]
    trained = pympnode.train(data=flights, updates=5, invariant=shifted, dtype="float64", **SMALL)
    assert trained.model.spec.invariant == (0, 1, 2) and not trained.model.spec.relative
    moved = flights.copy(deep=True)
    moved["state"].loc[{"feature": shifted}] += np.array([3.0, -2.0, 1.0])
    first, second = (trained.model.rollout(ds, check=False) for ds in (flights, moved))
    np.testing.assert_allclose(
        second.state.sel(feature=shifted) - first.state.sel(feature=shifted),
        np.broadcast_to([3.0, -2.0, 1.0], first.state.sel(feature=shifted).shape), atol=1e-9,
    )  # fmt: skip
    np.testing.assert_allclose(second.state[..., 3:], first.state[..., 3:], atol=1e-9)
    np.testing.assert_allclose(second.message, first.message, atol=1e-9)


def test_features_that_are_no_input_have_the_scale_of_their_change(flights: xr.Dataset) -> None:
    """So that errors of positions count beside those of velocities, however far the bodies travel."""
    shifted = ["position_x", "position_y"]
    options = dict(data=flights, updates=1, **SMALL)
    model = pympnode.train(invariant=shifted, **options).model
    plain = pympnode.train(**options).model
    x = flights.state.values
    np.testing.assert_allclose(plain.state_scale.scale, x.std(axis=(0, 1, 2)), rtol=1e-6)
    steps = np.diff(x[flights.split.values == "train"][..., :2], axis=1)
    rate = np.sqrt(np.mean(np.square(steps / 0.05), axis=(0, 1, 2)))
    np.testing.assert_allclose(model.state_scale.scale[:2], rate * model.time_scale, rtol=1e-6)
    np.testing.assert_array_equal(model.state_scale.scale[2:], plain.state_scale.scale[2:])
    np.testing.assert_array_equal(model.state_scale.mean, plain.state_scale.mean)
    # Pairwise messages take the differences of such features.
    pairs = dict(options, messages="pairwise", invariant=shifted)
    other = pympnode.train(**pairs).model
    np.testing.assert_array_equal(other.state_scale.scale, plain.state_scale.scale)


def test_turned_flights_obey_the_dynamics(flights: xr.Dataset) -> None:
    """The field of a turned state is the turned field, and open-loop flights from turned starts are turned."""
    angles = np.array([0.3, -1.2, 2.5, 4.0])
    turned = rotated(flights, angles)
    assert "door" not in turned
    validate(turned)
    again = pympnode.simulate(
        "quadrotors", initial=turned.state.values[:, 0], control=flights.control.values, steps=60
    )
    np.testing.assert_allclose(again.state, turned.state, atol=1e-6)
    np.testing.assert_allclose(rotated(turned, -angles).state, flights.state, atol=1e-12)
    np.testing.assert_array_equal(turned.state[..., 10:13], flights.state[..., 10:13])
    assert np.abs(norms(turned) - 1).max() < 1e-12
    one = rotated(flights, 0.3)
    np.testing.assert_array_equal(one.state[0], turned.state[0])
    typed = pympnode.simulate(Quadrotors(load="node"), trajectories=4, steps=60, seed=2)
    back = rotated(typed, angles)
    np.testing.assert_allclose(back.state_quadrotor, turned.state[..., :13], atol=1e-12)
    np.testing.assert_allclose(
        back.state_load.values[:, :, 0], load_of(turned.state.values), atol=1e-12
    )
    with pytest.raises(InvalidData, match="angle"):
        rotated(flights, [0.1, 0.2])
    with pytest.raises(InvalidData, match="no states"):
        rotated(pympnode.simulate("lorenz", trajectories=2, steps=3), 0.1)


def test_augmented_flights_train_a_model(flights: xr.Dataset) -> None:
    more = augmented(flights, copies=2, seed=5)
    validate(more)
    assert more.sizes["trajectory"] == 12
    np.testing.assert_array_equal(more.state[:4], flights.state)
    np.testing.assert_array_equal(more.split[4:8], flights.split)
    assert more.control[8:].equals(flights.control.assign_coords(trajectory=np.arange(8, 12)))
    length = [np.linalg.norm(d.state[..., 13:16], axis=-1) for d in (more[{"trajectory": slice(4, 8)}], flights)]  # fmt: skip
    np.testing.assert_allclose(length[0], length[1], atol=1e-12)
    apart = np.abs((more.state[4:8].values - flights.state.values)[..., :2]).max(axis=(1, 2, 3))
    assert (apart > 0.01).all()
    assert augmented(flights, copies=2, seed=5).identical(more)
    assert not augmented(flights, copies=2, seed=6).identical(more)
    assert pympnode.train(data=more, updates=1, **SMALL).model.unit_norm


# ---- errors -------------------------------------------------------------------------------------


def test_errors_and_baselines_of_an_evaluation(flights: xr.Dataset, model: pympnode.Model) -> None:
    scores = pympnode.evaluate(model, flights)
    assert scores.predictor.values.tolist() == [
        "model", "persistence", "constant_velocity", "uncoupled",
    ]  # fmt: skip
    assert scores.error_unit.values.tolist() == ["m", "m/s", "rad", "m", "m"]
    true, found = flights.state.values, scores.predicted.values.astype(np.float64)
    of = scores.state_error.sel(predictor="model")

    def rms(values: np.ndarray) -> float:
        return float(np.sqrt(np.mean(np.square(values[:, 1:]))))

    distance = np.linalg.norm((found - true)[..., :3], axis=-1)
    assert of.sel(error="position") == pytest.approx(rms(distance))
    cosine = np.abs((found * true)[..., QUATERNION].sum(axis=-1))
    angle = 2 * np.arccos(np.clip(cosine / norms(xr.Dataset({"state": scores.predicted})), 0, 1))
    assert of.sel(error="attitude") == pytest.approx(rms(angle), abs=1e-6)
    load = np.linalg.norm((load_of(found) - load_of(true))[..., :3], axis=-1)
    assert of.sel(error="load_position") == pytest.approx(rms(load))
    length = np.linalg.norm(found[..., 13:16], axis=-1) - 2.2
    assert of.sel(error="cable_length") == pytest.approx(rms(length))
    by_time = scores.state_error_time.sel(predictor="model", error="position")
    np.testing.assert_allclose(by_time, np.sqrt((distance**2).mean(axis=(0, 2))))
    time = flights.time.values[None, :, None, None]
    held = true[:, :1, :, :3] + true[:, :1, :, 7:10] * time
    flown = scores.state_error_time.sel(predictor="constant_velocity", error="position")
    np.testing.assert_allclose(
        flown, np.sqrt((np.linalg.norm(held - true[..., :3], axis=-1) ** 2).mean(axis=(0, 2)))
    )
    still = scores.state_error.sel(predictor="persistence")
    assert still.sel(error="cable_length") < 1e-9 < still.sel(error="position")


def test_errors_are_those_of_the_load_as_a_node() -> None:
    """Baselines do not depend on the form of the data."""
    both = []
    for load in ("features", "node"):
        ds = pympnode.simulate(Quadrotors(load=load), trajectories=2, steps=20, seed=4)
        model = pympnode.train(data=ds, updates=1, **SMALL).model
        both.append(pympnode.evaluate(model, ds).state_error)
    for name in ("persistence", "constant_velocity"):
        for error in ("position", "velocity", "attitude", "load_position"):
            a, b = (e.sel(predictor=name, error=error).item() for e in both)
            assert a == pytest.approx(b, rel=1e-6), (name, error)


def test_angles_between_attitudes() -> None:
    rng = np.random.default_rng(0)
    q = rng.standard_normal((50, 4))
    q /= np.linalg.norm(q, axis=-1, keepdims=True)
    angle = rng.uniform(0, np.pi, 50)
    turn = np.stack([np.cos(angle / 2), *[0 * angle] * 2, np.sin(angle / 2)], axis=-1)
    w, x, y, z = q.T
    h, k = turn[:, 0], turn[:, 3]
    moved = np.stack([h * w - k * z, h * x - k * y, h * y + k * x, h * z + k * w], axis=-1)
    np.testing.assert_allclose(attitude_angle(q, moved), angle, atol=1e-7)
    np.testing.assert_allclose(attitude_angle(q, -moved), angle, atol=1e-7)
    assert (attitude_angle(q, q) == 0).all() and (attitude_angle(q, -q) == 0).all()


def test_a_missing_value_leaves_its_node_and_time_out(flights: xr.Dataset) -> None:
    """Errors of states are over what is known."""
    ds = flights.copy(deep=True)
    model = pympnode.train(data=flights, updates=1, **SMALL).model
    ds["state"][0, 5, 1, 0] = np.nan
    scores = pympnode.evaluate(model, ds)
    assert np.isfinite(scores.state_error).all()
    full = pympnode.evaluate(model, flights)
    same = scores.state_error_time[:, 6:] == full.state_error_time[:, 6:]
    assert same.sel(error=["position", "velocity"]).all()


# ---- the default class --------------------------------------------------------------------------


def test_quadrotors_have_the_class_that_was_measured_to_be_best(flights: xr.Dataset) -> None:
    """Where no option chooses a class; other options hold beside it, and it is recorded."""
    short = dict(data=flights, updates=1, progress=False)
    result = pympnode.train(**short)
    spec = result.model.spec
    assert (spec.messages, spec.coupling, spec.message) == ("emitted", "mixed", 13)
    assert spec.invariant == (0, 1, 2) and spec.sender_controls and spec.linear
    assert "quadrotors" in result.history.attrs["class"]
    wide = pympnode.train(**short, hidden=8, message_size=5).model.spec
    assert (wide.hidden, wide.message, wide.coupling) == (8, 5, "mixed")
    assert not pympnode.train(**short, linear_path=False).model.spec.linear
    chosen = {
        "superposed": dict(coupling="superposed"),
        "state": dict(messages="state"),
        "paper": dict(preset="paper"),
        "relative": dict(relative=["position_x"]),
    }
    for name, options in chosen.items():
        result = pympnode.train(**short, **options)
        assert not {0, 1, 2} <= set(result.model.spec.invariant), name
        assert "class" not in result.history.attrs
    typed = pympnode.simulate(Quadrotors(load="node"), trajectories=3, steps=20, seed=2)
    spec = pympnode.train(data=typed, updates=1, progress=False).model.spec
    assert (spec.messages, spec.coupling, spec.invariant) == ("emitted", "mixed", ())
    # Other features are another system's.
    renamed = flights.assign_coords(feature=[f"x{i}" for i in range(19)])
    assert "class" not in pympnode.train(data=renamed, updates=1, progress=False).history.attrs


def test_every_quadrotor_has_a_loop(flights: xr.Dataset) -> None:
    ends = set(zip(flights.sender.values.tolist(), flights.receiver.values.tolist()))
    assert ends == {(a, b) for a in range(3) for b in range(3)}
    plain = pympnode.simulate("quadrotors", topology="complete", trajectories=1, steps=60, seed=2)
    np.testing.assert_array_equal(plain.state[0], flights.state[0])


# ---- pictures -----------------------------------------------------------------------------------


def test_tensions_and_thrusts_are_drawn(flights: xr.Dataset, model: pympnode.Model) -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    guess = model.rollout(flights, check=False)
    pull, thrust = pympnode.plotting.quadrotor_forces(guess, flights, trajectory=1)
    x, u = flights.state.values[1], flights.control.values[1]
    wanted = tensions(x, u, parameters_of(flights, Quadrotors()))
    assert len(pull.lines) == 6 and len(thrust.lines) == 3
    np.testing.assert_allclose(pull.lines[2].get_ydata(), wanted[:-1, 2])
    assert pull.lines[3].get_linestyle() == "--"
    np.testing.assert_allclose(thrust.lines[0].get_ydata(), u[:-1, 0].sum(axis=-1))
    alone = flights.pympnode.plot.quadrotor_forces(trajectory=1)
    np.testing.assert_allclose(alone[0].lines[2].get_ydata(), wanted[:-1, 2])
    with pytest.raises(InvalidData, match="controls"):
        pympnode.plotting.quadrotor_forces(flights.drop_vars("control"))
    plt.close("all")


def test_flights_are_animated(flights: xr.Dataset, model: pympnode.Model, tmp_path: Path) -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    guess = model.rollout(flights, check=False)
    player = pympnode.plotting.animate_quadrotors(guess, flights, trajectory=2, every=20)
    ax = player._fig.axes[0]
    player._func(40)
    x = flights.state.values[2]
    paths = [np.array(line.get_data_3d()).T for line in ax.lines]
    np.testing.assert_allclose(paths[0], load_of(x)[:41, :3])
    np.testing.assert_allclose(paths[2], x[:41, 1, :3])
    cable = paths[5]  # after four paths, of quadrotor 1
    np.testing.assert_allclose(cable, [load_of(x)[40, :3], x[40, 1, :3]])
    assert "t = 2" in ax.get_title()
    player.save(tmp_path / "flight.gif", writer="pillow")
    assert (tmp_path / "flight.gif").stat().st_size > 10_000
    assert "<script" in player._repr_html_()
    plt.close("all")
