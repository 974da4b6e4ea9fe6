"""Rollouts on the device are the loop on the host, bit by bit, and do not wait for it at every step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pympnode.errors import InvalidData
from pympnode.particles.engine import products, rollout
from pympnode.particles.engine.kernel_eager import eager_edge_sum
from pympnode.particles.engine.kernel_torch import TorchEdgeSum
from pympnode.particles.engine.program import ParticleProgram, Target
from pympnode.particles.graphs.box import Box
from pympnode.particles.spec import ParticleScales, ParticleSpec
from pympnode.particles.weights import particle_layout_of

BOX = Box(30.0)
SMALL = {"edge_width": 12, "node_width": 10, "global_width": 9}
STEPS = 7
FASTEST = 1e3 * BOX.side / 0.01
CASES = {
    "complete": ("deltagn", {"inputs": "scaled"}),
    "complete, plain": ("deltagn", {}),
    "complete, momentum": ("deltagn", {"inputs": "scaled", "conserve_momentum": True}),
    "nearest": ("nearest_deltagn", {"inputs": "scaled", "neighbours": 5}),
    "hierarchy": ("hierarchical_deltagn", {"inputs": "scaled", "levels": 3}),
    "published, charged": (
        "hierarchical_deltagn",
        {"behaviour": "published", "charged": True, "levels": 3},
    ),
    "hamiltonian": ("hierarchical_hogn", {"levels": 3, "behaviour": "published"}),
}


def problem(name: str, sets: int = 3, count: int = 20, dtype: str = "float32"):
    model, options = CASES[name]
    spec = ParticleSpec.named(model, **{**SMALL, **options})
    scales = ParticleScales(length=3.0, velocity=0.6, change=0.05)
    theta = particle_layout_of(spec).initial(np.random.default_rng(1)).astype(dtype)
    program = ParticleProgram(spec, scales, 0.01, dtype=dtype, device="cpu")
    rng = np.random.default_rng(2)
    position = np.full((sets, STEPS + 1, count, 2), np.nan)
    velocity = position.copy()
    position[:, 0] = rng.uniform(-BOX.side / 2, BOX.side / 2, (sets, count, 2))
    velocity[:, 0] = rng.uniform(-1, 1, (sets, count, 2))
    mass = rng.uniform(0.5, 1.5, (sets, count))
    charge = rng.uniform(-1, 1, (sets, count)) if spec.charged else None
    return program, theta, position, velocity, mass, charge


def on_the_host(program, theta, position, velocity, mass, charge, box) -> None:
    """The same step by step in NumPy, lost sets dropped at once."""
    weights, index = program.weights(theta), np.arange(len(position))
    for step in range(1, position.shape[1]):
        x, v = position[index, step - 1], velocity[index, step - 1]
        batch = program.batch(x, v, mass[index], None if charge is None else charge[index], box)
        with torch.no_grad():
            again = program.spec.behaviour == "published" and step > 1
            graph = program.graph(batch, averaged_charge=again)
            if program.spec.inputs == "scaled":
                change = program.velocity_change(weights, batch, graph, training=False)
                later_v = v + change.numpy().reshape(x.shape).astype(np.float64)
                later_x = box.wrap(x + 0.5 * program.step_length * (v + later_v))
            else:
                found = program.next_state(weights, batch, graph, training=False)
                later_x, later_v = (a.numpy().reshape(x.shape).astype(np.float64) for a in found)
        good = np.isfinite(later_x).all((1, 2)) & (np.abs(later_v) < FASTEST).all((1, 2))
        index = index[good]
        if not index.size:
            return
        position[index, step], velocity[index, step] = later_x[good], later_v[good]


def both(given, **options):
    """(host, device): positions and velocities of both."""
    program, theta, position, velocity, mass, charge = given
    host, device = (position.copy(), velocity.copy()), (position.copy(), velocity.copy())
    on_the_host(program, theta, *host, mass, charge, BOX)
    program.roll(theta, *device, mass, charge, BOX, **options)
    return host, device


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_rollout_is_the_loop_on_the_host(name: str, dtype: str) -> None:
    host, device = both(problem(name, dtype=dtype))
    assert np.isfinite(host[0]).all()
    for a, b in zip(host, device):
        np.testing.assert_array_equal(a, b)


def test_states_add_up_in_double_precision() -> None:
    """What a step rounds is the change of a velocity, not the velocity: momentum shows it."""
    spec = ParticleSpec.named(
        "deltagn", inputs="scaled", update="leapfrog", messages="antisymmetric", **SMALL
    )
    program = ParticleProgram(spec, ParticleScales(change=1e-4), 0.01, device="cpu")
    theta = program.layout.initial(np.random.default_rng(1)).astype(np.float32)
    _, _, position, velocity, mass, _ = problem("complete")
    position, velocity = (np.repeat(a[:, :1], 201, 1) for a in (position, velocity))
    program.roll(theta, position, velocity, mass, None, BOX)
    momentum = (mass[:, None, :, None] * velocity).sum(2)
    moved = np.abs(velocity[:, -1] - velocity[:, 0]).max()
    drift = np.abs(momentum[:, -1] - momentum[:, 0]).max()
    assert 1e-4 < moved < 0.1
    # 20 particles, whose changes add up to ``moved`` and are rounded a few times each.
    assert drift < 20 * 4 * np.finfo(np.float32).eps * moved


@pytest.mark.parametrize("name", ["complete", "hierarchy", "published, charged"])
@pytest.mark.parametrize("block", [1, 2, 100])
def test_a_set_that_overflows_leaves_the_others(name: str, block: int, monkeypatch) -> None:
    given = problem(name)
    state = 2 * given[2][:, 0].size * 8
    monkeypatch.setattr(rollout, "_BLOCK_BYTES", block * state)
    given[3][1, 0, 3] = 0.99 * FASTEST  # beyond reason after some steps
    given[1][-2:] = 5e3 if given[0].spec.inputs == "plain" else 4e5
    host, device = both(given)
    lost = np.isnan(host[0]).any((2, 3))
    assert 0 < lost[1].sum() < STEPS and not lost[0].any()
    for a, b in zip(host, device):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("lost", [(1,), (0, 1, 2)])
@pytest.mark.parametrize("block", [1, 2, 100])
def test_states_after_a_nonfinite_one_are_nan(lost, block, monkeypatch) -> None:
    program, theta, position, velocity, mass, charge = problem("complete")
    monkeypatch.setattr(rollout, "_BLOCK_BYTES", block * 2 * position[:, 0].size * 8)
    for number in lost:
        velocity[number, 0, 3] = 0.99 * FASTEST
    theta[-2:] = 4e5
    position[:, 1:] = velocity[:, 1:] = 7.0
    program.roll(theta, position, velocity, mass, charge, BOX)
    for number in range(3):
        for states in (position[number], velocity[number]):
            gone = np.isnan(states).all((1, 2))
            assert (gone == np.isnan(states).any((1, 2))).all() and (states != 7.0).all()
            assert gone[-1] == (number in lost) and (np.diff(gone.astype(int)) >= 0).all()


def test_nonfinite_sets_may_be_dropped_late() -> None:
    """They stand still until then. Sums over the others are in another order: the last bits."""
    given = problem("hierarchy", dtype="float64")
    given[3][1, 0, 3] = 0.99 * FASTEST
    given[1][-2:] = 4e5
    host, device = both(given, every=4)
    assert np.isnan(host[0]).any()
    for a, b in zip(host, device):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_a_batch_is_checked_before_it_is_on_the_device() -> None:
    """What is asked of a tensor there is waited for."""
    spec = ParticleSpec.named("deltagn", inputs="scaled", messages="antisymmetric", **SMALL)
    program = ParticleProgram(spec, ParticleScales(), 0.01, device="cpu")
    x, mass = np.zeros((2, 3, 2)), np.ones((2, 3))
    with Waits() as waits:
        program.batch(x, x, mass, None, BOX)
    assert "aten._local_scalar_dense.default" not in waits.found
    for nothing in (0.0, 1e-60):  # also where it is nothing in this precision
        mass[1, 2] = nothing
        with pytest.raises(InvalidData, match="without mass"):
            program.batch(x, x, mass, None, BOX)


# Models of complete graphs, whose edges are built once.
COMPLETE = {
    "plain": {},
    "plain, charged": {"charged": True},
    "published": {"behaviour": "published"},
    "plain, momentum": {"conserve_momentum": True},
    "scaled": {"inputs": "scaled"},
    "scaled, charged, in space": {"inputs": "scaled", "charged": True, "dims": 3},
    "scaled, momentum": {"inputs": "scaled", "conserve_momentum": True},
    "leapfrog": {"inputs": "scaled", "update": "leapfrog"},
    "antisymmetric": {"inputs": "scaled", "messages": "antisymmetric"},
    "leapfrog, antisymmetric": {
        "inputs": "scaled",
        "update": "leapfrog",
        "messages": "antisymmetric",
        "charged": True,
        "conserve_momentum": True,
    },
}


class Waits(TorchDispatchMode):
    """What waits for a device, or copies to it, among all that torch does; ``lift_fresh`` is what
    a number becomes on the way to a tensor."""

    NAMES = frozenset(
        "lift_fresh lift_fresh_copy lift _local_scalar_dense item is_nonzero equal nonzero argwhere "
        "masked_select masked_scatter _unique2 unique_dim unique_consecutive bincount allclose "
        "_pin_memory is_pinned".split()
    )

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_") and any(
            a is not None and a.dtype in (torch.bool, torch.uint8) for a in args[1]
        )
        moved = name in ("_to_copy", "to") and kwargs.get("device") is not None
        counted = str(func) == "aten.repeat_interleave.Tensor" and not kwargs.get("output_size")
        if name in self.NAMES or by_mask or moved or counted:
            self.found.append(str(func))
        return func(*args, **kwargs)


def test_waits_for_the_device_are_counted() -> None:
    a = torch.ones(3)
    for wait in (
        lambda: torch.tensor(2.0),
        lambda: float(a[0]),
        lambda: bool((a > 0).any()),
        lambda: a[a > 0],
        lambda: a.nonzero(),
        lambda: torch.repeat_interleave(a, a.long()),
        lambda: a.to("meta"),
    ):
        with Waits() as waits:
            wait()
        assert waits.found
    with Waits() as waits:
        torch.where(a > 0, a, 0.0).double()
    assert not waits.found


@pytest.mark.parametrize("edge_sum", [eager_edge_sum, TorchEdgeSum()], ids=["eager", "torch"])
@pytest.mark.parametrize("name", COMPLETE)
def test_a_step_of_a_complete_graph_does_not_wait_for_the_device(
    name: str, edge_sum, monkeypatch
) -> None:
    monkeypatch.setattr(products, "_suits_onednn", lambda x: False)  # oneDNN is for CPUs
    spec = ParticleSpec.named("deltagn", **SMALL, **COMPLETE[name])
    program = ParticleProgram(spec, ParticleScales(), 0.01, device="cpu")
    program._edge_sum = edge_sum
    rng = np.random.default_rng(0)
    theta = program.layout.initial(rng).astype(np.float32)
    x, v = rng.uniform(-1, 1, (2, 3, 6, spec.dims))
    mass, charge = np.ones((3, 6)), np.ones((3, 6)) if spec.charged else None
    batch = program.batch(x, v, mass, charge, BOX)

    state = rollout.RolloutState(program.stepper(theta), batch, x, v, FASTEST)
    state.step()  # builds the graph
    with Waits() as waits:
        state.step()
    assert waits.found == []

    target, graph = Target(batch.position, batch.velocity), program.graph(batch)
    monkeypatch.setattr(program, "graph", lambda batch, **options: graph)
    with Waits() as waits:
        program.loss_and_gradient(theta, batch, target)
    # The weights go there at the start, and the loss comes back at the end.
    assert waits.found == ["aten.lift_fresh.default", "aten._local_scalar_dense.default"]


def test_edges_are_built_again_where_they_move_or_a_set_is_dropped(monkeypatch) -> None:
    for name, lost, times in (
        ("complete", False, 1),
        ("complete", True, 2),
        ("nearest", False, STEPS),
    ):
        program, theta, position, velocity, mass, charge = problem(name)
        if lost:
            velocity[1, 0, 3], theta[-2:] = 0.99 * FASTEST, 4e5
        built, plain = [], program.graph
        monkeypatch.setattr(
            program, "graph", lambda *a, b=built, f=plain, **o: b.append(1) or f(*a, **o)
        )
        program.roll(theta, position, velocity, mass, charge, BOX)
        assert len(built) == times
