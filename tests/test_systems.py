"""Systems: fields against plain loops, parameters, registry."""

from __future__ import annotations

import numpy as np
import pytest

from pympnode.errors import InvalidOption, UnknownName
from pympnode.graph import Graph
from pympnode.networks.generate import generate
from pympnode.networks.graphs.instances import published_omega
from pympnode.networks.graphs.mersenne import uniform
from pympnode.networks.graphs.topology import resolve
from pympnode.networks.systems.lorenz import published_coupling
from pympnode.systems.base import Parameter, System, Variable
from pympnode.systems.registry import get, names, register

NODE_SYSTEMS = [name for name in names() if get(name).body == "node"]
PATH = Graph.from_edges([(0, 1), (1, 2), (2, 3)], 5)  # node 4 is isolated


def field_of(name, x, graph, overrides=None, u=None):
    system = get(name)
    parameters = system.resolve_parameters(overrides, graph)
    plain = system.field(0.0, x, u, graph, parameters)
    # memory in the integrator's order, and the prepared field
    reversed_memory = np.asfortranarray(x)
    bound = system.bind(graph, parameters)(0.0, reversed_memory, u)
    np.testing.assert_allclose(bound, plain, rtol=0, atol=1e-12 * np.abs(plain).max())
    assert plain.shape == x.shape
    return plain


def test_kuramoto_field_is_its_equation(rng):
    x = rng.uniform(-3, 3, (4, 5, 3))
    expected = np.tile(published_omega(), (4, 5, 1))
    for sender, receiver in zip(PATH.sender, PATH.receiver, strict=True):
        expected[:, receiver] += np.sin(x[:, sender] - x[:, receiver]) / 3
    np.testing.assert_allclose(field_of("kuramoto", x, PATH), expected, rtol=0, atol=1e-14)


def test_gene_field_is_its_equation(rng):
    x = rng.uniform(0, 50, (4, 5, 1))
    expected = -x.copy()
    for sender, receiver in zip(PATH.sender, PATH.receiver, strict=True):
        expected[:, receiver] += x[:, sender] ** 2 / (1 + x[:, sender] ** 2)
    np.testing.assert_allclose(field_of("gene", x, PATH), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("coupling", ["low", "medium", "high"])
def test_lorenz_field_is_its_equation(rng, coupling):
    x = rng.uniform(-20, 20, (4, 3, 3))
    graph = resolve("complete", 3)
    matrix = get("lorenz").resolve_parameters({"coupling": coupling}, graph)["coupling"]
    assert np.linalg.norm(matrix) == pytest.approx({"low": 0.01, "medium": 1, "high": 5}[coupling])
    a, b, c = np.moveaxis(x, -1, 0)
    own = np.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], axis=-1)
    pushed = np.einsum("ifjg,tjg->tif", matrix, x)
    result = field_of("lorenz", x, graph, {"coupling": coupling})
    np.testing.assert_allclose(result, own + pushed, rtol=0, atol=1e-11)


def test_lorenz_couples_only_along_edges_and_keeps_its_own_block(rng):
    x = rng.uniform(-1, 1, (2, 5, 3))
    full = rng.normal(size=(5, 3, 5, 3))
    joined = PATH.adjacency().T + np.eye(5)
    expected = np.einsum("ifjg,ij,tjg->tif", full, joined, x)
    coupled = field_of("lorenz", x, PATH, {"coupling": full})
    alone = field_of("lorenz", x, PATH, {"coupling": "none"})
    np.testing.assert_allclose(coupled - alone, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NODE_SYSTEMS)
def test_a_node_depends_on_others_only_where_coupled(name):
    system = get(name)
    nodes = system.default_nodes
    graph = resolve(system.default_topology, nodes, system=system)
    parameters = system.resolve_parameters(None, graph)
    x = system.initial(np.random.default_rng(1), nodes)[None]
    u = None
    if system.controls:
        u = np.zeros((1, nodes, len(system.controls)))
    moved = x.copy()
    moved[:, 0] += 0.1
    for variant, feels in ((system.uncoupled, False), (system, graph.edges > 0)):
        before = variant.field(0.0, x, u, graph, parameters)
        after = variant.field(0.0, moved, u, graph, parameters)
        assert np.any(before[:, 1:] != after[:, 1:]) == feels, variant.name
        assert np.all(np.isfinite(before))


@pytest.mark.parametrize("name", NODE_SYSTEMS)
def test_initial_states_lie_in_their_range_and_repeat(name):
    system = get(name)
    nodes = system.default_nodes
    first = system.initial(np.random.default_rng(5), nodes)
    assert first.shape == (nodes, system.features) and first.dtype == np.float64
    assert np.array_equal(first, system.initial(np.random.default_rng(5), nodes))
    for i, variable in enumerate(system.state):
        assert first[:, i].min() >= variable.start[0] and first[:, i].max() <= variable.start[1]


@pytest.mark.parametrize("name", NODE_SYSTEMS)
def test_observables_are_numbers_of_the_whole_state(name):
    system = get(name)
    graph = resolve(system.default_topology, system.default_nodes, system=system)
    parameters = system.resolve_parameters(None, graph)
    x = np.stack([system.initial(np.random.default_rng(i), system.default_nodes) for i in range(6)])
    x = x.reshape(2, 3, *x.shape[1:])
    for observable in system.observables.values():
        assert observable(x, graph, parameters).shape == (2, 3)


def test_order_parameter_is_one_in_synchrony_and_zero_when_spread():
    observable = get("kuramoto").observables["order_parameter"]
    same = np.full((4, 3), 0.7)
    spread = np.tile(np.arange(4)[:, None] * np.pi / 2, (1, 3))
    assert observable(same, None, {}) == pytest.approx(1.0)
    assert observable(spread, None, {}) == pytest.approx(0.0, abs=1e-15)


def test_mersenne_twister_gives_the_known_first_numbers_of_julia():
    # rand(MersenneTwister(42)) and its successors, as Julia prints them
    known = [0.5331830160438613, 0.4540291355871424, 0.017686826714964354, 0.17293302893695128]
    assert uniform(42, 4).tolist() == known
    assert np.array_equal(uniform(42, 1000)[:4], uniform(42, 4))  # past the first state too
    assert 0 <= uniform(7, 1000).min() and uniform(7, 1000).max() < 1


def test_a_single_attractor_has_no_coupling():
    assert not published_coupling(resolve("complete", 1), 5.0).any()


def test_parameters_may_be_changed_filled_and_shaped():
    system, graph = get("kuramoto"), resolve("BA", 10, graphs=2, system="kuramoto")
    filled = system.resolve_parameters({"frequency": 0.5}, graph)
    assert filled["frequency"].tolist() == [0.5] * 3
    by_node = system.resolve_parameters({"frequency": np.ones((10, 3))}, graph)
    assert system.parameter_dims("frequency", by_node["frequency"], graph) == ("node", "feature")
    assert system.attribute_array(by_node, graph).shape == (10, 3)
    assert system.attribute_array(filled, graph) is None
    by_graph = system.resolve_parameters({"frequency": [[1, 2, 3], [4, 5, 6]]}, graph)
    assert system.parameters_of_graph(by_graph, graph, 1)["frequency"].tolist() == [4, 5, 6]
    again = system.resolve_parameters(by_graph, graph)
    assert np.array_equal(again["frequency"], by_graph["frequency"])


@pytest.mark.parametrize(
    ("overrides", "error", "words"),
    [
        ({"frequncy": 1.0}, UnknownName, "'frequency'"),
        ({"frequency": [1.0, 2.0]}, InvalidOption, "wrong shape"),
        ({"frequency": [1.0, np.nan, 2.0]}, InvalidOption, "finite"),
        ({"frequency": "fast"}, UnknownName, "unknown value"),
        ({"frequency": [[1.0], [2.0, 3.0]]}, InvalidOption, "numbers"),
        ({"coupling": np.ones(3)}, InvalidOption, "wrong shape"),
    ],
)
def test_wrong_parameters_are_refused(overrides, error, words):
    with pytest.raises(error, match=words):
        get("kuramoto").resolve_parameters(overrides, resolve("path", 10))
    with pytest.raises(UnknownName, match="'medium'"):
        get("lorenz").resolve_parameters({"coupling": "medum"}, resolve("complete", 3))


class Decay(System):
    name = "decay"
    state = (Variable("amount", "mol"),)
    parameters = {"rate": Parameter(2.0)}  # noqa: RUF012

    def field(self, t, x, u, graph, parameters):
        return -parameters["rate"] * x


def test_registry_suggests_registers_and_refuses(monkeypatch):
    from pympnode.systems import registry

    monkeypatch.setattr(registry, "_REGISTERED", {})
    with pytest.raises(UnknownName, match="'kuramoto'"):
        get("kuramotto")
    with pytest.raises(InvalidOption):
        get(3)
    decay = Decay()
    assert get(decay) is decay and isinstance(get(Decay), Decay)
    assert register(decay) is decay and get("decay") is decay and "decay" in names()
    with pytest.raises(InvalidOption, match="already"):
        register(Decay)
    register(Decay, replace=True)
    assert get("decay") is not decay
    with pytest.raises(InvalidOption, match="already"):
        register(type("Other", (Decay,), {"name": "gene"}))
    with pytest.raises(InvalidOption, match="name"):
        register(System())


def test_heat_is_conserved_and_evens_out():
    graph = resolve("BA", 16, system="gene")
    made = generate("heat", graph, None, 4, steps=200, dt=0.1)
    total = made.x.sum(axis=(2, 3))
    # every Runge-Kutta step keeps a linear invariant to rounding, about 16 * 50 * eps a stage
    assert np.abs(total - total[:, :1]).max() < 1e-9
    laplacian = np.diag(graph.in_degree) - graph.adjacency()
    slowest = np.linalg.eigvalsh(laplacian)[1] / graph.mean_degree
    away = np.linalg.norm(made.x - made.x.mean(axis=2, keepdims=True), axis=(2, 3))
    assert np.all(away <= away[:, :1] * np.exp(-slowest * made.time) + 1e-5)
    assert made.parameters["diffusivity"] == 1 / graph.mean_degree


def test_a_single_pendulum_keeps_its_energy():
    made = generate("pendulum", resolve("none", 1), None, 8, steps=200)
    energy = get("pendulum").observables["energy"](made.x, made.graph, made.parameters)
    # 200 steps of at most 1e-8 in the state, times the slope of the energy (about 30 J a radian)
    assert np.abs(energy - energy[:, :1]).max() < 200 * 1e-8 * 30


def test_coupled_pendulum_is_the_published_balance(rng):
    x = rng.uniform(-0.7, 0.7, (5, 2, 2))
    (a, b), (va, vb) = x[..., 0].T, x[..., 1].T
    m, length, k, g = 1.0, 1.5, 2.0, 9.81

    def acceleration(own, v, other):
        force = np.sin(own) * (m * (length * v**2 - g) - k * length) + k * length * np.sin(other)
        return force / (m * length * np.cos(own))

    expected = np.stack(
        [np.stack([va, acceleration(a, va, b)], 1), np.stack([vb, acceleration(b, vb, a)], 1)], 1
    )
    result = field_of("coupled_pendulum", x, resolve("path", 2))
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-13)


def test_diagonal_lorenz_gains_its_own_state(rng):
    x = rng.uniform(-1, 1, (2, 3, 3))
    graph = resolve("none", 3)
    plain = field_of("lorenz", x, graph, {"coupling": "none"})
    np.testing.assert_allclose(field_of("lorenz_diagonal", x, graph) - plain, x, atol=1e-13)


def test_controlled_kuramoto_adds_its_input_to_every_phase(rng):
    x, u = rng.uniform(-1, 1, (2, 5, 3)), rng.normal(size=(2, 5, 1))
    with_input = field_of("kuramoto_controlled", x, PATH, u=u)
    np.testing.assert_allclose(with_input - field_of("kuramoto", x, PATH), 0 * x + u, atol=1e-14)
    times = np.arange(51) * 0.05
    drawn = get("kuramoto_controlled").sample_controls(rng, 1000, times)
    assert drawn.shape == (51, 1000, 1) and np.abs(drawn).max() < 0.5 + 3 * 0.75
    assert np.abs(drawn.mean()) < 0.1 and np.abs(np.diff(drawn, axis=0)).max() < 3 * 0.75 * 6 * 0.05


def test_hot_spots_are_three_rectangles_on_the_grid():
    for nodes in (16, 64):
        for seed in range(20):
            x = get("gene_hot_spots").initial(np.random.default_rng(seed), nodes)
            values = np.unique(x[x > 0])
            assert x.shape == (nodes, 1) and 1 <= values.size <= 3
            assert values.min() >= 30 and values.max() <= 50
            assert (x > 0).sum() <= nodes / 2


def test_phase_difference_is_wrapped():
    graph = resolve("path", 2)
    x = np.array([[0.1, 0.0, 3.0], [2 * np.pi - 0.1, 0.5, -3.0]])
    value = get("kuramoto").observables["phase_difference"](x, graph, {})
    assert value == pytest.approx((0.2 + 0.5 + 2 * np.pi - 6.0) / 3)


def test_nodes_and_graphs_may_differ():
    system, five = get("kuramoto"), resolve("BA", 10, graphs=5, system="kuramoto")
    own = system.resolve_parameters({"frequency": "per_graph"}, five)
    for i in range(5):
        assert np.array_equal(
            system.parameters_of_graph(own, five, i)["frequency"], published_omega(i + 1)
        )
    square = resolve("BA", 5, graphs=5, system="kuramoto")  # as many graphs as nodes
    own = system.resolve_parameters({"frequency": "per_graph"}, square)
    assert np.ptp(system.parameters_of_graph(own, square, 3)["frequency"], axis=0).max() == 0
    with pytest.raises(InvalidOption, match="five"):
        system.resolve_parameters({"frequency": "per_graph"}, resolve("path", 4, graphs=6))
    each = system.resolve_parameters({"frequency": "heterogeneous"}, PATH)
    assert system.attribute_array(each, PATH).shape == (5, 3)
    x = np.zeros((1, 5, 3))
    assert np.array_equal(system.field(0, x, None, PATH, each)[0], each["frequency"])
    gene = get("gene")
    decay = gene.resolve_parameters({"decay": "heterogeneous"}, PATH)
    assert gene.attribute_array(decay, PATH).shape == (5, 1)
    alone = gene.field(0, np.ones((1, 5, 1)), None, PATH.without_edges, decay)
    assert np.array_equal(alone[0, :, 0], -decay["decay"])
