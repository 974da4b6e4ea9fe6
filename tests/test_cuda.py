"""A device against the CPU: kernels, rollouts and training of both halves.

The truth is the plain kernel in float64 on the CPU; what is tested runs in float32. A few cases run
with ``device="cpu"`` everywhere, so that the tests themselves have run; all run where there is a CUDA
device (`pytest -m cuda` runs these alone).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from kernel_windows import EDGE_OPTIONS, random_graph, with_edge_data

import pympnode
from pympnode.networks.engines.base import Batch
from pympnode.networks.engines.torch.engine import TorchEngine
from pympnode.networks.engines.torch.kernel_torch.field import by_edges
from pympnode.networks.schema import Arrays
from pympnode.networks.spec import ModelSpec
from pympnode.networks.weights import layout_of
from pympnode.particles.engine.program import ParticleProgram, Target
from pympnode.particles.graphs.box import Box
from pympnode.particles.spec import ParticleScales, ParticleSpec
from pympnode.particles.weights import particle_layout_of

# Relative to the largest number of the result. A result is a chain of at most some hundred sums,
# each rounded by 2^-24; products of factors rounded to bfloat16 (2^-8) are outside.
TOLERANCE = 300 * 2.0**-24
CUDA = (
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here"),
)


def on_devices(cases: Iterable[tuple[str, ...]], here: Iterable[tuple[str, ...]]) -> Any:
    """Parameters (device, *case): ``here`` on the CPU, all ``cases`` on CUDA."""
    return [pytest.param("cpu", *case, id="-".join(("cpu", *case))) for case in here] + [
        pytest.param("cuda", *case, id="-".join(("cuda", *case)), marks=CUDA) for case in cases
    ]


def close(found: Any, truth: Any, times: float = 1.0) -> None:
    """That two arrays or numbers agree to ``times`` the tolerance."""
    found, truth = (np.asarray(a, np.float64) for a in (found, truth))
    assert found.shape == truth.shape and np.isfinite(truth).all()
    assert np.abs(found - truth).max() <= times * TOLERANCE * np.abs(truth).max()


def exact(values: np.ndarray) -> np.ndarray:
    """float64 numbers that float32 holds exactly: the input is the same in both."""
    return values.astype(np.float32).astype(np.float64)


# ---- networks ------------------------------------------------------------------------------------

KINDS = list(product(("state", "zero", "self", "emitted"), ("mixed", "superposed")))
NETWORKS = [(kernel, *kind) for kernel in ("torch", "eager") for kind in KINDS]
BY_EDGES = [(kernel, option) for kernel in ("torch", "eager") for option in EDGE_OPTIONS]


def network(**options: Any) -> tuple[ModelSpec, Arrays, np.ndarray]:
    """A model with every kind of input, windows on three graphs with values missing, and weights."""
    rng = np.random.default_rng(0)
    spec = ModelSpec(
        **{"channels": 3, "controls": 1, "attributes": 1, "message": 2, "hidden": 20, **options}
    )
    nodes, batch, steps = 9, 24, 8
    x = rng.standard_normal((batch, steps + 1, nodes, spec.channels))
    graph = random_graph(rng, [nodes] * 3)
    if by_edges(spec):
        graph = with_edge_data(graph, spec.edge_attributes, rng, weighted=True)
    arrays = Arrays(
        exact(x),
        0.0625 * np.arange(steps + 1),
        graph,
        rng.integers(0, 3, batch),
        exact(rng.standard_normal((batch, steps + 1, nodes, spec.controls)))
        if spec.controls
        else None,
        exact(rng.standard_normal((nodes, spec.attributes))),
        rng.random(x.shape) < 0.8,
    )
    theta = layout_of(spec).initial(rng)
    return spec, arrays, exact(theta + 0.05 * rng.standard_normal(theta.shape))


@pytest.mark.parametrize(
    ("device", "kernel", "messages", "coupling"),
    on_devices(NETWORKS, [("torch", "state", "mixed"), ("torch", "emitted", "superposed")]),
)
def test_network(device: str, kernel: str, messages: str, coupling: str) -> None:
    first = "mlp" if messages in ("state", "self") else "zero"
    check_network(device, kernel, messages=messages, coupling=coupling, first_message=first)


@pytest.mark.parametrize(
    ("device", "kernel", "option"),
    on_devices(
        BY_EDGES,
        [("torch", "pair inputs"), ("torch", "pair learned max"), ("torch", "edges state learned")],
    ),
)
def test_network_by_edges(device: str, kernel: str, option: str) -> None:
    check_network(device, kernel, **EDGE_OPTIONS[option])


def check_network(device: str, kernel: str, **options: Any) -> None:
    spec, arrays, theta = network(**options)
    batch = Batch(np.arange(len(arrays.x)), np.zeros(len(arrays.x), np.int64), arrays.steps)
    found, truth = (
        TorchEngine().bind(spec, [arrays], dtype=dtype, device=where, kernel=name)
        for dtype, where, name in (("float32", device, kernel), ("float64", "cpu", "eager"))
    )
    assert (found.device.type, found.kernel) == (device, kernel)
    for a, b in zip(found.loss_and_gradient(theta, batch), truth.loss_and_gradient(theta, batch)):
        close(a, b)
    close(found.loss(theta, batch), truth.loss(theta, batch))
    given = {"graph_of": arrays.graph_of, "u": arrays.u, "attribute": arrays.attribute}
    a, b = (
        p.rollout(theta, arrays.x[:, 0], arrays.graph, arrays.time, **given) for p in (found, truth)
    )
    assert a.finite.all() and b.finite.all()
    close(a.state, b.state)
    assert a.message.shape == b.message.shape
    if b.message.size:
        # Messages that are no inputs of the field stay at zero.
        close(a.message, b.message)
    z = np.concatenate([b.state, b.message], axis=-1)[:, -1]
    if arrays.u is not None:
        given["u"] = arrays.u[:, -1]
    close(*(p.field(theta, exact(z), arrays.graph, **given) for p in (found, truth)))


# ---- particles -----------------------------------------------------------------------------------

BOX = Box(30.0)
STEPS = 20
PAIRED = {"inputs": "scaled", "update": "leapfrog", "messages": "antisymmetric"}
MODELS: dict[str, tuple[str, dict[str, object]]] = {
    "deltagn": ("deltagn", {"inputs": "scaled", "conserve_momentum": True}),
    "paired": ("deltagn", {**PAIRED, "charged": True}),
    "nearest": ("nearest_deltagn", {"inputs": "scaled", "neighbours": 5}),
    "hierarchy": ("hierarchical_deltagn", {**PAIRED, "levels": 3}),
    "hogn": ("hogn", {"inputs": "scaled", "update": "leapfrog"}),
    "hogn of cells": ("hierarchical_hogn", {"inputs": "scaled", "update": "leapfrog", "levels": 3}),
    "published hogn": ("hogn", {"behaviour": "published"}),
}
DELTAGN = [name for name, (model, _) in MODELS.items() if "deltagn" in model]
PARTICLES = [(name, "auto") for name in MODELS] + [
    (name, kernel) for name in DELTAGN for kernel in ("torch", "eager")
]


def particles(name: str) -> tuple[ParticleSpec, np.ndarray, tuple[np.ndarray, ...]]:
    """A model, its weights, and position, velocity, mass (and charge) of three sets."""
    model, options = MODELS[name]
    spec = ParticleSpec.named(model, edge_width=24, node_width=20, global_width=18, **options)
    rng = np.random.default_rng(2)
    sets = (3, 40)
    charge = exact(rng.uniform(-1, 1, sets)) if spec.charged else None
    states = (
        exact(rng.uniform(-BOX.side / 2, BOX.side / 2, (*sets, 2))),
        exact(rng.uniform(-1, 1, (*sets, 2))),
        exact(rng.uniform(0.5, 1.5, sets)),
        charge,
    )
    return spec, exact(particle_layout_of(spec).initial(np.random.default_rng(1))), states


@pytest.mark.parametrize(
    ("device", "name", "kernel"),
    on_devices(PARTICLES, [("paired", "auto"), ("hierarchy", "auto"), ("hogn", "auto")]),
)
def test_particle_model(device: str, name: str, kernel: str) -> None:
    spec, theta, (x, v, mass, charge) = particles(name)
    scales = ParticleScales(length=3.0, velocity=0.6, change=0.05)
    rng = np.random.default_rng(3)
    # Of the size of what such networks answer, so that no part of the loss drowns another.
    later = exact(x + 0.01 * v), exact(v + 0.05 * rng.standard_normal(v.shape))
    results = []
    for dtype, where, which in (("float32", device, kernel), ("float64", "cpu", "eager")):
        program = ParticleProgram(
            spec,
            scales,
            0.0078125,
            dtype=dtype,
            device=where,
            kernel=which,
            recompute=which == "torch",
        )
        assert program.device.type == where
        batch = program.batch(x, v, mass, charge, BOX)
        after = program.batch(*later, mass, charge, BOX)
        change = program.flat_tensor(later[1] - v)
        loss, gradient = program.loss_and_gradient(
            theta, batch, Target(after.position, after.velocity, change)
        )
        position, velocity = (np.repeat(a[:, None], STEPS + 1, 1) for a in (x, v))
        position[:, 1:] = velocity[:, 1:] = np.nan
        program.roll(theta, position, velocity, mass, charge, BOX)
        results.append((loss, gradient, velocity, position))
    # A ReLU close to its kink may go another way, which takes one edge of thousands from a gradient.
    for a, b, times in zip(*[found[:3] for found in results], (1, 4, 1)):
        close(a, b, times)
    close(BOX.wrap(results[0][3] - results[1][3]) + BOX.side, np.full_like(position, BOX.side))


@pytest.mark.parametrize("device", on_devices([()], [()]))
def test_a_set_that_overflows_leaves_the_others(device: str) -> None:
    """On CUDA sets are dropped in the middle of a rollout, some steps after they were lost."""
    spec, theta, (x, v, mass, charge) = particles("deltagn")
    program = ParticleProgram(spec, ParticleScales(), 0.0078125, device=device)
    position, velocity = (np.repeat(a[:, None], 40, 1) for a in (x, v))
    velocity[1, 0, 3] = np.finfo(np.float32).max
    program.roll(theta, position, velocity, mass, charge, BOX)
    assert np.isnan(position[1, 1:]).all() and np.isnan(velocity[1, 1:]).all()
    assert np.isfinite(position[::2]).all() and np.isfinite(velocity[::2]).all()


# ---- training ------------------------------------------------------------------------------------

TRAINED = [("kuramoto",), ("deltagn",), ("hierarchical_deltagn",), ("hogn",)]


def trained(name: str, device: str, dtype: str) -> Any:
    """One update by the public function, on a dataset that is the same for all."""
    options = {"updates": 1, "seed": 1, "progress": False, "device": device, "dtype": dtype}
    if name == "kuramoto":
        data = pympnode.simulate("kuramoto", nodes=5, trajectories=8, steps=20, seed=3)
        return data, pympnode.train(data=data, hidden=8, batch_size=4, engine="torch", **options)
    data = pympnode.simulate("gravity", particles=20, trajectories=4, steps=6, seed=3)
    return data, pympnode.train(
        data=data, model=name, edge_width=8, node_width=8, batch_size=6, **options
    )


@pytest.mark.parametrize(("device", "name"), on_devices(TRAINED, [("hierarchical_deltagn",)]))
def test_training(device: str, name: str) -> None:
    data, found = trained(name, device, "float32")
    _, truth = trained(name, "cpu", "float64")
    assert found.device.startswith(device) and found.status == "completed"
    # An update of Adam is about the sign of a gradient: one of nothing but rounding may go another
    # way, which moves the loss by less than the rounding of its largest terms.
    for what in ("loss", "validation_loss"):
        close(found.history[what], truth.history[what], times=10)
    if name == "kuramoto":
        assert np.isfinite(found.model.rollout(data).state).all()
    else:
        assert np.isfinite(found.model.rollout(data, check=False).position).all()
