"""Masses that are learned: the gradient of both kernels, a small system, refusals, files, rollouts."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import pympnode
from pympnode.errors import InvalidData, InvalidModel, InvalidOption, UnknownName
from pympnode.particles.engine.program import ParticleProgram, Target
from pympnode.particles.graphs.box import Box
from pympnode.particles.spec import ParticleScales, ParticleSpec
from pympnode.particles.systems.base import ParticleState
from pympnode.particles.weights import MASS_GAIN, particle_layout_of

RADIAL = {
    "inputs": "scaled", "update": "leapfrog", "messages": "radial", "mass_coupling": "product",
}  # fmt: skip
SCALES = ParticleScales(length=2.0, near=0.3, mass=1.2, charge=0.8, velocity=0.6, change=0.05)
MASSES = np.array([1.0, 0.02, 0.1, 0.05])
NAMES = ["star", "first", "second", "third"]


@pytest.mark.parametrize(("dims", "kicks"), [(2, 1), (3, 3)])
def test_gradients_to_masses_are_those_of_finite_differences(rng, dims, kicks) -> None:
    spec = ParticleSpec.named("deltagn", **RADIAL, dims=dims, edge_width=7, kicks=kicks,
                              learned_masses=5, fixed_mass=2)  # fmt: skip
    layout = particle_layout_of(spec)
    theta = 2 * layout.initial(rng)
    theta[layout.offsets["log_mass"] :] = rng.uniform(-0.2, 0.1, 5)
    x, v = rng.uniform(-4, 4, (2, 5, dims)), rng.normal(size=(2, 5, dims))
    found = {}
    for kernel in ("eager", "numba"):
        program = ParticleProgram(spec, SCALES, 0.01, dtype="float64", kernel=kernel, device="cpu")
        batch = program.batch(x, v, np.ones((2, 5)), None, Box(8.0))
        target = Target(batch.position, 1.01 * batch.velocity)
        _, found[kernel] = program.loss_and_gradient(theta, batch, target)
    np.testing.assert_allclose(found["numba"], found["eager"], rtol=0, atol=1e-9)
    for number in range(5):
        place = layout.offsets["log_mass"] + number
        step = np.zeros_like(theta)
        step[place] = 1e-5
        up, down = (program.loss(one, batch, target) for one in (theta + step, theta - step))
        expected = 0.0 if number == 2 else (up - down) / 2e-5
        assert found["numba"][place] == pytest.approx(expected, rel=1e-4, abs=1e-7)


def planets(mass, trajectories=12, steps=20):
    """A star with three planets, forces of gravity; ``mass`` is what the dataset says."""
    rng = np.random.default_rng(4)
    angle = rng.uniform(0, 2 * np.pi, (trajectories, 3))
    r = np.array([1.0, 1.6, 2.4])
    x = np.zeros((trajectories, 4, 2))
    v = np.zeros_like(x)
    x[:, 1:] = r[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    speed = r**-0.5
    v[:, 1:] = speed[:, None] * np.stack([-np.sin(angle), np.cos(angle)], -1)
    made = pympnode.simulate(
        "gravity", particles=4, trajectories=trajectories, steps=steps, dt=0.05,
        parameters={"constant": 1.0, "softening": 0.05, "side": None},
        start=[ParticleState(a, b, MASSES) for a, b in zip(x, v)], split=None,
    )  # fmt: skip
    position = made.position.assign_coords(particle=NAMES)
    return pympnode.from_particles(position, made.velocity.values, mass, dt=0.05, softening=0.05)


@pytest.fixture(scope="module")
def learned() -> pympnode.Result:
    return pympnode.train(data=planets(1.0), mass="learned", updates=400, edge_width=16, kicks=2,
                          progress=False)  # fmt: skip


def test_masses_are_found_from_orbits(learned) -> None:
    model = learned.model
    assert model.spec.fixed_mass == 0 and model.learned_mass[0] == pytest.approx(1.0)
    np.testing.assert_allclose(model.learned_mass, MASSES, rtol=0.05)
    assert "learned masses" in model.summary()
    assert not model.spec.transfers


def test_rollouts_and_files_have_the_masses_of_the_model(learned, tmp_path) -> None:
    ds = planets([1.0, 2.0, 3.0, 4.0], trajectories=2)
    learned.model.save(tmp_path / "model.nc")
    again = pympnode.load(tmp_path / "model.nc")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # masses of the data are not used, so none is outside
        found = [model.rollout(ds) for model in (learned.model, again)]
    np.testing.assert_array_equal(found[0].position, found[1].position)
    np.testing.assert_array_equal(found[0].mass[0], learned.model.learned_mass)
    truth = pympnode.train(data=planets(MASSES), start=learned, mass="given", updates=1,
                           learning_rate=1e-9, progress=False)  # fmt: skip
    assert truth.model.learned_mass is None
    assert "log_mass" not in truth.model.weights


def test_the_law_can_be_read(learned) -> None:
    r = np.array([[1.0], [1.6], [2.4]])  # distances from the star
    found = learned.model.acceleration_at(r, mass=2.0)
    np.testing.assert_allclose(found, 2 / r**2, rtol=0.02)
    wrong = pympnode.train(data=planets(1.0), model="hogn", updates=1, progress=False).model
    with pytest.raises(InvalidModel, match="no function of their distance"):
        wrong.acceleration_at(1.0)


def test_other_particles_are_refused(learned) -> None:
    ds = planets(1.0, trajectories=2).isel(particle=slice(0, 3))
    with pytest.raises(InvalidData, match="masses of other particles"):
        learned.model.rollout(ds, check=False)


def test_the_fixed_particle_is_named() -> None:
    ds = planets(1.0)
    for given, number in (("second", 2), (None, 0)):
        named = {} if given is None else {"fixed_mass": given}
        result = pympnode.train(data=ds, mass="learned", updates=1, progress=False, **named)
        assert result.model.spec.fixed_mass == number
    by_number = ds.drop_vars("particle")
    result = pympnode.train(
        data=by_number, mass="learned", fixed_mass="1", updates=1, progress=False
    )
    assert result.model.spec.fixed_mass == 1
    with pytest.raises(InvalidOption, match="star, first, second, third"):
        pympnode.train(data=ds, mass="learned", fixed_mass="fourth", progress=False)


@pytest.mark.parametrize(
    "options",
    [
        {"fixed_mass": "star"},
        {"mass": "guessed"},
        {"mass": "learned", "fixed_mass": 1.5},
        {"mass": "learned", "fixed_mass": np.zeros(2)},
        {"mass": "learned", "mass_coupling": "reduced"},
        {"mass": "learned", "model": "hogn"},
        {"mass": "learned", "model": "nearest_deltagn", "messages": "radial"},
        {"mass": "learned", "messages": "antisymmetric"},
    ],
)
def test_what_does_not_go_together_is_refused(options) -> None:
    with pytest.raises((InvalidOption, UnknownName)):
        pympnode.train(data=planets(1.0), updates=1, progress=False, **options)


def test_masses_that_differ_between_trajectories_are_refused() -> None:
    ds = planets(1.0)
    mass = ds.mass.values.copy()
    mass[0, 0] = 2.0
    with pytest.raises(InvalidData, match="one mass in all trajectories"):
        pympnode.train(data=ds.assign(mass=(ds.mass.dims, mass)), mass="learned",
                       fixed_mass="star", progress=False)  # fmt: skip


def test_members_have_masses_of_their_own() -> None:
    result = pympnode.train(data=planets(1.0), mass="learned", members=2, updates=2, progress=False)
    assert result.model.learned_mass.shape == (2, 4)
    rollout = result.model.rollout(planets(1.0, trajectories=1))
    assert dict(rollout.sizes)["member"] == 2
    assert MASS_GAIN > 1


def test_a_specification_may_ask_for_learned_masses() -> None:
    spec = ParticleSpec.named("deltagn", **RADIAL, edge_width=8, learned_masses=4, fixed_mass=2)
    result = pympnode.train(data=planets(1.0), model=spec, updates=1, progress=False)
    assert result.model.spec.fixed_mass == 2 and result.model.spec.learned_masses == 4
    np.testing.assert_allclose(result.model.learned_mass, 1.0, rtol=0.5)
    given = pympnode.train(data=planets(1.0), model=spec, mass="given", updates=1, progress=False)
    assert given.model.learned_mass is None


def test_learned_masses_belong_to_the_bodies_by_their_labels(learned, tmp_path) -> None:
    """In another order each body had the mass of another one, and nothing was said."""
    ds = planets(1.0, trajectories=2)
    other = ds.isel(particle=[2, 0, 1, 3])
    learned.model.save(tmp_path / "model.nc")
    for model in (learned.model, pympnode.load(tmp_path / "model.nc")):
        assert model.bodies == tuple(NAMES)
        with pytest.raises(InvalidData, match="in another order") as error:
            model.rollout(other, check=False)
        assert error.value.fix == f"ds.sel(particle={NAMES!r})"
        back = model.rollout(other.sel(particle=NAMES), check=False)
        np.testing.assert_array_equal(back.position, model.rollout(ds, check=False).position)
        with pytest.raises(InvalidData, match="other particles"):
            model.rollout(ds.assign_coords(particle=["star", "first", "second", "moon"]))
        with pytest.raises(InvalidData, match="other particles"):
            pympnode.evaluate(model, ds.isel(particle=[0, 1, 2]), horizons=3)
        model.rollout(ds.drop_vars("particle"), check=False)  # no labels: their order
    with pytest.raises(InvalidData, match="in another order"):
        pympnode.finetune(learned, data=other, updates=1, progress=False)
    again = pympnode.finetune(learned, data=ds, updates=1, progress=False)
    assert again.model.bodies == tuple(NAMES)


def test_a_dataset_without_velocities_is_refused_in_words() -> None:
    with pytest.raises(InvalidData, match="a particle dataset needs 'velocity'"):
        pympnode.train(data=planets(1.0, trajectories=3).drop_vars("velocity"), updates=1)
