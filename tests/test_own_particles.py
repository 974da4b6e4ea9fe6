"""Particle data of users: arrays, unknown forces, times that are not ascending."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode.errors import InvalidData, InvalidOption
from pympnode.particles.schema import box_of, pack_particles, validate_particles

TRAIN: dict[str, Any] = dict(
    kernel="eager", edge_width=8, node_width=8, updates=2, batch_size=2, progress=False
)


@pytest.fixture(scope="module")
def gravity() -> xr.Dataset:
    """In open space: its paths are as they are."""
    return pympnode.simulate(
        "gravity", particles=9, trajectories=4, steps=6, seed=2, parameters={"side": None}
    )


# ---- arrays -----------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [None, 6.0])
def test_arrays_come_back_as_they_were(side: float | None) -> None:
    gravity = pympnode.simulate(
        "gravity", particles=9, trajectories=4, steps=40, seed=2, parameters={"side": side}
    )
    ds = pympnode.from_particles(
        gravity.position.values, gravity.velocity.values, gravity.mass.values,
        dt=0.01, side=side, system="gravity", constant=2.0, softening=0.2,
        split=["train", "train", "validation", "test"],
    )  # fmt: skip
    for name in ("position", "velocity", "mass"):
        np.testing.assert_array_equal(ds[name], gravity[name])
        assert ds[name].attrs == gravity[name].attrs
    np.testing.assert_allclose(ds.time, gravity.time, rtol=0, atol=1e-15)
    assert ds.split.values.tolist() == ["train", "train", "validation", "test"]
    assert box_of(ds) == box_of(gravity)
    # What it says of the forces is what the simulator says: the same energies.
    from pympnode.particles.metrics import observe

    xr.testing.assert_allclose(observe(ds).energy, observe(gravity).energy)


def test_shapes_are_those_of_one_and_of_several() -> None:
    x = np.arange(2 * 3 * 2 * 3, dtype=float).reshape(2, 3, 2, 3)
    v = np.full_like(x, 12.0)
    for mass in (2.0, [1.0, 2.0], [[1.0, 2.0], [3.0, 4.0]]):
        ds = pympnode.from_particles(x.tolist(), v.tolist(), mass, time=[0.0, 0.5, 1.0])
        np.testing.assert_array_equal(ds.mass, np.broadcast_to(mass, (2, 2)))
        assert ds.axis.values.tolist() == ["x", "y", "z"] and not box_of(ds).periodic
    one = pympnode.from_particles(x[0], v[0], 1, dt=0.5, charge=[1.0, -1.0], split="train")
    assert one.position.shape == (1, 3, 2, 3) and one.split.values.tolist() == ["train"]
    assert pack_particles(one).charge.tolist() == [[1.0, -1.0]]
    assert pympnode.networks.schema.record(one)["system"] == "particles"


def test_a_box_may_begin_at_zero_and_paths_need_not_be_wrapped() -> None:
    x = np.array([[[0.5, 3.5], [9.0, -7.5]]])
    ds = pympnode.from_particles(x, np.zeros_like(x), 1.0, dt=0.1, side=4.0)
    np.testing.assert_array_equal(ds.position.values[0, 0], [[0.5, -0.5], [1.0, 0.5]])


def test_paths_of_a_box_without_its_side_are_refused() -> None:
    """Every crossing of a border would be a step that no force explains."""
    ds = pympnode.simulate("gravity", particles=20, trajectories=2, steps=60, seed=1)
    assert float(abs(ds.position.diff("time")).max()) > 10
    with pytest.raises(InvalidData, match="positions jump") as error:
        pympnode.from_particles(ds.position, ds.velocity, 1.0, dt=0.01)
    assert "side=" in (error.value.fix or "")
    side = box_of(ds).side
    given = pympnode.from_particles(ds.position, ds.velocity, 1.0, dt=0.01, side=side)
    np.testing.assert_array_equal(given.position, ds.position)


X = np.zeros((2, 3, 2, 2))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (dict(position=np.zeros((3, 2))), InvalidData, "position has the wrong shape"),
        (dict(position=np.zeros((3, 2, 4))), InvalidData, "2 or 3 axes"),
        (dict(position=[[1.0, 2.0], [3.0]]), InvalidData, "position does not hold numbers"),
        (dict(position=np.where(X == 0, np.nan, X)), InvalidData, "position holds values"),
        (dict(velocity=None), InvalidData, "particles need velocities"),
        (dict(velocity=X[:, 1:]), InvalidData, "velocity does not fit position"),
        (dict(velocity=X + np.inf), InvalidData, "velocity holds values"),
        (dict(mass=[1.0, 2.0, 3.0]), InvalidData, "mass does not fit position"),
        (dict(mass=np.ones((2, 3, 2))), InvalidData, "leave the time axis out"),
        (dict(mass=[1.0, np.nan]), InvalidData, "mass holds values .*\n.*at particle 1"),
        (dict(mass=-1.0), InvalidData, "mass cannot be negative"),
        (dict(mass="heavy"), InvalidData, "mass does not hold numbers"),
        (dict(charge=[1.0]), InvalidData, "charge does not fit position"),
        (dict(dt=None), InvalidData, "time step or the times"),
        (dict(dt=-0.1), InvalidOption, "dt must be"),
        (dict(dt="short"), InvalidOption, "dt must be"),
        (dict(dt=None, time=[0.0, 1.0]), InvalidData, "time does not fit position"),
        (dict(dt=None, time=[0.0, 2.0, 1.0]), InvalidData, "time must increase"),
        (dict(side=0), InvalidOption, "side is one number"),
        (dict(side=[4.0, 5.0, 6.0, 7.0]), InvalidOption, "a side for each axis"),
        (dict(softening=-1.0), InvalidOption, "softening is one number"),
        (dict(constant=2.0), InvalidOption, "a constant belongs to known forces"),
        (dict(system="gravity"), InvalidOption, "need their constant"),
        (dict(system="coulomb"), InvalidData, "coulomb needs charges"),
        (dict(system="gravity", charge=1.0), InvalidData, "gravity has no charges"),
        (dict(split=["train"]), InvalidData, "split labels each trajectory"),
        (dict(split="tset"), InvalidData, "split labels each trajectory"),
    ],
)
def test_bad_arrays_are_refused_in_words(change: Any, error: type, words: str) -> None:
    options: dict[str, Any] = {"position": X, "velocity": X, "mass": 1.0, "dt": 0.1, **change}
    with pytest.raises(error, match=words) as caught:
        pympnode.from_particles(**options)
    assert caught.value.got is not None and caught.value.allowed is not None


def test_arrays_of_nodes_point_to_particles(gravity: xr.Dataset) -> None:
    with pytest.raises(InvalidData, match=r"pympnode\.from_particles"):
        pympnode.from_arrays(gravity.position.values, dt=0.01)
    with pytest.raises(InvalidData, match="x is a dataset") as error:
        pympnode.from_arrays(gravity, dt=0.01)
    assert "train(data=ds)" in (error.value.fix or "")


# ---- what is made of them ---------------------------------------------------------------------


@pytest.mark.parametrize("system", [None, "argon"])
def test_unknown_forces_are_scored_without_energies(
    gravity: xr.Dataset, system: str | None
) -> None:
    ds = pympnode.from_particles(
        gravity.position, gravity.velocity, 1.0, dt=0.01, softening=0.2, system=system
    )
    result = pympnode.train(data=ds, **TRAIN)
    assert result.model.system == (system or "particles")
    score = pympnode.evaluate(result, ds)
    assert score.predictor.values.tolist() == ["model", "free_flight"]
    for name in ("rmse_published", "rmse_position", "momentum_error", "not_finite"):
        assert np.isfinite(score[name]).all(), name
    assert not {"energy_error", "energy_error_per_particle"} & set(score.data_vars)
    assert repr(system or "particles") in score.attrs["left_out"]
    assert "constant_acceleration" in score.attrs["left_out"]
    # The numbers that are left are those of the same paths whose law is known.
    known = pympnode.evaluate(result, gravity)
    assert "left_out" not in known.attrs
    for name in ("rmse_state", "momentum_error"):
        np.testing.assert_allclose(
            score[name].sel(predictor="free_flight"), known[name].sel(predictor="free_flight"),
            rtol=1e-9, atol=1e-12,
        )  # fmt: skip


def test_a_rollout_of_unknown_forces_that_overflowed_has_no_energies(gravity: xr.Dataset) -> None:
    from pympnode.particles.metrics import particle_errors

    ds = pympnode.from_particles(gravity.position, gravity.velocity, 1.0, dt=0.01)
    lost = ds.copy(deep=True)
    lost["position"][:, -1] = np.nan
    found = particle_errors(lost, ds)
    assert int(found.not_finite) == 4 and np.isnan(found.momentum_error)
    assert "energy_error" not in found


def test_energies_of_unknown_forces_are_an_error(gravity: xr.Dataset) -> None:
    from pympnode.particles.metrics import observe

    ds = pympnode.from_particles(gravity.position, gravity.velocity, 1.0, dt=0.01)
    with pytest.raises(InvalidData, match="are not known") as error:
        observe(ds)
    assert "from_particles" in (error.value.fix or "")


# ---- times ------------------------------------------------------------------------------------


def test_times_are_numbers_and_increase(gravity: xr.Dataset) -> None:
    for wrong, words in (
        (gravity.drop_vars("time"), "no numeric time coordinate"),
        (gravity.isel(time=slice(None, None, -1)), "time must increase"),
        (gravity.assign_coords(time=np.zeros(7)), "time must increase"),
        (gravity.assign_coords(time=[*range(6), np.nan]), "time must increase"),
        (gravity.assign_coords(time=np.arange(7).astype("datetime64[s]")), "no numeric time"),
    ):
        with pytest.raises(InvalidData, match=words):
            pympnode.train(data=wrong, **TRAIN)
        with pytest.raises(InvalidData, match=words):
            validate_particles(wrong)
    start = gravity.isel(time=[0]).drop_vars("time")
    assert validate_particles(start) is start
