"""Particle models as they should be: derivatives, symmetries, samples that do not meet."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch

from pympnode.errors import InvalidData, InvalidOption, UnknownName
from pympnode.particles.engine import delta, hamiltonian
from pympnode.particles.engine.program import ParticleProgram, Target
from pympnode.particles.graphs.box import Box
from pympnode.particles.spec import MODELS, ParticleScales, ParticleSpec
from pympnode.particles.weights import particle_layout_of

BOX = Box(30.0)
SMALL = {"edge_width": 12, "node_width": 10, "global_width": 9}
# The kinds of step that a model can make, and who can make them.
KINDS = {
    "plain": {"inputs": "plain"},
    "scaled": {"inputs": "scaled"},
    "leapfrog": {"inputs": "scaled", "update": "leapfrog"},
    "balanced": {"inputs": "scaled", "update": "leapfrog", "messages": "antisymmetric"},
    "paired": {"inputs": "scaled", "update": "leapfrog", "messages": "symmetric"},
    "radial": {"inputs": "scaled", "update": "leapfrog", "messages": "radial"},
}
ALL = [
    (name, kind)
    for name in MODELS
    for kind in KINDS
    if not ("hogn" in name and kind in ("scaled", "balanced", "radial"))
    and not ("deltagn" in name and kind == "paired")
    and not (name == "nearest_deltagn" and kind == "balanced")
]
HOGN = ["hogn", "hierarchical_hogn"]
LEAPFROG = [(name, kind) for name, kind in ALL if kind not in ("plain", "scaled")]


def made(name, kind="plain", *, seed=0, levels=3, **options):
    fields = {**SMALL, **KINDS[kind], **options}
    spec = ParticleSpec.named(name, levels=levels if "hier" in name else None, **fields)
    scales = ParticleScales(length=3.0, velocity=0.6, change=0.05)
    theta = particle_layout_of(spec).initial(np.random.default_rng(seed))
    return ParticleProgram(spec, scales, 0.01, dtype="float64", device="cpu"), theta


def states(rng, sets=1, count=40, charged=False):
    x = rng.uniform(-BOX.side / 2, BOX.side / 2, (sets, count, 2))
    v = rng.uniform(-1, 1, (sets, count, 2))
    mass = rng.uniform(0.5, 1.5, (sets, count))
    charge = rng.uniform(-1, 1, (sets, count)) if charged else None
    return x, v, mass, charge


def step(program, theta, x, v, mass, charge=None, box=BOX):
    batch = program.batch(x, v, mass, charge, box)
    weights = program.weights(theta)
    out = program.next_state(weights, batch, program.graph(batch), training=False)
    units = program.units.length, program.units.velocity
    return tuple(part.reshape(x.shape).numpy() * unit for part, unit in zip(out, units))


def same(a, b, box=BOX):
    np.testing.assert_allclose(box.displacement(a[0] - b[0]), 0, atol=1e-12)
    np.testing.assert_allclose(a[1], b[1], rtol=0, atol=1e-12)


# ---- sizes --------------------------------------------------------------------------------------


def test_published_widths_have_the_published_number_of_weights() -> None:
    sizes = {name: particle_layout_of(ParticleSpec.named(name)).size for name in MODELS}
    assert sizes == {
        "deltagn": 60_254,
        "nearest_deltagn": 60_254,
        "hogn": 94_901,
        "hierarchical_deltagn": 285_604,
        "hierarchical_hogn": 319_501,
    }


# ---- what mathematics promises -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hogn", "hierarchical_hogn"])
@pytest.mark.parametrize("charged", [False, True])
def test_the_flow_is_the_derivative_of_the_hamiltonian(rng, name, charged) -> None:
    program, theta = made(name, charged=charged)
    batch = program.batch(*states(rng, charged=charged), BOX)
    net, graph = program.networks(program.weights(theta), BOX), program.graph(batch)
    x, p = batch.position, batch.velocity * batch.mass[:, None]
    dx, dp, _ = hamiltonian.flow(net, batch, x, p, graph, differentiable=False)

    def energy(x, p):
        with torch.no_grad():
            return hamiltonian.hamiltonian(net, batch, x, p, graph).item()

    h = 1e-5  # central differences: error h^2 H''' plus rounding 1e-16 H / h
    for place in [(0, 0), (7, 1), (23, 0), (39, 1)]:
        shift = torch.zeros_like(x)
        shift[place] = h
        slope_x = (energy(x + shift, p) - energy(x - shift, p)) / (2 * h)
        slope_p = (energy(x, p + shift) - energy(x, p - shift)) / (2 * h)
        assert slope_x == pytest.approx(-dp[place].item(), abs=1e-7, rel=1e-6)
        assert slope_p == pytest.approx(dx[place].item(), abs=1e-7, rel=1e-6)


def test_published_cells_do_not_pass_the_whole_derivative(rng) -> None:
    """The published forces are not those of the energy as cells really move; ours are."""
    forces = {}
    for behaviour in ("published", "corrected"):
        program, theta = made("hierarchical_hogn", behaviour=behaviour)
        batch = program.batch(*states(np.random.default_rng(1)), BOX)
        net, graph = program.networks(program.weights(theta), BOX), program.graph(batch)
        p = batch.velocity * batch.mass[:, None]
        forces[behaviour] = hamiltonian.flow(
            net, batch, batch.position, p, graph, differentiable=False
        )
    published, corrected = forces["published"], forces["corrected"]
    torch.testing.assert_close(published[2], corrected[2], rtol=1e-12, atol=1e-12)  # H
    torch.testing.assert_close(published[0], corrected[0], rtol=1e-10, atol=1e-12)  # dH/dp
    assert (published[1] - corrected[1]).abs().max() > 1e-5


def test_a_cell_stays_whole_when_its_particle_crosses_the_border() -> None:
    """H is continuous where a particle passes the border within a step."""
    rng = np.random.default_rng(3)
    x, v, mass, _ = states(rng)
    x[0, 0] = [BOX.side / 2 - 1e-6, 0.1]
    x[0, 1] = [BOX.side / 2 - 0.3, 0.2]
    jump = {}
    for behaviour in ("corrected", "published"):
        program, theta = made("hierarchical_hogn", behaviour=behaviour)
        batch = program.batch(x, v, mass, None, BOX)
        net, graph = program.networks(program.weights(theta), BOX), program.graph(batch)
        after = batch.position.clone()
        after[0, 0] += 2e-6
        p = batch.velocity * batch.mass[:, None]
        with torch.no_grad():
            values = [
                hamiltonian.hamiltonian(net, batch, y, p, graph).item()
                for y in (batch.position, BOX.wrap(after))
            ]
        jump[behaviour] = abs(values[1] - values[0])
    assert jump["corrected"] < 1e-5 < jump["published"]


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_gradients_equal_finite_differences(rng, name, kind) -> None:
    program, theta = made(name, kind)
    x, v, mass, _ = states(rng, count=30)
    batch = program.batch(x, v, mass, None, BOX)
    far = program.batch(x + 0.01, v + 0.05, mass, None, BOX)
    target = Target(far.position, far.velocity)
    value, gradient = program.loss_and_gradient(theta, batch, target)
    assert value == pytest.approx(program.loss(theta, batch, target), rel=1e-12)
    h = 1e-6
    for number in range(3):
        direction = np.random.default_rng(number).standard_normal(theta.size)
        direction /= np.linalg.norm(direction)
        slope = program.loss(theta + h * direction, batch, target)
        slope = (slope - program.loss(theta - h * direction, batch, target)) / (2 * h)
        assert slope == pytest.approx(gradient @ direction, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_a_sample_does_not_feel_the_others_of_its_batch(rng, name, kind) -> None:
    program, theta = made(name, kind)
    x, v, mass, _ = states(rng, sets=3)
    together = step(program, theta, x, v, mass)
    for i in range(3):
        alone = step(program, theta, x[i : i + 1], v[i : i + 1], mass[i : i + 1])
        same([part[i : i + 1] for part in together], alone)


def test_published_samples_do_feel_each_other(rng) -> None:
    program, theta = made("hierarchical_hogn", behaviour="published")
    x, v, mass, _ = states(rng, sets=2)
    together = step(program, theta, x, v, mass)
    alone = step(program, theta, x[:1], v[:1], mass[:1])
    assert np.abs(together[1][:1] - alone[1]).max() > 1e-9


# ---- symmetries ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_order_of_particles_does_not_matter(rng, name, kind) -> None:
    program, theta = made(name, kind)
    x, v, mass, _ = states(rng)
    order = rng.permutation(x.shape[1])
    before = step(program, theta, x, v, mass)
    after = step(program, theta, x[:, order], v[:, order], mass[:, order])
    same([part[:, order] for part in before], after)


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_a_shift_shifts_the_prediction(rng, name, kind) -> None:
    """By anything without cells; with them by whole cells of the coarsest level."""
    program, theta = made(name, kind)
    x, v, mass, _ = states(rng)
    shift = BOX.side / 4 * np.array([1, 2]) if "hier" in name else np.array([1.234, -17.7])
    before = step(program, theta, x, v, mass)
    after = step(program, theta, BOX.wrap(x + shift), v, mass)
    same((before[0] + shift, before[1]), after)


@pytest.mark.parametrize("name", ["deltagn", "nearest_deltagn", "hierarchical_deltagn"])
def test_a_quarter_turn_is_learned_not_built_in(rng, name) -> None:
    """A turned graph is the same graph, but weights know the axes: augmentation is what helps."""
    program, theta = made(name)
    x, v, mass, _ = states(rng)

    def turned(a):
        return np.stack([-a[..., 1], a[..., 0]], -1)

    first = program.graph(program.batch(x, v, mass, None, BOX))
    second = program.graph(program.batch(turned(x), turned(v), mass, None, BOX))

    def pairs(graph):
        ends = graph.particle_edges() if hasattr(graph, "particle_edges") else (
            graph.sender, graph.receiver
        )  # fmt: skip
        return set(zip(*(end.tolist() for end in ends)))

    assert pairs(first) == pairs(second)
    before = step(program, theta, x, v, mass)
    after = step(program, theta, turned(x), turned(v), mass)
    assert np.abs(turned(before[1]) - after[1]).max() > 1e-6


def test_momentum_is_conserved_when_asked(rng) -> None:
    for conserve in (True, False):
        program, theta = made("hierarchical_deltagn", "scaled", conserve_momentum=conserve)
        x, v, mass, _ = states(rng, sets=2)
        after = step(program, theta, x, v, mass)[1]
        change = (mass[..., None] * (after - v)).sum(1)
        # Each of 40 terms of order 0.05 is rounded once.
        assert bool(np.abs(change).max() < 1e-13) is conserve


@pytest.mark.parametrize("charged", [False, True])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("deltagn", "balanced"),
        ("deltagn", "radial"),
        *((name, kind) for name in HOGN for kind in ("leapfrog", "paired")),
    ],
)
def test_momentum_is_conserved_by_construction(rng, name, kind, charged) -> None:
    program, theta = made(name, kind, charged=charged)
    x, v, mass, charge = states(rng, sets=2, charged=charged)
    after = step(program, theta, x, v, mass, charge)[1]
    assert np.abs(after - v).max() > 1e-5
    # Up to 40 x 39 impulses of order 0.05 are rounded once each and cancel.
    np.testing.assert_allclose((mass[..., None] * (after - v)).sum(1), 0, atol=1e-12)


@pytest.mark.parametrize("charged", [False, True])
def test_near_particles_of_a_hierarchy_act_on_each_other_alike(rng, charged) -> None:
    """Without what the node network adds, impulses of near pairs cancel."""
    program, theta = made("hierarchical_deltagn", "balanced", charged=charged)
    weights = program.weights(theta)
    weights["out_weight"] *= 0
    weights["out_bias"] *= 0
    x, v, mass, charge = states(rng, charged=charged)
    batch = program.batch(x, v, mass, charge, BOX)
    after = program.next_state(weights, batch, program.graph(batch), training=False)[1]
    change = mass[0, :, None] * (after.numpy() - v[0])
    assert np.abs(change).max() > 1e-4
    np.testing.assert_allclose(change.sum(0), 0, atol=1e-12)


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_leapfrog_steps_alone_can_be_run_backwards(rng, name, kind) -> None:
    program, theta = made(name, kind)
    x, v, mass, _ = states(rng)
    there = step(program, theta, x, v, mass)
    back = step(program, theta, there[0], -there[1], mass)
    missed = max(np.abs(BOX.displacement(back[0] - x)).max(), np.abs(back[1] + v).max())
    # Twice a few roundings of numbers up to 15; a step itself is of order 0.01.
    assert missed < 1e-13 if (name, kind) in LEAPFROG else missed > 1e-6


@pytest.mark.parametrize("kind", ["leapfrog", "paired"])
@pytest.mark.parametrize("name", HOGN)
def test_the_leapfrog_step_of_a_hamiltonian_is_symplectic(rng, name, kind) -> None:
    """J' S J = S for the Jacobian J of a step in positions and momenta; of DeltaGN only det J = 1."""
    found = {}
    for model in (name, name.replace("hogn", "deltagn")):
        program, theta = made(model, kind if model == name else "leapfrog", levels=2)
        x, v, mass, _ = states(rng, count=4)
        heavy = np.repeat(mass[0], 2)

        def flow(z, program=program, theta=theta, mass=mass, heavy=heavy):
            after = step(
                program, theta, z[:8].reshape(1, 4, 2), (z[8:] / heavy).reshape(1, 4, 2), mass
            )
            return np.concatenate([after[0].ravel(), after[1].ravel() * heavy])

        z, h = np.concatenate([x.ravel(), v.ravel() * heavy]), 1e-5
        jacobian = np.stack(
            [(flow(z + h * e) - flow(z - h * e)) / (2 * h) for e in np.eye(16)], axis=1
        )
        form = np.block([[np.zeros((8, 8)), np.eye(8)], [-np.eye(8), np.zeros((8, 8))]])
        # Central differences: h^2 of curvature and 1e-15 / h of rounding.
        assert np.linalg.det(jacobian) == pytest.approx(1, abs=1e-7)
        found[model] = np.abs(jacobian.T @ form @ jacobian - form).max()
    assert found[name] < 1e-8 < 1e-6 < found[name.replace("hogn", "deltagn")]


@pytest.mark.parametrize("charged", [False, True])
@pytest.mark.parametrize("kind", ["leapfrog", "paired"])
@pytest.mark.parametrize("name", HOGN)
def test_kicks_are_the_slope_of_the_potential(rng, name, kind, charged) -> None:
    program, theta = made(name, kind, charged=charged)
    batch = program.batch(*states(rng, count=20, charged=charged), BOX)
    graph = program.graph(batch)
    net = program.networks(program.weights(theta), BOX)
    inputs = program.network_inputs(batch)
    kick = hamiltonian.velocity_change(net, inputs, graph, differentiable=False)
    h = 1e-6
    for particle, axis in ((0, 0), (7, 1), (19, 0)):
        shift = torch.zeros_like(inputs.position)
        shift[particle, axis] = h
        up, down = (
            hamiltonian.potential(net, inputs, inputs.position + sign * shift, graph).sum().item()
            for sign in (1, -1)
        )
        slope = (up - down) / (2 * h)
        expected = -float(kick[particle, axis] * batch.mass[particle])
        assert slope == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_all_near_equals_all_pairs(rng) -> None:
    """Where all particles touch, the near pairs are all ordered pairs, each once."""
    program, _ = made("hierarchical_deltagn", levels=2)
    x, v, mass, _ = states(rng, count=12)
    x = x / BOX.side * 7.0  # within touching cells of the 4 x 4 grid, whose side is 7.5
    graph = program.graph(program.batch(x, v, mass, None, BOX))
    s, r = graph.particle_edges()
    assert sorted(zip(r.tolist(), s.tolist())) == [
        (i, j) for i in range(12) for j in range(12) if i != j
    ]
    assert all(level.sender.numel() == 0 for level in graph.levels)


# ---- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [("hogn", "plain"), ("hierarchical_hogn", "leapfrog"), ("deltagn", "balanced")],
)
def test_models_that_divide_by_the_mass_refuse_particles_without(rng, name, kind) -> None:
    program, _ = made(name, kind)
    x, v, mass, _ = states(rng)
    mass[0, 3] = 0
    with pytest.raises(InvalidData, match="divides by the mass"):
        program.batch(x, v, mass, None, BOX)


def test_delta_models_take_particles_without_mass(rng) -> None:
    for kind in ("plain", "scaled", "leapfrog"):
        program, theta = made("hierarchical_deltagn", kind, conserve_momentum=True)
        x, v, mass, _ = states(rng)
        for heaviest in (1, 0):
            mass[:] = 0
            mass[0, 0] = heaviest
            assert all(np.isfinite(part).all() for part in step(program, theta, x, v, mass))


def test_names_and_options_are_checked(rng) -> None:
    with pytest.raises(UnknownName, match="did you mean 'hierarchical_deltagn'"):
        ParticleSpec.named("hierarchical_delta")
    with pytest.raises(UnknownName, match="behaviour"):
        ParticleSpec(behaviour="right")
    with pytest.raises(InvalidOption, match="leapfrog steps"):
        ParticleSpec(family="hogn", inputs="scaled")
    with pytest.raises(InvalidOption, match="velocity change alone"):
        ParticleSpec(update="leapfrog")
    with pytest.raises(InvalidOption, match="has no scaled inputs"):
        ParticleSpec(inputs="scaled", behaviour="published")
    for refused in ({"join": "nearest"}, {"family": "hogn", "update": "leapfrog"}):
        with pytest.raises(InvalidOption, match="in both directions"):
            ParticleSpec(inputs="scaled", messages="antisymmetric", **refused)
    with pytest.raises(InvalidOption, match="energies of pairs"):
        ParticleSpec(inputs="scaled", messages="symmetric")
    program, _ = made("deltagn", charged=True)
    with pytest.raises(InvalidData, match="charged"):
        program.batch(*states(rng), BOX)


def test_scales_follow_softening_and_spacing() -> None:
    scales = ParticleScales.of_lengths(0.2, 12**0.5)
    np.testing.assert_allclose(scales.lengths, (0.3, 0.95, 3.0), rtol=0.01)
    assert all(a < b for a, b in pairwise(ParticleScales.of_lengths(0.0, 1.0).lengths))


@pytest.mark.parametrize("name", ["deltagn", "hierarchical_deltagn", "hogn"])
def test_units_of_length_make_no_difference(rng, name) -> None:
    """Metres or tenths of a nanometre, in single precision."""
    spec = ParticleSpec.named(
        name, inputs="scaled", update="leapfrog", levels=3 if "hier" in name else None, **SMALL
    )
    theta = particle_layout_of(spec).initial(rng).astype(np.float32)
    x, v, mass, _ = states(rng)
    found = []
    for unit in (1.0, 1e-10):
        scales = ParticleScales.of_lengths(0.2 * unit, 3.4 * unit)
        scales = dataclasses.replace(scales, velocity=0.6 * unit, change=0.05 * unit)
        program = ParticleProgram(spec, scales, 0.01, device="cpu", kernel="eager")
        later = step(program, theta, x * unit, v * unit, mass, box=Box(BOX.side * unit))
        found.append((later[1] / unit).astype(np.float64))
    change = np.abs(found[0] - v).max()
    assert change > 1e-3
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=2e-3 * change)


def test_cells_look_the_same_on_all_levels() -> None:
    """Of one particle in every finest cell; only in DeltaGN of scaled inputs."""
    side, cells = 32.0, 8
    grid = (np.arange(cells) + 0.5) * side / cells - side / 2
    x = np.stack(np.meshgrid(grid, grid), -1).reshape(1, -1, 2)
    ones = np.ones((1, cells * cells))
    spread = {}
    for kind in ("plain", "scaled", "leapfrog"):
        program, theta = made("hierarchical_deltagn", kind, charged=True)
        batch = program.batch(x, np.zeros_like(x), ones, ones, Box(side))
        net = program.networks(program.weights(theta), batch.box)
        values = [level.base for level in delta.cell_values(net, program.graph(batch))]
        assert len(values) == 2
        spread[kind] = max(float((v - values[0][:1]).abs().max()) for v in values)
        far = net.edge_features(torch.tensor([[8.0, -4.0]]), unit=program.spec.cell_unit(1))
        near = net.edge_features(torch.tensor([[4.0, -2.0]]), unit=program.spec.cell_unit(0))
        assert bool(torch.equal(far, near)) is (kind != "plain")
    assert spread["scaled"] == spread["leapfrog"] == 0 < spread["plain"]


def test_first_weights_of_a_potential_keep_the_size_of_signals() -> None:
    """The messages of cells reached the particles 15 times smaller, and were not learned."""
    spread = []
    for gain in (True, False):
        program, theta = made("hierarchical_hogn", "paired", edge_width=64, node_width=64)
        if not gain:
            bare = dataclasses.replace(program.layout, gains={})
            theta = bare.initial(np.random.default_rng(0))
        net = program.networks(program.weights(theta), BOX)
        inputs = net.weights["node_1_weight"].shape[1]
        values = torch.as_tensor(np.random.default_rng(0).normal(size=(500, inputs)))
        spread.append(float(net.node("node", values, values[:, :0]).std(0).mean()))
    assert 0.3 < spread[0] < 2 and spread[1] < 0.1


@pytest.mark.parametrize("box", [Box(32.0), Box()])
@pytest.mark.parametrize("name", ["hierarchical_deltagn", "hierarchical_hogn"])
def test_cells_of_any_size_have_the_same_inputs(name, box) -> None:
    """With units of their own: of the finest cells too, whose size differs between particle counts."""
    grid = (np.arange(16) + 0.5) * 2.0 - 16
    x = np.stack(np.meshgrid(grid, grid), -1).reshape(1, -1, 2)
    ones = np.ones(x.shape[:2])
    kind = "paired" if name.endswith("hogn") else "balanced"
    spread = {}
    for units in ("finest", "side"):
        found = []
        for levels in (2, 3):
            program, theta = made(name, kind, levels=levels, cell_units=units)
            batch = program.batch(x, 0 * x, ones, None, box)
            net = program.networks(program.weights(theta), batch.box)
            tree = program.graph(batch)
            found += [values.base for values in delta.cell_values(net, tree)]
            out = program.velocity_change(net.weights, batch, tree, training=False)
            assert bool(torch.isfinite(out).all())
        spread[units] = max(float((one - found[0][:1]).abs().max()) for one in found)
    assert spread["side"] < 0.1 < 0.9 < spread["finest"]
    assert ParticleSpec.from_dict(program.spec.as_dict()) == program.spec
