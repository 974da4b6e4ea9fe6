"""Energies, momentum and errors on cases that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

import pympnode
from pympnode.datasets.record import record, with_record
from pympnode.errors import InvalidData, PympnodeWarning
from pympnode.particles.constants import CONSTANT, SOFTENING
from pympnode.particles.metrics import observe, particle_errors
from pympnode.particles.schema import unpack_particles
from pympnode.particles.simulate import simulate_particles


def two_bodies(system, **options):
    position = np.array([[[[-2.5, 0.0], [2.5, 0.0]]] * 3])
    velocity = np.array([[[[1.0, 0.0], [0.0, -2.0]]] * 3])
    about = {"system": system, "parameters": {"side": 8.0, "constant": 3.0, "softening": 0.5}}
    return unpack_particles(
        position, velocity, np.array([[1.0, 2.0]]), np.arange(3.0), about=about, **options
    )


def test_two_bodies_by_hand():
    """Nearest image: 3 apart, not 5; softened with 0.5."""
    seen = observe(two_bodies("gravity"))
    assert seen["kinetic"].values[0] == pytest.approx([0.5 + 4.0] * 3)
    assert seen["potential"].values[0] == pytest.approx([-3 * 1 * 2 / np.sqrt(9.25)] * 3)
    assert np.allclose(seen["energy"], seen["kinetic"] + seen["potential"])
    assert seen["momentum"].values[0, 0] == pytest.approx([1.0, -4.0])
    charged = observe(two_bodies("coulomb", charge=np.array([[1.0, -0.5]])))
    assert charged["potential"].values[0, 0] == pytest.approx(3 * -0.5 / np.sqrt(9.25))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("side", [None, 9.0])
@pytest.mark.parametrize("softening", [0.2, 0.0])
def test_the_potential_is_the_written_sum_over_pairs(dims, side, softening, rng):
    count = 50
    x = rng.uniform(-4.5, 4.5, (1, 1, count, dims))
    q = rng.uniform(-1, 1, (1, count))
    parameters = {"side": side, "constant": 2.0, "softening": softening}
    ds = unpack_particles(
        x, np.zeros_like(x), np.ones((1, count)), [0.0], charge=q,
        about={"system": "coulomb", "parameters": parameters},
    )  # fmt: skip
    i, j = np.triu_indices(count, 1)
    d = x[0, 0, i] - x[0, 0, j]
    if side is not None:
        d -= side * np.round(d / side)
    pairs = 2.0 * q[0, i] * q[0, j] / np.sqrt((d**2).sum(1) + softening**2)
    tolerance = 1e-15 * count * np.abs(pairs).sum()
    assert float(observe(ds)["potential"][0, 0]) == pytest.approx(pairs.sum(), abs=tolerance)


def test_errors_by_hand():
    truth = two_bodies("gravity")
    prediction = truth.copy(deep=True)
    prediction["position"][0, 1:, 0, 0] += 0.3
    prediction["position"][0, 2, 0, 1] += 8.0  # a whole box is no error
    prediction["velocity"][0, 2, 1, 1] += 0.1
    errors = particle_errors(prediction, truth)
    assert float(errors["rmse_position"]) == pytest.approx(np.sqrt(2 * 0.09 / 8))
    assert float(errors["rmse_velocity"]) == pytest.approx(np.sqrt(0.01 / 8))
    assert float(errors["rmse_state"]) == pytest.approx(np.sqrt((2 * 0.09 + 0.01) / 16))
    assert errors["rmse_position_at"].values == pytest.approx([np.sqrt(0.09 / 4)] * 2)
    h0 = 4.5 - 6 / np.sqrt(9.25)
    seen = observe(prediction)["energy"].values[0]
    assert seen[0] == pytest.approx(h0)
    assert float(errors["energy_error"]) == pytest.approx(abs((seen[2] - h0) / h0))
    assert float(errors["energy_error_per_particle"]) == pytest.approx(abs(seen[2] - h0) / 2)
    assert float(errors["momentum_error"]) == pytest.approx(2 * 0.1 / 2)
    assert int(errors["not_finite"]) == 0


def test_published_rmse_wraps_velocities_and_counts_the_charge_column():
    truth = two_bodies("coulomb", charge=np.ones((1, 2)))
    prediction = truth.copy(deep=True)
    prediction["velocity"][0, 1:] += 8.0  # a whole box: no error in the published number
    errors = particle_errors(prediction, truth)
    assert float(errors["rmse_published"]) == 0.0
    assert float(errors["rmse_velocity"]) == pytest.approx(8.0)
    prediction = truth.copy(deep=True)
    prediction["position"][0, 1:] += 0.2
    errors = particle_errors(prediction, truth)
    assert float(errors["rmse_published"] / errors["rmse_state"]) == pytest.approx(np.sqrt(4 / 5))


def test_energy_per_particle_does_not_blow_up():
    """H_0 = 0: the published relative error is infinite, the absolute one is not."""
    about = {"system": "coulomb", "parameters": {"side": None, "constant": 1.0, "softening": 0.2}}
    position = np.zeros((1, 2, 2, 2))
    position[:, :, 1, 0] = [[1.0, 2.0]]
    speed = np.sqrt(1 / np.sqrt(1.04))
    velocity = np.zeros((1, 2, 2, 2))
    velocity[:, :, :, 0] = speed
    ds = unpack_particles(
        position, velocity, np.ones((1, 2)), [0.0, 1.0], charge=np.array([[1.0, -1.0]]), about=about
    )
    errors = particle_errors(ds, ds)
    assert float(errors["energy_error"]) > 1e12
    expected = (1 / np.sqrt(1.04) - 1 / np.sqrt(4.04)) / 2
    assert float(errors["energy_error_per_particle"]) == pytest.approx(expected)


def test_rollouts_that_are_not_finite_are_counted_and_left_out():
    truth = simulate_particles("gravity", particles=6, trajectories=3, steps=4)
    prediction = truth.copy(deep=True)
    prediction["position"][1, 2:] = np.nan
    errors = particle_errors(prediction, truth)
    assert int(errors["not_finite"]) == 1 and float(errors["rmse_state"]) == 0.0
    prediction["velocity"][:, 4] = np.inf
    errors = particle_errors(prediction, truth)
    assert int(errors["not_finite"]) == 3 and np.isnan(float(errors["rmse_state"]))


def test_datasets_that_do_not_match_are_refused():
    truth = simulate_particles("gravity", particles=6, trajectories=3, steps=4)
    with pytest.raises(InvalidData, match="differ in time"):
        particle_errors(truth.isel(time=slice(3)), truth)
    with pytest.raises(InvalidData, match="need a step"):
        particle_errors(truth.isel(time=[0]), truth.isel(time=[0]))


# ---- data that lost their record ----------------------------------------------------------------


@pytest.fixture(scope="module")
def strong():
    """Gravity of constant 5 in a periodic box."""
    return simulate_particles(
        "gravity", particles=10, trajectories=4, steps=3, seed=1, parameters={"constant": 5.0}
    )


def assumed(names="system 'gravity', constant 2, softening 0.2, open space"):
    return pytest.warns(PympnodeWarning, match=f"assumed: {names}")


def test_energies_without_a_record_warn_with_the_assumed_numbers(strong):
    with assumed():
        lost = observe(strong.drop_attrs())
    parameters = {"constant": CONSTANT, "softening": SOFTENING, "side": None}
    published = with_record(strong.drop_attrs(), system="gravity", parameters=parameters)
    assert lost.identical(observe(published))
    assert not np.allclose(lost["potential"], observe(strong)["potential"], rtol=0.1)


@pytest.mark.parametrize("name", ["constant", "softening", "side"])
def test_one_number_that_the_record_lacks_is_named_alone(strong, name):
    parameters = {k: v for k, v in record(strong)["parameters"].items() if k != name}
    text = {"constant": "constant 2", "softening": "softening 0.2", "side": "open space"}[name]
    with assumed(rf"{text}( \(no side\))?\. "):
        observe(with_record(strong, parameters=parameters))


def test_training_evaluation_and_pictures_without_a_record_warn(strong):
    lost = strong.drop_attrs()
    options = {"model": "deltagn", "edge_width": 4, "node_width": 4, "updates": 1}
    with assumed():
        model = pympnode.train(data=lost, progress=False, device="cpu", **options).model
    with assumed() as found:
        score = pympnode.evaluate(model, lost)
    assert len(found) == 1  # the errors of all predictors use the numbers that it names
    assert "energy_error" in score and "constant_acceleration" in score["predictor"]
    with assumed():
        pympnode.plotting.conservation(lost)
    with assumed():
        pympnode.plotting.conservation({"true": lost})


def test_forces_that_are_not_known_need_no_constants(strong):
    """Warnings of the package are errors in these tests."""
    other = with_record(strong.drop_attrs(), system="particles")
    options = {"model": "deltagn", "edge_width": 4, "node_width": 4, "updates": 1}
    model = pympnode.train(data=other, progress=False, device="cpu", **options).model
    assert "energy_error" not in pympnode.evaluate(model, other)
