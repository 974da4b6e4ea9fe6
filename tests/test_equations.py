"""Every kernel of a CPU against the models' equations, written a second time as loops over edges."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import equations
import numpy as np
import pytest
import torch

from pympnode.graph import Graph
from pympnode.networks.engines.base import Batch
from pympnode.networks.engines.torch.engine import TorchEngine
from pympnode.networks.schema import Arrays
from pympnode.networks.spec import ModelSpec
from pympnode.networks.weights import layout_of
from pympnode.particles.engine.batch import ParticleBatch
from pympnode.particles.engine.program import ParticleProgram, Target
from pympnode.particles.graphs.box import Box
from pympnode.particles.graphs.cells import Hierarchy
from pympnode.particles.spec import ParticleScales, ParticleSpec
from pympnode.particles.weights import particle_layout_of

# Sums of some ten terms of order one, through a few layers and steps: a thousand roundings.
ROUNDING = 1e-12

# ---- networks ----------------------------------------------------------------------------------

CONTROLLED = {"controls": 1, "attributes": 1}
PAIRS = {"messages": "pairwise", "coupling": "superposed", "message": 2}
NETWORKS: dict[str, dict[str, Any]] = {
    "published": {},
    "sum": {"aggregation": "sum", "divisor": 2.5},
    "controls and attributes": CONTROLLED,
    "substeps, three layers": {"substeps": 2, "depth": 3},
    "zero": {"messages": "zero", "first_message": "mlp", **CONTROLLED},
    "self": {"messages": "self", "first_message": "linear", **CONTROLLED},
    "emitted": {"messages": "emitted", **CONTROLLED},
    "state, first linear": {"first_message": "linear", "attributes": 1},
    "state, first mlp": {"first_message": "mlp", "aggregation": "sum", "divisor": 2.5},
    "superposed state": {"coupling": "superposed", "first_message": "mlp", **CONTROLLED},
    "superposed self": {"coupling": "superposed", "messages": "self", "first_message": "linear"},
    "superposed emitted": {"coupling": "superposed", "messages": "emitted", "attributes": 1},
    "superposed zero": {"coupling": "superposed", "messages": "zero", "controls": 1},
    "emitted, controls of the sender": {
        "messages": "emitted",
        "sender_controls": True,
        **CONTROLLED,
    },
    "emitted invariant": {
        "messages": "emitted",
        "invariant": (1,),
        "sender_controls": True,
        **CONTROLLED,
    },
    "linear path": {"linear": True, "first_message": "linear", **CONTROLLED},
    "linear path, emitted": {
        "linear": True,
        "messages": "emitted",
        "coupling": "superposed",
        "invariant": (0,),
        **CONTROLLED,
    },
    "linear path, pairwise": {"linear": True, **PAIRS, **CONTROLLED},
    "max, emitted": {"messages": "emitted", "aggregation": "max", "coupling": "superposed"},
    "max, state": {"aggregation": "max"},
    "learned edges": {"messages": "emitted", "aggregation": "sum", "learned_edges": 6},
    "pairwise": {"messages": "pairwise", "aggregation": "sum", "divisor": 2.5},
    "pairwise, all inputs": {"messages": "pairwise", "edge_attributes": 2, **CONTROLLED},
    "pairwise superposed": {**PAIRS, "edge_attributes": 1},
    "pairwise max": {"messages": "pairwise", "aggregation": "max", **CONTROLLED},
    "pairwise relative": {"messages": "pairwise", "relative": (1,), **CONTROLLED},
    "pairwise invariant": {**PAIRS, "relative": (1,), "invariant": (0,)},
    "pairwise antisymmetric": {
        **PAIRS,
        "aggregation": "sum",
        "antisymmetric": True,
        "edge_attributes": 1,
        **CONTROLLED,
    },
    "pairwise antisymmetric relative": {
        **PAIRS,
        "aggregation": "sum",
        "antisymmetric": True,
        "invariant": (0, 1),
    },
    "pairwise learned edges": {**PAIRS, "aggregation": "sum", "learned_edges": 6},
    "pairwise angles": {"messages": "pairwise", "circular": (1,), "relative": (1,)},
    "angles": {"circular": (0,), "coupling": "superposed", "messages": "emitted"},
    "l2s": {"family": "l2s", "aggregation": "sum", **CONTROLLED},
    "l2s mean": {"family": "l2s", "depth": 3},
    "node": {"family": "node", "bodies": 5, **CONTROLLED},
}
# The same on edges with weights of either sign, one of them 0.
WEIGHTED = (
    "published",
    "sum",
    "emitted",
    "superposed state",
    "superposed emitted",
    "l2s",
    "l2s mean",
    "max, emitted",
    "learned edges",
    "pairwise",
    "pairwise, all inputs",
    "pairwise superposed",
    "pairwise max",
    "pairwise antisymmetric",
    "pairwise learned edges",
)
NETWORKS |= {f"weighted, {name}": NETWORKS[name] for name in WEIGHTED}


def runs(kernel: str, options: dict[str, Any]) -> bool:
    """L2S and angles run through autograd by design."""
    return kernel == "eager" or not (options.get("family") == "l2s" or options.get("circular"))


NETWORK_KERNELS = [
    (name, kernel)
    for name, options in NETWORKS.items()
    for kernel in ("eager", "torch", "numba")
    if runs(kernel, options)
]
# Number of nodes and edges of graphs of unequal degrees; of the first, node 4 has no edge at all and
# node 3 sends only. Two graphs of five nodes are one dataset, that of three nodes another.
GRAPHS = [
    (5, [(1, 0), (3, 0), (0, 1), (2, 1), (3, 1), (1, 2)]),
    (5, [(0, 1), (1, 2), (0, 3), (2, 3), (4, 3)]),
    (3, [(0, 1), (2, 1), (1, 2)]),
]
TIMES = np.array([0.0, 0.3, 0.5])


def graph_of(number: int, weighted: bool) -> Graph:
    nodes, edges = GRAPHS[number]
    sender, receiver = np.array(edges).T
    weight = None
    if weighted:
        weight = np.random.default_rng(number).normal(size=len(edges))
        weight[number] = 0.0
    attribute = np.random.default_rng([number, 1]).normal(size=(len(edges), 2))
    return Graph.single(sender, receiver, nodes, weight=weight, attribute=attribute)


def first_attributes(graph: Graph, count: int) -> Graph:
    attribute = graph.attribute[:, :count]
    return Graph(
        graph.sender, graph.receiver, graph.nodes, weight=graph.weight, attribute=attribute
    )


@cache
def network(name: str) -> SimpleNamespace:
    """A model with its data and what the loops make of them."""
    rng = np.random.default_rng(list(NETWORKS).index(name))
    spec = ModelSpec(**{"channels": 2, "message": 3, "hidden": 5, **NETWORKS[name]})
    datasets, windows = [], []
    weighted = name.startswith("weighted")
    for numbers, chosen in (((0, 1), [1, 0, 0]), ((2,), [0])):
        if (spec.family == "node" or spec.learned_edges) and numbers == (2,):
            continue  # it has a number of nodes, or of edges
        if spec.learned_edges:
            numbers, chosen = (0,), [0, 0, 0]
        nodes = GRAPHS[numbers[0]][0]
        x = 1.5 * rng.standard_normal((len(chosen), 3, nodes, 2))  # errors below and beyond delta
        mask = rng.random(x.shape) < 0.8
        mask[:, 0] = True
        u = rng.standard_normal((len(chosen), 3, nodes, 1)) if spec.controls else None
        b = rng.standard_normal((nodes, 1)) if spec.attributes else None
        graphs = [graph_of(n, weighted) for n in numbers]
        if spec.edge_attributes:
            graphs = [first_attributes(g, spec.edge_attributes) for g in graphs]
        graph = Graph.union(graphs)
        data = np.where(mask, x, np.nan)
        datasets.append(Arrays(data, TIMES, graph, np.array(chosen), u, b, mask))
        windows += [
            SimpleNamespace(
                graph=graphs[g],
                x=x[i],
                times=TIMES,
                u=None if u is None else u[i],
                b=b,
                mask=mask[i],
            )
            for i, g in enumerate(chosen)
        ]
    layout = layout_of(spec)
    theta = layout.initial(rng) + 0.2 * rng.standard_normal(layout.size)
    w = layout.unpack(theta)
    here = [window for window in windows if len(window.x[0]) == 5]
    states = [equations.rollout(spec, w, a.graph, a.x[0], TIMES, a.u, a.b) for a in here]
    loss = equations.huber(spec, w, windows)
    slopes = directions(layout, theta, rng, lambda w: equations.huber(spec, w, windows))
    return SimpleNamespace(
        spec=spec, datasets=datasets, windows=here, theta=theta, states=np.array(states), loss=loss,
        slopes=slopes,
    )  # fmt: skip


def directions(layout: Any, theta: np.ndarray, rng: Any, loss: Any) -> list[tuple]:
    """(name, direction, derivative of the loss) in a random direction of each weight."""
    found = []
    for name in layout.shapes:
        direction = np.zeros(layout.size)
        part = layout.unpack(direction)[name]
        part[...] = rng.standard_normal(part.shape)
        moved = theta + equations.STEP * 1j * direction
        found.append((name, direction, np.imag(loss(layout.unpack(moved))) / equations.STEP))
    return found


def compare_gradient(gradient: np.ndarray, slopes: list[tuple], bound: float) -> None:
    for name, direction, slope in slopes:
        allowed = bound * max(1.0, abs(slope), np.abs(gradient * direction).sum())
        assert abs(gradient @ direction - slope) < allowed, name


@pytest.mark.parametrize("name", NETWORKS)
def test_vector_fields_are_the_equations(name: str) -> None:
    case = network(name)
    data, spec, rng = case.datasets[0], case.spec, np.random.default_rng(1)
    program = TorchEngine().bind(spec, dtype="float64", kernel="eager", device="cpu")
    z = rng.standard_normal((3, 5, spec.states if spec.family == "mpnode" else 2))
    u = None if data.u is None else data.u[:, 0]
    found = program.field(
        case.theta, z, data.graph, graph_of=data.graph_of, u=u, attribute=data.attribute
    )
    w = layout_of(spec).unpack(case.theta)
    for b, window in enumerate(case.windows):
        control = None if u is None else u[b]
        expected = equations.field(spec, w, window.graph, z[b], control, window.b)
        np.testing.assert_allclose(found[b], expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(("name", "kernel"), NETWORK_KERNELS)
def test_rollouts_losses_and_gradients_are_the_equations(name: str, kernel: str) -> None:
    case = network(name)
    program = TorchEngine().bind(
        case.spec, case.datasets, dtype="float64", kernel=kernel, device="cpu"
    )
    data, d = case.datasets[0], case.spec.channels
    x0 = np.array([window.x[0] for window in case.windows])
    rollout = program.rollout(
        case.theta,
        x0,
        data.graph,
        TIMES,
        graph_of=data.graph_of,
        u=data.u,
        attribute=data.attribute,
    )
    np.testing.assert_allclose(rollout.state, case.states[..., :d], rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(rollout.message, case.states[..., d:], rtol=0, atol=ROUNDING)
    count = sum(a.trajectories for a in case.datasets)
    batch = Batch(np.arange(count), np.zeros(count, np.int64), 2)
    value, gradient = program.loss_and_gradient(case.theta, batch)
    assert abs(value - case.loss) < ROUNDING * max(1.0, case.loss)
    assert abs(program.loss(case.theta, batch) - case.loss) < ROUNDING * max(1.0, case.loss)
    compare_gradient(gradient, case.slopes, ROUNDING)


# ---- particles ---------------------------------------------------------------------------------

SCALED = {"inputs": "scaled"}
LEAPFROG = {"inputs": "scaled", "update": "leapfrog"}
CELLS = {"join": "hierarchy", "levels": 3}
HOGN = {"family": "hogn"}
RADIAL = {"messages": "radial"}
PARTICLES: dict[str, dict[str, Any]] = {
    "pairs, published": {"behaviour": "published", "charged": True},
    "pairs": {"charged": True, "conserve_momentum": True},
    "pairs, scaled": {**SCALED, "charged": True},
    "pairs, leapfrog, antisymmetric": {**LEAPFROG, "messages": "antisymmetric"},
    "15 nearest, published": {"join": "nearest", "behaviour": "published"},
    "15 nearest, leapfrog": {"join": "nearest", **LEAPFROG, "dims": 3},
    "cells, published": {**CELLS, "behaviour": "published", "charged": True},
    "cells, scaled": {**CELLS, **SCALED, "charged": True},
    "cells, leapfrog, antisymmetric": {**CELLS, **LEAPFROG, "messages": "antisymmetric"},
    "radial pairs": {**LEAPFROG, **RADIAL, "charged": True},
    "radial pairs, product": {**LEAPFROG, **RADIAL, "mass_coupling": "product"},
    "radial pairs, three kicks": {**LEAPFROG, **RADIAL, "kicks": 3},
    "radial charges, product": {
        **LEAPFROG,
        **RADIAL,
        **CELLS,
        "mass_coupling": "product",
        "charged": True,
    },
    "radial, 15 nearest": {"join": "nearest", **LEAPFROG, **RADIAL, "dims": 3},
    "radial cells": {
        **CELLS,
        **LEAPFROG,
        **RADIAL,
        "mass_coupling": "reduced",
        "conserve_momentum": True,
    },
    "Hamiltonian of pairs, published": {**HOGN, "behaviour": "published"},
    "Hamiltonian of pairs, Euler": {**HOGN, "charged": True, "integrator": "euler"},
    "potential of pairs": {**HOGN, **LEAPFROG, "charged": True},
    "potential of pairs, symmetric": {**HOGN, **LEAPFROG, "messages": "symmetric"},
    "Hamiltonian of cells": {**HOGN, **CELLS, "integrator": "euler", "charged": True},
    "potential of cells": {**HOGN, **CELLS, **LEAPFROG, "messages": "symmetric"},
}
# The kernels over edges are those of DeltaGN without radial messages.
PARTICLE_KERNELS = [
    (name, kernel)
    for name, options in PARTICLES.items()
    for kernel in ("eager", "torch", "numba")
    if kernel == "eager"
    or not (options.get("family") == "hogn" or options.get("messages") == "radial")
]
SIDE, LENGTH_OF_STEP = 4.0, 0.2
SCALES = ParticleScales(
    length=1.3, near=0.3, lengths=(0.4, 0.9, 2.5), mass=1.2, charge=0.8, velocity=0.7, change=0.3
)


@cache
def particles(name: str) -> SimpleNamespace:
    """Two sets of different size in one batch, and what the loops make of them."""
    rng = np.random.default_rng(list(PARTICLES).index(name))
    spec = ParticleSpec(
        **{
            "join": "complete",
            "edge_width": 5,
            "node_width": 4,
            "global_width": 3,
            **PARTICLES[name],
        }
    )
    layout = particle_layout_of(spec)
    theta = layout.initial(rng)
    program = ParticleProgram(
        spec, SCALES, LENGTH_OF_STEP, dtype="float64", device="cpu", kernel="eager"
    )
    counts = (
        (17, 16)
        if spec.join == "nearest"
        else (30, 25)
        if spec.radial and spec.hierarchical
        else (4, 5)
        if spec.family == "hogn"
        else (6, 9)
    )
    sets = []
    for count in counts:
        one = SimpleNamespace(
            position=rng.uniform(-SIDE / 2, SIDE / 2, (count, spec.dims)),
            velocity=rng.standard_normal((count, spec.dims)),
            mass=rng.uniform(0.5, 2.0, count),
            charge=rng.standard_normal(count) if spec.charged else None,
            after_position=rng.uniform(-SIDE / 2, SIDE / 2, (count, spec.dims)),
            after_velocity=rng.standard_normal((count, spec.dims)),
            tree=None,
        )
        if spec.hierarchical:
            one.tree = in_given_order(program.graph(batch_of([one])))
        sets.append(one)

    def model(w: dict) -> equations.Particles:
        return equations.Particles(spec, SCALES, w, LENGTH_OF_STEP, SIDE)

    first = model(layout.unpack(theta))
    states = [first.next_state(a.position, a.velocity, a.mass, a.charge, a.tree) for a in sets]

    def loss(w: dict) -> Any:
        return model(w).loss(sets)

    if spec.family == "deltagn":
        slopes = directions(layout, theta, rng, loss)
    else:  # a force is a complex derivative already: differences of losses
        slopes = []
        for number in range(2):
            way, h = rng.standard_normal(layout.size), 1e-4
            far = [float(loss(layout.unpack(theta + k * h * way))) for k in (-2, -1, 1, 2)]
            slope = (far[0] - 8 * far[1] + 8 * far[2] - far[3]) / (12 * h)
            slopes.append((f"direction {number}", way, slope))
    return SimpleNamespace(
        spec=spec, sets=sets, theta=theta, states=states, slopes=slopes,
        loss=float(loss(layout.unpack(theta))),
    )  # fmt: skip


def in_given_order(tree: Hierarchy) -> SimpleNamespace:
    """Cells and edges of a hierarchy as NumPy arrays, particles numbered as they were given."""

    def array(values: Any) -> Any:
        return None if values is None else values.numpy()

    order = tree.order.numpy()
    levels = [
        SimpleNamespace(
            size=a.size, parent=array(a.parent), sender=array(a.sender), receiver=array(a.receiver)
        )
        for a in tree.levels
    ]
    return SimpleNamespace(
        cell=tree.cell.numpy()[np.argsort(order)],
        sender=order[tree.sender.numpy()],
        receiver=order[tree.receiver.numpy()],
        levels=levels,
    )


def batch_of(sets: list[Any]) -> ParticleBatch:
    def rows(values: list[Any]) -> torch.Tensor:
        return torch.as_tensor(np.concatenate(values))

    return ParticleBatch(
        rows([a.position for a in sets]),
        rows([a.velocity for a in sets]),
        rows([a.mass for a in sets]),
        None if sets[0].charge is None else rows([a.charge for a in sets]),
        tuple(len(a.mass) for a in sets),
        Box(SIDE),
    )


@pytest.mark.parametrize(("name", "kernel"), PARTICLE_KERNELS)
def test_steps_of_particles_are_the_equations(name: str, kernel: str) -> None:
    case = particles(name)
    program = ParticleProgram(
        case.spec, SCALES, LENGTH_OF_STEP, dtype="float64", device="cpu", kernel=kernel
    )
    batch = batch_of(case.sets)
    after = [
        np.concatenate([getattr(a, f"after_{k}") for a in case.sets])
        for k in ("position", "velocity")
    ]
    target = Target(*(torch.as_tensor(values) for values in after))
    x, v = program.next_state(
        program.weights(case.theta), batch, program.graph(batch), training=False
    )
    for found, expected in zip((x, v), zip(*case.states)):
        np.testing.assert_allclose(
            found.detach().numpy(), np.concatenate(expected), rtol=0, atol=ROUNDING
        )
    value, gradient = program.loss_and_gradient(case.theta, batch, target)
    assert abs(value - case.loss) < ROUNDING * max(1.0, case.loss)
    assert abs(program.loss(case.theta, batch, target) - case.loss) < ROUNDING * max(1.0, case.loss)
    # Differences of fourth order over 1e-4 leave 1e-16 / 1e-4 of the loss, and h^4 of its changes.
    compare_gradient(gradient, case.slopes, ROUNDING if case.spec.family == "deltagn" else 1e-9)
