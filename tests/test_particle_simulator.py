"""Forces and leapfrog: conservation, symmetry, order, and what is refused."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from pympnode.errors import IntegrationFailed, InvalidData, InvalidOption, UnknownName
from pympnode.particles.graphs.box import Box
from pympnode.particles.leapfrog import integrate_leapfrog
from pympnode.particles.systems.base import ParticleState, default_side
from pympnode.particles.systems.coulomb import Coulomb
from pympnode.particles.systems.gravity import Gravity
from pympnode.particles.systems.starts import draw_start, plummer
from pympnode.systems.registry import get

CASES = [(system, dims) for system in (Gravity, Coulomb) for dims in (2, 3)]


def start_of(system, rng, count=24, box=None, mass=None):
    box = box or Box(default_side(count, system.dims))
    mass = rng.uniform(0.5, 1.5, count) if mass is None else mass
    return draw_start(system, "random", rng, count, box=box, mass=mass), box


def brute_force(system, state, box, constant=2.0, softening=0.2):
    """The force as it is written down, in plain loops."""
    out = np.zeros_like(state.position)
    for i in range(state.particles):
        for j in range(state.particles):
            if i == j:
                continue
            d = state.position[j] - state.position[i]
            if box.periodic:
                d = np.where(d > box.side / 2, d - box.side, d)
                d = np.where(d <= -box.side / 2, d + box.side, d)
            r3 = (d @ d + softening**2) ** 1.5
            if system.charged:
                strength = -constant * state.charge[i] * state.charge[j] / state.mass[i]
            else:
                strength = constant * state.mass[j]
            out[i] += strength * d / r3
    return out


@pytest.mark.parametrize("kind, dims", CASES)
@pytest.mark.parametrize("space", ["periodic", "open"])
def test_force_is_the_written_sum(kind, dims, space, rng):
    system = kind(dims)
    state, box = start_of(system, rng)
    box = box if space == "periodic" else Box()
    ours = system.acceleration(state.position, state.mass, state.charge, box=box)
    expected = brute_force(system, state, box)
    assert np.abs(ours - expected).max() < 1e-14 * np.abs(expected).max() * state.particles


@pytest.mark.parametrize("kind, dims", CASES)
def test_force_is_minus_the_gradient_of_the_potential(kind, dims, rng):
    system = kind(dims)
    state, box = start_of(system, rng, 8)
    h = 1e-5
    shifted = np.repeat(state.position[None], 2 * state.position.size, axis=0)
    for k in range(state.position.size):
        shifted[2 * k].reshape(-1)[k] += h
        shifted[2 * k + 1].reshape(-1)[k] -= h
    energy = system.potential(shifted, state.mass, state.charge, box=box)
    slope = ((energy[::2] - energy[1::2]) / (2 * h)).reshape(state.position.shape)
    force = state.mass[:, None] * system.acceleration(
        state.position, state.mass, state.charge, box=box
    )
    # central differences: h^2 f''' / 6 with f''' up to |U| / softening^3, and eps U / h
    bound = h**2 * np.abs(energy).max() / 0.2**3 + 1e-15 * np.abs(energy).max() / h
    assert np.abs(slope + force).max() < max(bound, 1e-8)


@pytest.mark.parametrize("kind, dims", CASES)
def test_newtons_third_law(kind, dims, rng):
    """Forces sum to zero: every pair's displacement is the exact negative of its mirror."""
    system = kind(dims)
    state, box = start_of(system, rng, 50)
    force = state.mass[:, None] * system.acceleration(
        state.position, state.mass, state.charge, box=box
    )
    assert np.abs(force.sum(0)).max() < 1e-14 * np.abs(force).sum()


def test_displacement_of_half_a_box_points_up():
    """The convention is (-L/2, L/2]: both see the other at +L/2, so the third law ends there."""
    system, side = Gravity(), 8.0
    position = np.array([[-2.0, 0.0], [2.0, 0.0]])
    force = system.acceleration(position, np.ones(2), box=side)
    expected = 2.0 * 4.0 / (16.0 + 0.04) ** 1.5
    assert force[:, 0] == pytest.approx([expected, expected], rel=1e-15)
    assert Box(side).displacement(np.array([4.0, -4.0])).tolist() == [4.0, 4.0]


def test_a_lattice_with_pairs_at_exactly_half_a_box_runs():
    """The published force raises here."""
    axis = np.arange(-4.0, 4.0, 2.0)
    position = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    state = ParticleState(position, np.zeros_like(position), np.ones(16))
    made = integrate_leapfrog(Gravity(), state, box=8.0, steps=3, dt=0.01)
    assert np.isfinite(made.position).all()


@pytest.mark.parametrize("integrator", ["block", "global"])
@pytest.mark.parametrize("dims", [2, 3])
def test_periodic_shift_permutation_and_quarter_turn(integrator, dims, rng):
    system = Gravity(dims)
    state, box = start_of(system, rng)
    options = dict(box=box, steps=5, dt=0.01, integrator=integrator)
    plain = integrate_leapfrog(system, state, **options)
    bound = 1e-10  # sums in another order, 5 steps: 1e-12 seen over 20 in the golden files

    shift = rng.uniform(-box.side, box.side, dims)
    moved = ParticleState(state.position + shift, state.velocity, state.mass)
    made = integrate_leapfrog(system, moved, **options)
    difference = box.displacement(made.position - box.wrap(plain.position + shift))
    assert np.abs(difference).max() < bound

    order = rng.permutation(state.particles)
    shuffled = ParticleState(state.position[order], state.velocity[order], state.mass[order])
    assert (
        np.abs(
            integrate_leapfrog(system, shuffled, **options).position - plain.position[:, order]
        ).max()
        < bound
    )

    def turned(x):
        return np.concatenate([-x[..., 1:2], x[..., :1], x[..., 2:]], axis=-1)

    quarter = ParticleState(turned(state.position), turned(state.velocity), state.mass)
    made = integrate_leapfrog(system, quarter, **options)
    assert np.abs(box.displacement(made.position - turned(plain.position))).max() < bound


@pytest.mark.parametrize("kind, dims", CASES)
def test_global_step_is_reversible_and_conserves_momentum(kind, dims, rng):
    system = kind(dims)
    state, box = start_of(system, rng)
    options = dict(box=box, steps=50, dt=0.002, integrator="global")
    there = integrate_leapfrog(system, state, **options)
    momentum = np.einsum("n,tna->ta", state.mass, there.velocity)
    total = np.abs(state.mass[:, None] * state.velocity).sum()
    assert np.abs(momentum - momentum[0]).max() < 1e-13 * total
    last = ParticleState(there.position[-1], -there.velocity[-1], state.mass, state.charge)
    back = integrate_leapfrog(system, last, **options)
    # rounding 1e-16 grows with the 100 steps and the close encounters
    assert np.abs(box.displacement(back.position[-1] - state.position)).max() < 1e-9
    assert np.abs(back.velocity[-1] + state.velocity).max() < 1e-9


def energy_of(system, state, made, box):
    kinetic = 0.5 * np.einsum("n,tna,tna->t", state.mass, made.velocity, made.velocity)
    return kinetic + system.potential(made.position, state.mass, state.charge, box=box)


def test_global_step_is_of_second_order_and_symplectic():
    """A bound pair in open space: energy error falls as dt^2 and does not drift."""
    system, box = Gravity(), Box()
    state = ParticleState(
        np.array([[-0.5, 0.0], [0.5, 0.0]]), np.array([[0.0, -0.6], [0.0, 0.6]]), np.ones(2)
    )

    def worst(dt):
        made = integrate_leapfrog(
            system, state, box=box, steps=round(20 / dt), dt=dt, integrator="global"
        )
        energy = energy_of(system, state, made, box)
        half = len(energy) // 2
        error = np.abs(energy - energy[0])
        return error[:half].max(), error[half:].max()

    (coarse, coarse_late), (fine, _) = worst(0.02), worst(0.01)
    assert 1.8 < np.log2(coarse / fine) < 2.2
    assert coarse_late < 1.5 * coarse  # ten orbits on, the same oscillation


def test_substeps_are_smaller_steps(rng):
    system = Gravity()
    state, box = start_of(system, rng)
    once = integrate_leapfrog(system, state, box=box, steps=6, dt=0.01, integrator="global")
    twice = integrate_leapfrog(
        system, state, box=box, steps=3, dt=0.02, integrator="global", substeps=2
    )
    assert np.array_equal(once.position[::2], twice.position)


def test_block_steps_follow_close_encounters(rng):
    """At the same number of force evaluations the block scheme keeps the energy of an eccentric
    pair beside quiet particles better than equal steps, and its drift is bounded."""
    system = Gravity()
    state, box = start_of(system, rng, 20)
    block = integrate_leapfrog(system, state, box=box, steps=50, dt=0.01)
    energy = energy_of(system, state, block, box)
    assert np.abs(energy - energy[0]).max() < 2e-3 * np.abs(energy[0])
    assert block.deepest >= 3 and block.capped == 0


def test_depth_is_capped_and_said(rng, caplog):
    """Two heavy particles in one point: no force, then a violent one; the step has a floor."""
    position = np.array([[0.0, 0.0], [0.0, 0.0], [1e-9, 0.0]])
    state = ParticleState(position, np.zeros((3, 2)), np.full(3, 1e12))
    with caplog.at_level(logging.WARNING, logger="pympnode.data"):
        made = integrate_leapfrog(Gravity(), state, box=None, steps=1, dt=0.01, max_depth=6)
    assert made.deepest == 6 and made.capped > 0
    assert np.isfinite(made.position).all()
    assert "dt / 2^6" in caplog.text


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("kind", [Gravity, Coulomb])
def test_few_particles_fly(kind, count, rng):
    system = kind()
    state, box = start_of(system, rng, count, Box(6.0))
    made = integrate_leapfrog(system, state, box=box, steps=4, dt=0.01)
    assert made.position.shape == (5, count, 2)
    if count == 1:
        expected = box.wrap(state.position + 0.04 * state.velocity)
        assert np.abs(made.position[-1] - expected).max() < 1e-14


def test_massless_particles_feel_and_do_not_act(rng):
    system = Gravity()
    state, box = start_of(system, rng, 12)
    mass = state.mass.copy()
    mass[6:] = 0.0
    with_tracers = ParticleState(state.position, state.velocity, mass)
    alone = ParticleState(state.position[:6], state.velocity[:6], mass[:6])
    options = dict(box=box, steps=5, dt=0.01, integrator="global")
    both, only = (
        integrate_leapfrog(system, with_tracers, **options),
        integrate_leapfrog(system, alone, **options),
    )
    # zero weights add exact zeros; only the grouping of the sums differs
    assert np.abs(both.position[:, :6] - only.position).max() < 1e-13
    assert not np.allclose(both.velocity[-1, 6:], state.velocity[6:])


def test_positions_outside_the_box_are_wrapped(rng):
    system = Gravity()
    state, box = start_of(system, rng)
    outside = ParticleState(
        state.position + box.side * rng.integers(-3, 4, state.position.shape),
        state.velocity,
        state.mass,
    )
    made = integrate_leapfrog(system, outside, box=box, steps=2, dt=0.01)
    assert (made.position >= -box.side / 2).all() and (made.position < box.side / 2).all()
    plain = integrate_leapfrog(system, state, box=box, steps=2, dt=0.01)
    assert np.abs(box.displacement(made.position - plain.position)).max() < 1e-10


def test_a_particle_that_crosses_many_boxes_in_a_step_stays_inside():
    state = ParticleState(np.array([[0.1, 0.0]]), np.array([[1e4, -3e3]]), np.ones(1))
    made = integrate_leapfrog(Gravity(), state, box=7.0, steps=3, dt=0.01)
    assert np.abs(made.position).max() <= 3.5


@pytest.mark.parametrize(
    "system, change, fragment",
    [
        (Gravity(), {"mass": np.array([1.0, -1.0, 1.0])}, "mass of particle 1"),
        (Coulomb(), {"mass": np.array([1.0, 0.0, 1.0])}, "mass of particle 1"),
        (Coulomb(), {"charge": None}, "needs charges"),
        (Gravity(), {"charge": np.ones(3)}, "has no charges"),
        (Gravity(), {"position": np.full((3, 2), np.nan)}, "position of particle 0"),
        (
            Gravity(),
            {"velocity": np.array([[0, 0], [0, np.inf], [0, 0.0]])},
            "velocity of particle 1",
        ),
        (Gravity(), {"position": np.zeros((3, 3))}, "(particle, axis)"),
        (Gravity(), {"velocity": np.zeros((2, 2))}, "velocity does not fit"),
    ],
)
def test_bad_states_are_refused(system, change, fragment):
    values = dict(position=np.zeros((3, 2)), velocity=np.zeros((3, 2)), mass=np.ones(3))
    values["charge"] = np.ones(3) if system.charged else None
    with pytest.raises(InvalidData) as error:
        integrate_leapfrog(system, ParticleState(**(values | change)), box=6.0, steps=1, dt=0.01)
    assert fragment in str(error.value) and "allowed" in str(error.value)


def test_bad_options_are_refused(rng):
    state, box = start_of(Gravity(), rng, 4)
    for change in ({"softening": 0.0}, {"accuracy": -1}, {"steps": -1}, {"dt": np.nan}):
        with pytest.raises(InvalidOption):
            integrate_leapfrog(Gravity(), state, **(dict(box=box, steps=1, dt=0.01) | change))
    with pytest.raises(UnknownName, match="block"):
        integrate_leapfrog(Gravity(), state, box=box, steps=1, dt=0.01, integrator="blocks")
    for side in (0.0, -1.0, np.nan, "wide"):
        with pytest.raises(InvalidOption):
            integrate_leapfrog(Gravity(), state, box=side, steps=1, dt=0.01)
    with pytest.raises(InvalidOption, match="two or three"):
        Gravity(4)


def test_a_state_that_blows_up_is_located():
    state = ParticleState(np.zeros((2, 2)), np.array([[1.0, 0], [1e308, 0]]), np.ones(2))
    with pytest.raises(IntegrationFailed, match="not finite after step 1"):
        integrate_leapfrog(Gravity(), state, box=None, steps=2, dt=1e3)


def test_plummer_is_in_equilibrium(rng):
    """E = -1/4, virial ratio 1/2: sampling error of 20,000 equal masses is below 2 %."""
    system = Gravity(3)
    state = plummer(system, rng, 20_000, box=Box(), constant=1.0)
    kinetic = 0.5 * (state.mass[:, None] * state.velocity**2).sum()
    few = slice(0, 4000)
    potential = system.potential(
        state.position[few], np.full(4000, 1 / 4000), box=None, constant=1.0, softening=1e-3
    )
    assert state.mass.sum() == pytest.approx(1.0)
    assert kinetic == pytest.approx(0.25, rel=0.03)
    assert potential == pytest.approx(-0.5, rel=0.06)
    half_mass = np.median(np.linalg.norm(state.position, axis=1))
    assert half_mass == pytest.approx(1.305 * 3 * np.pi / 16, rel=0.04)
    with pytest.raises(InvalidOption, match="equilibrium"):
        plummer(Coulomb(3), rng, 10, box=Box(), constant=1.0)


def test_registry_and_field(rng):
    """`get` gives the systems, and the seam `field` is velocity and acceleration."""
    from pympnode.graph import Graph

    system = get("gravity")
    assert system.body == "particle" and get("coulomb").charged
    graph = Graph.single([], [], 10)
    parameters = system.resolve_parameters({"constant": 1.0}, graph)
    assert parameters["side"] == pytest.approx(np.sqrt(120.0))
    assert system.resolve_parameters({"side": None}, graph)["side"] == np.inf
    x = rng.normal(size=(3, 10, 4))
    out = system.field(0.0, x, None, graph, parameters)
    assert np.array_equal(out[..., :2], x[..., 2:])
    expected = system.acceleration(
        x[..., :2], np.ones(10), box=parameters["side"], constant=1.0, softening=0.2
    )
    assert np.array_equal(out[..., 2:], expected)
    free = system.uncoupled_field(0.0, x, None, graph, parameters)
    assert np.array_equal(free[..., 2:], np.zeros_like(free[..., 2:]))
