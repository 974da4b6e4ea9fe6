"""Radial messages: symmetries, momentum, one function for pairs and cells, kernels, training, files."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
import torch

import pympnode
from pympnode.errors import EngineUnavailable, InvalidOption
from pympnode.particles.engine import radial
from pympnode.particles.engine.program import ParticleProgram, Target
from pympnode.particles.engine.radial import far_counts, far_edges, snapped_reach
from pympnode.particles.graphs.box import Box
from pympnode.particles.memory import Counts
from pympnode.particles.model import ParticleModel
from pympnode.particles.spec import ParticleScales, ParticleSpec
from pympnode.particles.weights import particle_layout_of

RADIAL = {"inputs": "scaled", "update": "leapfrog", "messages": "radial"}
SCALES = ParticleScales(length=2.0, near=0.3, mass=1.2, charge=0.8, velocity=0.6, change=0.05)
COUPLINGS = [("input", False), ("input", True), ("product", False), ("product", True)]
COUPLINGS += [("reduced", False), ("reduced", True)]


def program_of(name="deltagn", *, dims=2, seed=0, kernel="auto", **options):
    spec = ParticleSpec.named(name, **RADIAL, dims=dims, edge_width=11, **options)
    theta = particle_layout_of(spec).initial(np.random.default_rng(seed))
    return ParticleProgram(spec, SCALES, 0.01, dtype="float64", device="cpu", kernel=kernel), theta


def states(rng, dims=2, count=30, charged=False):
    x = rng.uniform(-4, 4, (2, count, dims))
    v = rng.uniform(-1, 1, (2, count, dims))
    mass = rng.uniform(0.3, 3.0, (2, count))
    return x, v, mass, rng.uniform(-1, 1, (2, count)) if charged else None


def change_of(program, theta, x, v, mass, charge, box):
    """Velocity change (set, particle, axis) over one step."""
    batch = program.batch(x, v, mass, charge, box)
    graph = program.graph(batch)
    change = program.velocity_change(program.weights(theta), batch, graph, training=False)
    return change.numpy().reshape(x.shape)


def orthogonal(rng, dims, reflected):
    """A random rotation, or one with a reflection."""
    q, _ = np.linalg.qr(rng.standard_normal((dims, dims)))
    if (np.linalg.det(q) < 0) != reflected:
        q[:, 0] = -q[:, 0]
    return q


@pytest.mark.parametrize("reflected", [False, True])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("coupling", "charged"), COUPLINGS)
@pytest.mark.parametrize("name", ["deltagn", "nearest_deltagn"])
def test_rotations_and_reflections_turn_the_forces(
    rng, name, coupling, charged, dims, reflected
) -> None:
    program, theta = program_of(name, dims=dims, mass_coupling=coupling, charged=charged)
    x, v, mass, charge = states(rng, dims, charged=charged)
    q = orthogonal(rng, dims, reflected)
    before = change_of(program, theta, x, v, mass, charge, Box())
    after = change_of(program, theta, x @ q.T, v @ q.T, mass, charge, Box())
    assert np.abs(before).max() > 1e-4
    np.testing.assert_allclose(after, before @ q.T, rtol=0, atol=1e-10)


@pytest.mark.parametrize("reflected", [False, True])
def test_symmetries_of_the_cells_turn_the_forces_through_cells(rng, reflected) -> None:
    """Cells are those of a square: other turns change which pairs are far, not the forces of pairs."""
    program, theta = program_of("hierarchical_deltagn", levels=4, conserve_momentum=True)
    x, v, mass, _ = states(rng, count=80)
    q = np.array([[0.0, -1.0], [1.0, 0.0]]) @ np.diag([-1.0 if reflected else 1.0, 1.0])
    before = change_of(program, theta, x, v, mass, None, Box(8.0))
    after = change_of(program, theta, x @ q.T, v @ q.T, mass, None, Box(8.0))
    np.testing.assert_allclose(after, before @ q.T, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("coupling", "charged"), COUPLINGS)
@pytest.mark.parametrize(
    ("name", "conserve"),
    [("deltagn", False), ("nearest_deltagn", True), ("hierarchical_deltagn", True)],
)
def test_momentum_is_conserved(rng, name, conserve, coupling, charged) -> None:
    """By pairs alone with all pairs; elsewhere by taking out the mean."""
    options = {"mass_coupling": coupling, "charged": charged, "conserve_momentum": conserve}
    program, theta = program_of(name, **options)
    x, v, mass, charge = states(rng, charged=charged)
    change = change_of(program, theta, x, v, mass, charge, Box(8.0))
    assert np.abs(change).max() > 1e-4
    # Up to 30 x 29 momenta of order 1 are rounded once each and cancel.
    np.testing.assert_allclose((mass[..., None] * change).sum(1), 0, atol=1e-12)


def test_angular_momentum_of_pairs_is_conserved_in_open_space(rng) -> None:
    program, theta = program_of()
    x, v, mass, _ = states(rng)
    batch = program.batch(x, v, mass, None, Box())
    middle = program.network_inputs(batch).position.numpy().reshape(x.shape)
    dp = mass[..., None] * change_of(program, theta, x, v, mass, None, Box())
    torque = middle[..., 0] * dp[..., 1] - middle[..., 1] * dp[..., 0]
    np.testing.assert_allclose(torque.sum(1), 0, atol=1e-12)


@pytest.mark.parametrize(("coupling", "charged"), COUPLINGS)
def test_cells_of_one_particle_are_the_pairs(rng, coupling, charged) -> None:
    """With at most one particle in a finest cell and no coarser edges, cells change nothing."""
    options = {"mass_coupling": coupling, "charged": charged}
    pairs, theta = program_of(**options)
    cells, _ = program_of("hierarchical_deltagn", levels=2, **options)
    assert particle_layout_of(pairs.spec) == particle_layout_of(cells.spec)
    x, v, mass, charge = states(rng, count=16, charged=charged)
    grid = np.stack(np.meshgrid(*[np.arange(4) * 2.0 - 3.0] * 2), -1).reshape(-1, 2)
    x, v = grid + 0.1 * x, 0.1 * v
    same = [change_of(p, theta, x, v, mass, charge, Box(8.0)) for p in (pairs, cells)]
    np.testing.assert_allclose(*same, rtol=0, atol=1e-13)


def test_forces_through_cells_come_near_those_of_pairs(rng) -> None:
    """Cells of 2.5 particles on three levels: only the place that far forces come from differs."""
    pairs, theta = program_of(mass_coupling="product")
    cells, _ = program_of("hierarchical_deltagn", levels=4, mass_coupling="product")
    x, v, mass, _ = states(rng, count=640)
    exact, found = (change_of(p, theta, x, v, mass, None, Box()) for p in (pairs, cells))
    missed = np.sqrt(((found - exact) ** 2).mean() / (exact**2).mean())
    assert 1e-6 < missed < 0.003  # from centres of mass alone 0.007


@pytest.mark.parametrize("dims", [2, 3])
def test_points_of_a_cell_have_its_mean_and_covariance(rng, dims) -> None:
    mean, root = rng.normal(size=(7, dims)), rng.normal(size=(7, dims, dims))
    root[0] = 0.0  # one particle
    covariance = root @ root.transpose(0, 2, 1)
    points = radial.moment_points(torch.tensor(mean), torch.tensor(covariance)).numpy()
    np.testing.assert_allclose(points.mean(0), mean, atol=1e-12)
    away = points - mean
    found = (away[..., :, None] * away[..., None, :]).mean(0)
    np.testing.assert_allclose(found, covariance, atol=1e-12)


def test_charges_of_both_signs_act_from_points_of_their_own(rng) -> None:
    """Cells that are neutral in total have a field; from centres of mass it would be zero."""
    options = {"mass_coupling": "product", "charged": True}
    pairs, theta = program_of(**options)
    cells, _ = program_of("hierarchical_deltagn", levels=4, **options)
    x, v, mass, _ = states(rng, count=640)
    charge = rng.choice([-1.0, 1.0], (2, 640))
    exact, found = (change_of(p, theta, x, v, mass, charge, Box()) for p in (pairs, cells))
    missed = np.sqrt(((found - exact) ** 2).mean() / (exact**2).mean())
    assert 1e-6 < missed < 0.01


def test_edges_from_cells_are_counted_for_the_memory(rng) -> None:
    program, _ = program_of("hierarchical_deltagn", levels=4)
    x, v, mass, _ = states(rng, count=200)
    tree = program.graph(program.batch(x, v, mass, None, Box(8.0)))
    counts, home, far = Counts.of(tree, radial=True), tree.cell, []
    for level, number in zip(tree.levels, far_counts(tree), strict=True):
        cell, particle = far_edges(home, level.sender, level.receiver, level.size)
        assert len(cell) == len(particle) == number
        # Every particle has the cells that its cell has, each once.
        pairs = set(zip(level.sender.tolist(), level.receiver.tolist()))
        expected = {(s, k) for k, c in enumerate(home.tolist()) for s, r in pairs if r == c}
        assert set(zip(cell.tolist(), particle.tolist())) == expected and number == len(expected)
        far.append(number)
        home = home if level.parent is None else level.parent[home]
    assert counts.edges == len(tree.sender) + 4 * sum(far)  # from two points for each axis


def test_chunks_of_edges_give_the_same_forces(rng, monkeypatch) -> None:
    program, theta = program_of(kernel="eager")
    x, v, mass, _ = states(rng)
    with torch.no_grad():
        whole = change_of(program, theta, x, v, mass, None, Box(8.0))
        monkeypatch.setitem(radial.CHUNK, "cpu", 7)
        parts = change_of(program, theta, x, v, mass, None, Box(8.0))
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-14)


def test_a_force_at_distance_zero_is_zero_and_finite(rng) -> None:
    program, theta = program_of()
    x, v, mass, _ = states(rng, count=3)
    x[:, 1], v[:, 1] = x[:, 0], v[:, 0]
    assert np.isfinite(change_of(program, theta, x, v, mass, None, Box(8.0))).all()


def test_kicks_in_a_step_are_leapfrog_steps_that_run_backwards(rng) -> None:
    """Their error against many kicks falls with the square of their number."""
    x, v, mass, _ = states(rng)
    ends = {}
    for kicks in (1, 2, 4, 64):
        program, theta = program_of(kicks=kicks)
        theta = 3 * theta  # forces that bend the paths within a step
        batch = program.batch(x, v, mass, None, Box())
        weights, graph = program.weights(theta), program.graph(batch)
        there = program.next_state(weights, batch, graph, training=False)
        back = batch.replace(position=there[0], velocity=-there[1])
        back = program.next_state(weights, back, graph, training=False)
        torch.testing.assert_close(back[0], batch.position, rtol=0, atol=1e-11)
        torch.testing.assert_close(-back[1], batch.velocity, rtol=0, atol=1e-11)
        ends[kicks] = torch.cat(there, 1)
    error = [float((ends[kicks] - ends[64]).norm()) for kicks in (1, 2, 4)]
    assert 3.5 < error[0] / error[1] < 4.5 and 3.5 < error[1] / error[2] < 4.5


def test_rollouts_of_several_kicks_are_repeated_steps(rng) -> None:
    program, theta = program_of(kicks=3)
    x, v, mass, _ = states(rng, count=6)
    position, velocity = (np.repeat(a[:, None], 3, 1) for a in (x, v))
    program.roll(theta, position, velocity, mass, None, Box(8.0))
    batch = program.batch(Box(8.0).wrap(x), v, mass, None, Box(8.0))
    graph = program.graph(batch)
    for time in (1, 2):
        after = program.next_state(program.weights(theta), batch, graph, training=False)
        batch = batch.replace(position=after[0], velocity=after[1])
        missed = Box(8.0).displacement(position[:, time].reshape(-1, 2) - after[0].numpy())
        np.testing.assert_allclose(missed, 0, atol=1e-12)
        np.testing.assert_allclose(velocity[:, time].reshape(-1, 2), after[1].numpy(), atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"family": "hogn", "join": "complete"},
        {"update": "direct"},
        {"inputs": "plain", "update": "direct"},
        {"join": "hierarchy", "kicks": 2},
        {"join": "complete", "messages": "antisymmetric", "kicks": 2},
        {"join": "complete", "kicks": 0},
    ],
)
def test_models_without_radial_messages_refuse_them(options) -> None:
    with pytest.raises(InvalidOption):
        ParticleSpec(**{**RADIAL, **options})


@pytest.mark.parametrize("options", [{"kernel": "torch"}, {"recompute": True}])
def test_kernels_of_other_messages_refuse_with_the_reason(options) -> None:
    spec = ParticleSpec.named("deltagn", **RADIAL)
    with pytest.raises(EngineUnavailable, match="radial messages"):
        ParticleProgram(spec, SCALES, 0.01, device="cpu", **options)
    assert ParticleProgram(spec, SCALES, 0.01, device="cpu").kernel == "numba"
    two_products = {"kernel": "numba", "recompute": True}
    with pytest.raises(EngineUnavailable):
        ParticleProgram(spec, SCALES, 0.01, device="cpu", **two_products)


@pytest.mark.parametrize("side", [np.inf, 8.0])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("coupling", "charged"), COUPLINGS)
@pytest.mark.parametrize(
    ("name", "kicks"),
    [("deltagn", 1), ("deltagn", 3), ("nearest_deltagn", 1), ("hierarchical_deltagn", 1)],
)
def test_tables_give_the_loss_and_gradient_of_the_network(
    rng, name, kicks, coupling, charged, dims, side
) -> None:
    x, v, mass, charge = states(rng, dims, charged=charged)
    mass = np.where(mass < 1.5, 0.7, 1.6)  # two kinds of bodies
    charge = None if charge is None else np.where(mass < 1, 0.9, -0.9)
    found = {}
    for kernel in ("eager", "numba"):
        options = {"kicks": kicks, "mass_coupling": coupling, "charged": charged}
        spec = ParticleSpec.named(name, **RADIAL, dims=dims, edge_width=11, **options)
        theta = 3 * particle_layout_of(spec).initial(np.random.default_rng(1))
        program = ParticleProgram(spec, SCALES, 0.01, dtype="float64", kernel=kernel, device="cpu")
        batch = program.batch(x, v, mass, charge, Box(side))
        target = Target(batch.position, 1.01 * batch.velocity)
        value, gradient = program.loss_and_gradient(theta, batch, target)
        after = program.next_state(
            program.weights(theta), batch, program.graph(batch), training=False
        )
        found[kernel] = np.concatenate([[value], gradient]), torch.cat(after, 1).numpy()
        assert (program.networks(program.weights(theta), batch.box).tables is None) == (
            kernel == "eager"
        )
    (exact, states_exact), (table, states_table) = found["eager"], found["numba"]
    np.testing.assert_allclose(table, exact, rtol=0, atol=1e-10 * np.abs(exact).max())
    np.testing.assert_allclose(states_table, states_exact, rtol=0, atol=1e-10)


def test_the_gradient_of_tables_to_positions_and_velocities(rng) -> None:
    """Against finite differences, through every kick of a step."""
    program, theta = program_of(kicks=2, mass_coupling="product")
    x, v, mass, _ = states(rng, count=5)
    weights = program.weights(3 * theta)

    def changes(position, velocity):
        batch = program.batch(x, v, mass, None, Box(8.0))
        batch = batch.replace(position=position, velocity=velocity)
        return program.changes(weights, batch, program.graph(batch), training=True)

    ends = [torch.tensor(a.reshape(-1, 2), requires_grad=True) for a in (x, v)]
    assert torch.autograd.gradcheck(changes, ends)


def test_positions_that_are_not_finite_give_nan_and_no_other_memory(rng) -> None:
    for name in ("deltagn", "nearest_deltagn"):
        program, theta = program_of(name, mass_coupling="product")
        x, v, mass, _ = states(rng, count=6)
        batch = program.batch(x, v, mass, None, Box(8.0))
        graph, weights = program.graph(batch), program.weights(theta)
        for bad in (np.nan, np.inf, 1e200):
            v[0, 0] = bad
            there = program.batch(x, v, mass, None, Box(8.0))
            change = program.changes(weights, there, graph, training=False)[0].reshape(x.shape)
            assert not torch.isfinite(change[0, 0]).any() or bad == 1e200
            assert torch.isfinite(change[1]).all()


@pytest.mark.parametrize("kernel", ["eager", "numba"])
def test_forces_beyond_the_reach_go_on_as_a_power_of_the_distance(rng, kernel) -> None:
    """A law of 1 / s^2 within the reach and anything beyond it is one of 1 / s^2 everywhere."""
    scales = dataclasses.replace(SCALES, reach=3.0)
    spec = ParticleSpec.named("deltagn", **RADIAL, edge_width=4, mass_coupling="product")
    layout = particle_layout_of(spec)
    program = ParticleProgram(spec, scales, 0.01, dtype="float64", kernel=kernel, device="cpu")
    weights = {name: np.zeros(shape) for name, shape in layout.shapes.items()}
    weights["edge_2_bias"][0] = 100.0  # one tanh is 1 at every distance, another from 8 on
    weights["edge_1_weight"][1, 0], weights["edge_1_bias"][1] = 40.0, -60.0
    weights["edge_2_weight"][1, 1], weights["edge_2_bias"][1] = 20.0, 20.0
    weights["strength_weight"][2, 0], weights["strength_weight"][0, 1] = 1.0, 5.0
    theta = layout.pack(weights, dtype="float64")
    x = np.zeros((1, 2, 2))
    found = []
    for distance in (2.0, 8.0, 32.0):
        x[0, 1, 0] = distance
        batch = program.batch(x, np.zeros_like(x), np.ones((1, 2)), None, Box())
        graph = program.graph(batch)
        kick = program.velocity_change(program.weights(theta), batch, graph, training=False)
        soft = (distance**2 + scales.near**2) ** 0.5
        found.append(float(kick[0, 0]) * soft**3 / distance)
    np.testing.assert_allclose(found, found[0], rtol=1e-6)


def test_the_reach_is_the_largest_distance_of_training_and_older_files_lack_it() -> None:
    ds = pympnode.simulate("gravity", particles=6, trajectories=4, steps=5, seed=0)
    model = pympnode.train(data=ds, updates=2, progress=False, device="cpu").model
    side = (12.0 * 6) ** 0.5
    np.testing.assert_allclose(model.scales.reach, side / 2**0.5, rtol=1e-6)
    assert "reach" not in dataclasses.replace(model.scales, reach=None).as_dict()
    assert snapped_reach(model.scales) >= model.scales.reach
    assert snapped_reach(model.scales) < 1.07 * model.scales.reach


def test_a_rollout_computes_its_table_once(rng, monkeypatch) -> None:
    program, theta = program_of(mass_coupling="product", kicks=2)
    calls, force = [], radial.radial_force
    monkeypatch.setattr(radial, "radial_force", lambda *a: calls.append(1) or force(*a))
    x, v, mass, _ = states(rng, count=6)
    position, velocity = (np.repeat(a[:, None], 5, 1) for a in (x, v))
    program.roll(theta, position, velocity, mass, None, Box(8.0))
    assert len(calls) == 1


def test_training_finds_the_law_and_the_file_keeps_it(tmp_path) -> None:
    ds = pympnode.simulate("gravity", particles=8, trajectories=12, steps=40, seed=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = pympnode.train(
            data=ds, messages="radial", updates=150, progress=False, device="cpu"
        )
        assert result.model.spec.name == "deltagn"
        assert result.best_loss < 0.01  # free flight has 1
        result.model.save(tmp_path / "model.nc")
        again = pympnode.load(tmp_path / "model.nc")
        assert isinstance(again, ParticleModel) and again.spec == result.model.spec
        first = result.model.rollout(ds, steps=5, check=False)
        second = again.rollout(ds, steps=5, check=False)
    np.testing.assert_array_equal(first.position.values, second.position.values)
