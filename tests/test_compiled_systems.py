"""The compiled solver of shipped systems against the solver in NumPy, and what it promises."""

from __future__ import annotations

import numpy as np
import pytest

from pympnode.errors import IntegrationFailed
from pympnode.graph import Graph
from pympnode.networks.compiled.solve import compiled_field, solve
from pympnode.networks.generate import block_size, generate
from pympnode.networks.graphs.topology import resolve
from pympnode.networks.integrate import integrate
from pympnode.networks.systems.kuramoto import Kuramoto
from pympnode.systems.registry import get

SYSTEMS = [
    "kuramoto", "kuramoto_controlled", "gene", "gene_hot_spots", "lorenz", "lorenz_diagonal", "heat",
    "swing", "fitzhugh_nagumo", "rossler", "sis",
]  # fmt: skip


def graph_of(name: str, nodes: int, weighted: bool) -> Graph:
    graph = resolve("WS", nodes, system=name)
    if not weighted:
        return graph
    weight = np.random.default_rng(3).uniform(0.2, 1.5, graph.edges)
    if name.startswith("gene"):
        weight[::3] *= -1
    return graph.with_weight(weight)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", SYSTEMS)
def test_it_agrees_with_the_solver_in_numpy(name: str, weighted: bool) -> None:
    graph = graph_of(name, 9, weighted)
    parameters = {"power_spread": 0.4} if name == "swing" else None
    ours, reference = (
        generate(name, graph, parameters, 5, seed=2, steps=8, tolerance=1e-11, compiled=compiled)
        for compiled in (True, False)
    )
    assert ours.method != reference.method
    np.testing.assert_allclose(ours.x, reference.x, rtol=1e-8, atol=1e-8)
    assert np.array_equal(ours.x[:, 0], reference.x[:, 0])


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("kuramoto", {"frequency": "heterogeneous", "coupling": 0.7}),
        ("gene", {"decay": "heterogeneous", "coupling": 1.4}),
        ("lorenz", {"coupling": "high", "rho": 20.0}),
        ("swing", {"inertia": np.linspace(0.5, 2, 8), "damping": 0.3}),
        ("fitzhugh_nagumo", {"current": np.linspace(0, 1, 8), "a": 0.6}),
        ("rossler", {"frequency": np.linspace(0.9, 1.1, 8), "c": 5.0}),
        ("sis", {"infection": np.linspace(0.1, 1, 8), "mobility": 0.2}),
        ("heat", {"diffusivity": 0.9}),
    ],
)
def test_parameters_enter_as_in_numpy(name: str, parameters: dict) -> None:
    graph = graph_of(name, 8, False)
    ours, reference = (
        generate(name, graph, parameters, 3, steps=6, tolerance=1e-11, compiled=compiled)
        for compiled in (True, False)
    )
    np.testing.assert_allclose(ours.x, reference.x, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_trajectory_has_the_same_bits_in_any_company(name: str) -> None:
    graph = graph_of(name, 7, False)
    many = generate(name, graph, None, 21, seed=5, steps=7)
    for first, count in ((0, 1), (3, 2), (4, 11)):
        part = generate(name, graph, None, count, seed=5, steps=7, first=first)
        assert np.array_equal(part.x, many.x[first : first + count])


def test_one_lane_and_eight_have_the_same_bits() -> None:
    rng = np.random.default_rng(0)
    for name, nodes in (("kuramoto", 11), ("gene", 37), ("lorenz", 5), ("swing", 10)):
        system, graph = get(name), graph_of(name, nodes, True)
        field = compiled_field(system, graph, system.resolve_parameters(None, graph))
        x0 = np.stack([system.initial(rng, nodes) for _ in range(10)])
        times = np.array([0.0, 0.03, 0.31, 0.9])
        eight, one = (solve(field, x0, times, lanes=lanes) for lanes in (8, 1))
        assert np.array_equal(eight.x, one.x), name
        assert (eight.evaluations, eight.steps) == (one.evaluations, one.steps)


def test_it_is_as_accurate_as_the_tolerance() -> None:
    graph = resolve("BA", 10, system="kuramoto")
    truth = generate("kuramoto", graph, None, 20, tolerance=1e-13, compiled=False).x
    reference = generate("kuramoto", graph, None, 20, compiled=False).x
    ours = generate("kuramoto", graph, None, 20).x
    assert np.abs(ours - truth).max() < 2 * np.abs(reference - truth).max() < 1e-6


def test_steps_are_those_of_the_solver_in_numpy() -> None:
    graph = resolve("BA", 10, system="kuramoto")
    system = get("kuramoto")
    parameters = system.resolve_parameters(None, graph)
    x0, times = system.initial(np.random.default_rng(1), 10)[None], np.linspace(0, 3, 4)
    ours = solve(compiled_field(system, graph, parameters), x0, times)
    # Half the tolerance: 2^(1/8) more steps.
    reference = integrate(system.bind(graph, parameters), x0, times)
    assert reference.steps <= ours.steps <= np.ceil(1.2 * reference.steps) + 1
    evaluations = 12 * (ours.steps + ours.rejected) + 2
    assert evaluations <= ours.evaluations <= evaluations + 3 * (times.size - 1)


def test_large_phases_are_reduced() -> None:
    graph = resolve("ring", 5)
    x0 = np.random.default_rng(0).uniform(-3, 3, (3, 5, 3))
    turned = x0 + 2 * np.pi * 1e5
    near, far = (generate("kuramoto", graph, None, 3, initial=x, steps=5).x for x in (x0, turned))
    np.testing.assert_allclose(far - 2 * np.pi * 1e5, near, rtol=0, atol=1e-6)


def test_failures_are_named_and_harm_nobody_else() -> None:
    graph = resolve("ring", 4)
    system = get("fitzhugh_nagumo")
    field = compiled_field(system, graph, system.resolve_parameters(None, graph))
    x0 = np.random.default_rng(0).uniform(-1, 1, (12, 4, 2))
    x0[5, 2, 0] = 1e200  # its cube overflows
    times = np.linspace(0, 2, 5)
    solution = solve(field, x0, times)
    assert solution.status.tolist() == [int(i == 5) for i in range(12)]
    bad = solution.failures[0]
    assert (bad.trajectory, bad.node, bad.feature, bad.time) == (5, 2, 0, 0.0)
    assert "not finite" in bad.reason and np.isnan(solution.x[5, 1:]).all()
    others = np.delete(np.arange(12), 5)
    assert np.array_equal(solution.x[others], solve(field, x0[others], times).x)
    with pytest.raises(IntegrationFailed, match="trajectory 5, node 2, feature 0, time 0"):
        generate("fitzhugh_nagumo", graph, None, 12, initial=x0, steps=4)
    few = solve(field, x0[:2], np.array([0.0, 500.0]), max_steps=7)
    assert few.status.tolist() == [1, 1] and "more than 7 steps" in few.failures[0].reason


def test_blow_up_ends_at_its_time() -> None:
    graph = resolve("none", 2)
    system = get("sis")
    parameters = system.resolve_parameters({"infection": 5.0}, graph)
    x0 = np.full((3, 2, 1), -1.0)
    x0[1] = 0.5
    times = np.linspace(0, 1, 21)  # negative shares are infinite at t = ln(2) / 5, about
    solution = solve(compiled_field(system, graph, parameters), x0, times)
    reference = integrate(system.bind(graph, parameters), x0, times, check=False)
    assert solution.status.tolist() == reference.status.tolist() == [1, 0, 1]
    assert solution.failures[0].time == pytest.approx(reference.failures[0].time, abs=1e-3)
    assert solution.failures[0].reason == reference.failures[0].reason
    assert np.array_equal(np.isnan(solution.x), np.isnan(reference.x))


def test_a_field_of_ones_own_is_not_replaced() -> None:
    class Still(Kuramoto):
        def field(self, t, x, u, graph, parameters):
            return np.zeros_like(x)

    made = generate(Still(), resolve("ring", 4), None, 2, steps=3)
    assert np.array_equal(made.x[:, -1], made.x[:, 0])
    patched = Kuramoto()
    patched.field = lambda t, x, u, graph, parameters: np.zeros_like(x)  # type: ignore[method-assign]
    made = generate(patched, resolve("ring", 4), None, 2, steps=3)
    assert np.array_equal(made.x[:, -1], made.x[:, 0])


def test_blocks_of_the_solver_in_numpy_shrink() -> None:
    assert block_size(10, 3, 51) == 64 and block_size(100_000, 3, 51) == 1
    assert block_size(10, 3, 100_001) == 1
    sizes = [block_size(n, 1, 51) for n in (10, 1000, 3000, 10_000, 10**7)]
    assert sizes == sorted(sizes, reverse=True)
    graph = resolve("WS", 600, system="heat")
    many = generate("heat", graph, None, 20, steps=3, compiled=False)
    few = generate("heat", graph, None, 3, steps=3, compiled=False, first=9)
    assert block_size(600, 1, 4) < 64 and np.array_equal(few.x, many.x[9:12])
