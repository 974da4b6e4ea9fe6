"""One contract, every engine: golden fields, rollouts, losses, gradients and trajectories.

"torch" is the embedded engine, "stand-in" the Julia engine's Python half over a worker without Julia,
"julia" the real one where it answers.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines_under_test import ENGINES, engine_under_test
from golden_files import is_cut, skip_selection
from test_engine_reference import each, golden, graphs_of, load, spec_of

from pympnode.graph import Graph
from pympnode.networks.engines.base import Batch
from pympnode.networks.schema import Arrays
from pympnode.networks.spec import ModelSpec
from pympnode.networks.weights import layout_of
from pympnode.systems.registry import get


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Any:
    return engine_under_test(request.param)


@pytest.fixture(params=ENGINES[1:])
def other_engine(request: pytest.FixtureRequest) -> Any:
    """Engines beside torch, of which test_engine_reference compares every kernel to these files."""
    return engine_under_test(request.param)


def bound(engine: Any, path: Path, options: dict[str, Any] | None = None, **changes: Any) -> tuple:
    data = load(path)
    spec = spec_of(path, data).replace(**changes)
    graph, of = graphs_of(data)
    times = float(data["dt"]) * np.arange(data["x_data"].shape[1])
    u = data["u"] if data["u"].shape[-1] else None
    arrays = Arrays(data["x_data"], times, graph, of, u)
    program = engine.bind(spec, [arrays], dtype="float64", **(options or {}))
    theta = layout_of(spec).pack({name: data[name] for name in layout_of(spec).shapes})
    batch = Batch(np.arange(len(of)), np.zeros(len(of), np.int64), len(times) - 1)
    return data, program, theta, batch, dict(graph=graph, times=times, graph_of=of, u=u)


def test_golden_fields(other_engine: Any, reference_dir: Path) -> None:
    for path in each(reference_dir, "mpnode_*.npz", "variant_*.npz", "l2s_*.npz", "node_*.npz"):
        data, program, theta, _, inputs = bound(other_engine, path)
        u = data["field_u"] if data["field_u"].shape[-1] else None
        slope = program.field(
            theta, data["field_z"], inputs["graph"], graph_of=inputs["graph_of"], u=u
        )
        # 1e-12 is a thousand roundings of a sum of 40 terms of order 1
        np.testing.assert_allclose(slope, data["field_dz"], rtol=0, atol=1e-12, err_msg=path.name)


def test_golden_discrete_rollouts_losses_gradients(other_engine: Any, reference_dir: Path) -> None:
    for path in each(reference_dir, "mpnode_*.npz", "variant_*.npz"):
        data, program, theta, batch, inputs = bound(other_engine, path)
        rollout = program.rollout(theta, data["x0"], **inputs)
        if not is_cut(path, data, "rk4_rollout_x"):
            np.testing.assert_allclose(
                rollout.state, data["rk4_rollout_x"], rtol=0, atol=1e-10, err_msg=path.name
            )
        if "rk4_rollout_m" in data:
            np.testing.assert_allclose(
                rollout.message, data["rk4_rollout_m"], rtol=0, atol=1e-10, err_msg=path.name
            )
        assert rollout.finite.all()
        value, gradient = program.loss_and_gradient(theta, batch)
        assert abs(value - float(data["rk4_loss"])) < 1e-10, path.name
        assert abs(program.loss(theta, batch) - float(data["rk4_loss"])) < 1e-10, path.name
        for name, part in program.layout.unpack(gradient).items():
            np.testing.assert_allclose(
                part,
                data[f"rk4_grad_{name}"],
                rtol=1e-10,
                atol=1e-10,
                err_msg=f"{path.name} {name}",
            )


def test_golden_continuous_by_substeps(other_engine: Any, reference_dir: Path) -> None:
    """Sixteen RK4 substeps of dt = 0.1 leave 2e-8 at most; the goldens are continuous solutions."""
    files = each(reference_dir, "l2s_*.npz", "node_*.npz")
    files = [path for path in files if not is_cut(path, load(path), "rollout_x", "loss")]
    if not files:
        skip_selection("no continuous solution")
    for path in files:
        data, program, theta, batch, inputs = bound(other_engine, path, substeps=16)
        rollout = program.rollout(theta, data["x0"], **inputs)
        np.testing.assert_allclose(
            rollout.state, data["rollout_x"], rtol=0, atol=1e-7, err_msg=path.name
        )
        value, gradient = program.loss_and_gradient(theta, batch)
        assert abs(value - float(data["loss"])) < 1e-7 * abs(float(data["loss"])), path.name
        for name, part in program.layout.unpack(gradient).items():
            expected = data[f"grad_{name}"]
            np.testing.assert_allclose(
                part,
                expected,
                rtol=0,
                atol=1e-6 * max(1.0, np.abs(expected).max()),
                err_msg=f"{path.name} {name}",
            )


TRAJECTORIES = {
    "kuramoto": "kuramoto",
    "gene": "gene",
    "lorenz": "lorenz",
    "pendulum": "coupled_pendulum",
}


def test_golden_trajectories(engine: Any, reference_dir: Path) -> None:
    with np.load(golden(reference_dir, "trajectories.npz")[0], allow_pickle=False) as file:
        data = {name: file[name] for name in file.files}
    names = [name[:-3] for name in data if name.endswith("_x0")]
    assert names
    for name in names:
        kind = next((k for k in TRAJECTORIES if name.startswith(k) or k in name), None)
        if kind is None:
            continue
        system = get(TRAJECTORIES[kind])
        x0, expected = data[f"{name}_x0"], data[f"{name}_x"]
        nodes, parameters = x0.shape[1], {}
        if f"{name}_adjacency" in data:
            graph = Graph.from_adjacency(data[f"{name}_adjacency"])
        else:
            graph = Graph.from_adjacency(1 - np.eye(nodes, dtype=int))
        if kind == "kuramoto":
            parameters["frequency"] = data["omega"]
        if kind == "lorenz":
            parameters["coupling"] = data[f"{name}_H"].reshape(nodes, 3, nodes, 3)
        times = 0.05 * np.arange(expected.shape[1])
        solution = engine.integrate(system, x0, graph, parameters, times, 1e-12)
        error = np.abs(solution.x - expected)
        # Lorenz attractors part by e^(0.9 t): the same tolerance leaves more of a chaotic solution
        allowed = 1e-8 if kind == "lorenz" else 1e-9
        assert error.max() < allowed, (name, error.max())


@pytest.mark.parametrize("adjoint", ["interpolating", "backsolve", "gauss"])
@pytest.mark.slow
def test_golden_adjoints_of_sciml(adjoint: str, reference_dir: Path) -> None:
    """At 1e-9 the solver leaves about 1e-8 in states and a little more in gradients."""
    engine = engine_under_test("julia")
    patterns = ["mpnode_*mean*.npz", "node_controls0.npz", "l2s_*depth1_controls0.npz"]
    for pattern in patterns if adjoint == "interpolating" else patterns[:1]:
        for path in golden(reference_dir, pattern):
            if is_cut(path, load(path), "rollout_x", "loss"):
                skip_selection("no continuous solution")
            data, program, theta, batch, inputs = bound(
                engine, path, {"adjoint": adjoint, "tolerance": 1e-9}
            )
            rollout = program.rollout(theta, data["x0"], **inputs)
            np.testing.assert_allclose(rollout.state, data["rollout_x"], rtol=0, atol=1e-6)
            value, gradient = program.loss_and_gradient(theta, batch)
            assert abs(value / float(data["loss"]) - 1) < 1e-7, path.name
            for name, part in program.layout.unpack(gradient).items():
                expected = data[f"grad_{name}"]
                limit = (1e-3 if adjoint == "backsolve" else 1e-5) * max(
                    1.0, np.abs(expected).max()
                )
                np.testing.assert_allclose(
                    part, expected, rtol=0, atol=limit, err_msg=f"{path.name} {name}"
                )


# ---- beyond the golden files: the engines against each other ------------------------------------


def several(seed: int = 0, **changes: Any) -> tuple[ModelSpec, list[Arrays], Batch]:
    """Two datasets of different node counts, with controls, attributes, a mask and two graphs."""
    rng = np.random.default_rng(seed)
    spec = ModelSpec(channels=2, controls=1, attributes=1, message=3, hidden=8, **changes)
    datasets = []
    for nodes, count in ((5, 4), (3, 2)):
        pairs = rng.permutation(nodes * (nodes - 1))[: 2 * nodes]
        sender, receiver = pairs // (nodes - 1), pairs % (nodes - 1)
        receiver = receiver + (receiver >= sender)
        one = Graph.single(sender, receiver, nodes)
        two = Graph.single(np.array([0, 1]), np.array([1, 2]), nodes)
        x = rng.standard_normal((count, 7, nodes, 2))
        mask = rng.random(x.shape) < 0.8
        mask[:, :3] = True
        datasets.append(
            Arrays(
                np.where(mask, x, np.nan),
                0.1 * np.arange(7.0),
                Graph.union([one, two]),
                rng.integers(0, 2, count),
                rng.standard_normal((count, 7, nodes, 1)),
                rng.standard_normal((nodes, 1)),
                mask,
            )
        )
    return spec, datasets, Batch(np.array([4, 0, 3, 1]), np.array([0, 2, 1, 0]), 4)


VARIANTS = [
    {},
    {"messages": "zero", "first_message": "mlp"},
    {"messages": "emitted", "coupling": "superposed", "aggregation": "sum", "divisor": 2.5},
    {"messages": "self", "coupling": "superposed", "first_message": "linear"},
    {"solver": "tsit5", "substeps": 2, "depth": 3},
    {"family": "l2s", "depth": 2, "aggregation": "sum"},
]


@pytest.mark.parametrize("name", ENGINES[1:])
@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_engines_agree_on_options_without_golden_files(name: str, changes: dict) -> None:
    engine = engine_under_test(name)
    spec, datasets, batch = several(**changes)
    theta = layout_of(spec).initial(np.random.default_rng(1)) + 0.05
    torch = engine_under_test("torch").bind(spec, datasets, dtype="float64", kernel="eager")
    other = engine.bind(spec, datasets, dtype="float64")
    value, gradient = torch.loss_and_gradient(theta, batch)
    loss, slope = other.loss_and_gradient(theta, batch)
    assert abs(loss - value) < 1e-12 * max(1.0, abs(value))
    np.testing.assert_allclose(slope, gradient, rtol=0, atol=1e-12 * max(1, np.abs(gradient).max()))
    assert abs(other.loss(theta, batch) - value) < 1e-12 * max(1.0, abs(value))
    data = datasets[0]
    inputs = dict(graph_of=data.graph_of, u=data.u, attribute=data.attribute)
    uneven = np.array([0.0, 0.1, 0.15, 0.4])
    x0 = np.nan_to_num(data.x[:, 0])
    a = torch.rollout(theta, x0, data.graph, uneven, **inputs)
    b = other.rollout(theta, x0, data.graph, uneven, **inputs)
    np.testing.assert_allclose(b.state, a.state, rtol=0, atol=1e-12)
    np.testing.assert_allclose(b.message, a.message, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ENGINES[1:])
def test_a_neural_ode_of_the_whole_system(name: str) -> None:
    _, datasets, _ = several()
    data = datasets[0]
    spec = ModelSpec(family="node", channels=2, controls=1, attributes=1, hidden=8, bodies=5)
    theta = layout_of(spec).initial(np.random.default_rng(1))
    batch = Batch(np.array([0, 2]), np.array([1, 1]), 4)
    programs = [
        engine_under_test(each).bind(spec, [data], dtype="float64") for each in ("torch", name)
    ]
    (va, ga), (vb, gb) = (p.loss_and_gradient(theta, batch) for p in programs)
    assert abs(va - vb) < 1e-12
    np.testing.assert_allclose(gb, ga, rtol=0, atol=1e-12)
    x0, inputs = np.nan_to_num(data.x[:, 0]), dict(u=data.u, attribute=data.attribute)
    a, b = (p.rollout(theta, x0, data.graph, data.time, **inputs) for p in programs)
    np.testing.assert_allclose(b.state, a.state, rtol=0, atol=1e-12)
    assert b.message.shape == a.message.shape


@pytest.mark.parametrize("name", ENGINES[1:])
def test_an_asymmetric_array_keeps_its_axes(name: str) -> None:
    """Sizes all different, values that name their place: trajectory, time, node, feature."""
    engine = engine_under_test(name)
    shape = (2, 6, 3, 4)
    x = np.fromfunction(lambda b, t, k, i: 0.1 * b + 0.01 * t + 0.001 * k + 0.0001 * i, shape)
    graph = Graph.single(np.array([0, 1]), np.array([1, 2]), 3)
    spec = ModelSpec(channels=4, message=2, hidden=5)
    theta = np.zeros(layout_of(spec).size)  # nothing moves: a rollout stays at its start
    program = engine.bind(
        spec, [Arrays(x, np.arange(6.0), graph, np.zeros(2, np.int64))], dtype="float64"
    )
    states = program.rollout(theta, x[:, 0], graph, np.arange(6.0)).state
    np.testing.assert_array_equal(states, np.broadcast_to(x[:, :1], shape))
    batch = Batch(np.array([1]), np.array([2]), 3)
    moved = x[1, 3:6] - x[1, 2]
    assert program.loss(theta, batch) == pytest.approx(np.sum(moved**2) / 2 / 3, rel=1e-12)


@pytest.mark.parametrize("name", ENGINES[1:])
@pytest.mark.parametrize(
    "system",
    [
        "kuramoto",
        "kuramoto_controlled",
        "gene",
        "heat",
        "lorenz",
        "lorenz_diagonal",
        "coupled_pendulum",
    ],
)
def test_systems_agree_with_python(name: str, system: str) -> None:
    engine, kind = engine_under_test(name), get(system)
    rng = np.random.default_rng(3)
    nodes = 4
    sender = np.array([0, 1, 2, 3, 0, 2])  # directed, so that sender and receiver differ
    receiver = np.array([1, 2, 3, 0, 2, 1])
    if system == "lorenz_diagonal":
        sender = receiver = np.zeros(0, np.int64)
    graph = Graph.single(sender, receiver, nodes)
    parameters: dict[str, Any] = {}
    if system == "kuramoto":
        parameters["frequency"] = rng.standard_normal((nodes, 3))
    if system == "gene":
        parameters["decay"] = rng.uniform(0.5, 1.5, nodes)
    times = np.array([0.0, 0.05, 0.2, 0.3])
    x0 = np.array([kind.initial(rng, nodes) for _ in range(3)])
    extra = {}
    if kind.controls:
        extra["controls"] = np.array([kind.sample_controls(rng, nodes, times) for _ in range(3)])
    got = engine.integrate(kind, x0, graph, parameters, times, 1e-11, **extra)
    from pympnode.networks.integrate import integrate

    resolved = kind.resolve_parameters(parameters, graph)
    expected = integrate(kind.bind(graph, resolved), x0, times, rtol=1e-11, atol=1e-11, **extra)
    scale = max(1.0, np.abs(expected.x).max())
    np.testing.assert_allclose(got.x, expected.x, rtol=0, atol=1e-8 * scale)
    assert got.x.flags.c_contiguous and got.status.shape == (3,)


@pytest.mark.parametrize("name", ENGINES[1:])
def test_a_failed_solve_is_reported(name: str) -> None:
    from pympnode.errors import IntegrationFailed

    engine, system = engine_under_test(name), get("coupled_pendulum")
    graph = Graph.from_edges([(0, 1)], 2)
    x0 = np.array([[[0.1, 0.0], [0.2, 0.0]], [[1.5, 60.0], [1.5, 60.0]]])  # meets cos a = 0
    times = 0.05 * np.arange(41)
    with pytest.raises(IntegrationFailed, match="trajectory 1"):
        engine.integrate(system, x0, graph, {}, times, 1e-8)
    solution = engine.integrate(system, x0, graph, {}, times, 1e-8, check=False)
    assert solution.status.tolist() == [0, 1] and np.isfinite(solution.x[0]).all()


@pytest.mark.parametrize("name", ENGINES[1:])
def test_a_dead_worker_is_replaced_with_model_and_data(name: str) -> None:
    import os
    import signal
    import time

    engine = engine_under_test(name)
    spec, datasets, batch = several()
    theta = layout_of(spec).initial(np.random.default_rng(1))
    program = engine.bind(spec, datasets, dtype="float64")
    before = program.loss(theta, batch)
    os.kill(engine.client.pid, signal.SIGKILL)
    end = time.monotonic() + 20
    while engine.client.pid is not None and time.monotonic() < end:
        time.sleep(0.02)
    assert program.loss(theta, batch) == before


@pytest.mark.parametrize("name", ENGINES[1:])
def test_batches_are_checked_in_python(name: str) -> None:
    from pympnode.errors import InvalidOption

    spec, datasets, _ = several()
    program = engine_under_test(name).bind(spec, datasets, dtype="float64")
    theta = np.zeros(layout_of(spec).size)
    for trajectory, start, horizon in (([6], [0], 2), ([-1], [0], 2), ([0], [5], 2), ([0], [0], 0)):
        with pytest.raises(InvalidOption):
            program.loss(theta, Batch(np.array(trajectory), np.array(start), horizon))
    with pytest.raises(InvalidOption, match="theta"):
        program.loss(theta[1:], Batch(np.array([0]), np.array([0]), 2))
    uneven = replace(datasets[0], time=datasets[0].time ** 1.5)
    with pytest.raises(Exception, match="together"):
        engine_under_test("torch").bind(spec, [uneven]).loss(
            theta.astype("float32"), Batch(np.array([0, 1]), np.array([0, 1]), 2)
        )
