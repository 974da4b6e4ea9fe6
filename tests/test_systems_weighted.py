"""Systems on weighted networks: swing, FitzHugh-Nagumo, Rössler, SIS, diffusion, repressed genes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import pympnode
from pympnode.errors import InvalidData, InvalidGraph, InvalidOption
from pympnode.graph import Graph
from pympnode.networks.generate import generate
from pympnode.networks.graphs.topology import resolve
from pympnode.systems.base import System
from pympnode.systems.registry import get, names

NEW = ("swing", "fitzhugh_nagumo", "rossler", "sis")
ALL = (*NEW, "kuramoto", "gene", "heat", "coupled_pendulum", "lorenz")
PAIRS = [(0, 1), (1, 2), (2, 3), (3, 0), (4, 2), (2, 0), (0, 3)]
WEIGHT = np.array([0.5, 2.0, 1.0, 0.25, 3.0, 0.75, 1.5])
DIRECTED = Graph.from_edges(PAIRS, 6, directed=True, weight=WEIGHT)  # node 5 is isolated
SIGNED = Graph.from_edges(PAIRS, 6, directed=True, weight=WEIGHT * [1, -1, 1, -1, -1, 1, 1])


def states(system: System, nodes: int, trajectories: int = 3) -> np.ndarray:
    return np.array([system.initial(np.random.default_rng(i), nodes) for i in range(trajectories)])


def transcribed(name: str, x: np.ndarray, graph: Graph, p: dict[str, Any]) -> np.ndarray:
    """The fields as their papers have them, a node and an edge at a time; x (node, feature)."""
    edges = list(zip(graph.sender.tolist(), graph.receiver.tolist(), graph.weight_or_ones))
    nodes = len(x)

    def of(parameter: str, i: int) -> float:
        return float(np.broadcast_to(p[parameter], nodes)[i])

    rows = []
    for i in range(nodes):
        into = [(j, w) for j, k, w in edges if k == i]
        if name == "swing":
            theta, omega = x[i]
            lines = sum(w * math.sin(x[j, 0] - theta) for j, w in into)
            torque = of("power", i) - of("damping", i) * omega + p["coupling"] * lines
            rows.append([omega, torque / of("inertia", i)])
        elif name == "fitzhugh_nagumo":
            v, w_ = x[i]
            flow = sum(w * (x[j, 0] - v) for j, w in into)
            rows.append(
                [
                    v - v * v * v / 3 - w_ + of("current", i) + p["coupling"] * flow,
                    p["rate"] * (v + p["a"] - p["b"] * w_),
                ]
            )
        elif name == "rossler":
            a, b, c = x[i]
            turn = of("frequency", i)
            flow = sum(w * (x[j, 0] - a) for j, w in into)
            rows.append(
                [
                    -turn * b - c + p["coupling"] * flow,
                    turn * a + p["a"] * b,
                    p["b"] + c * (a - p["c"]),
                ]
            )
        elif name == "sis":
            share = x[i, 0]
            flow = sum(w * (x[j, 0] - share) for j, w in into)
            rows.append(
                [
                    of("infection", i) * share * (1 - share)
                    - of("recovery", i) * share
                    + p["mobility"] * flow
                ]
            )
        elif name == "gene":
            made = 0.0
            for j, w in into:
                square = x[j, 0] ** 2
                made += w * square / (1 + square) if w > 0 else -w / (1 + square)
            rows.append([p["coupling"] * made - of("decay", i) * x[i, 0]])
        else:
            raise AssertionError(name)
    return np.array(rows)


BY_NODE: dict[str, dict[str, Any]] = {
    "swing": {
        "power": [1.0, -2.0, 0.5, 0.5, 1.0, -1.0],
        "inertia": [1.0, 2.0, 0.5, 1.5, 1.0, 3.0],
        "damping": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
    },
    "fitzhugh_nagumo": {"current": [0.5, 0.1, 0.0, 0.7, 0.4, 0.3], "coupling": 0.4},
    "rossler": {"frequency": [1.0, 0.9, 1.1, 1.05, 0.95, 1.2], "coupling": 0.3},
    "sis": {"infection": [0.5, 0.1, 0.9, 0.3, 0.2, 0.4], "recovery": [0.1] * 5 + [0.3]},
    "gene": {"decay": [0.5, 1.0, 1.5, 2.0, 0.7, 0.9]},
}


@pytest.mark.parametrize("given", [None, "by node"])
@pytest.mark.parametrize("name", BY_NODE)
def test_fields_are_their_equations(name: str, given: str | None) -> None:
    system, graph = get(name), DIRECTED if name == "sis" else SIGNED
    p = system.resolve_parameters(BY_NODE[name] if given else None, graph)
    x = states(system, 6) + 0.1
    found = system.field(0.0, x, None, graph, p)
    assert found.shape == x.shape
    for one, rate in zip(x, found):
        np.testing.assert_allclose(rate, transcribed(name, one, graph, p), rtol=1e-12, atol=1e-12)
    # memory in the order of the integrator
    np.testing.assert_allclose(
        system.field(0.0, np.asfortranarray(x), None, graph, p), found, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("name", ALL)
def test_a_weight_of_one_is_no_weight_and_zero_is_no_edge(name: str) -> None:
    system = get(name)
    nodes = system.default_nodes if name == "coupled_pendulum" else 6
    pairs = [(0, 1), (1, 0)] if nodes == 2 else PAIRS
    plain = Graph.from_edges(pairs, nodes, directed=True)
    x = states(system, nodes)
    # a parameter that follows from the mean degree must not differ between the graphs
    p = system.resolve_parameters(None, plain)

    def field(graph: Graph) -> np.ndarray:
        return system.field(0.0, x, None, graph, p)

    ones = plain.with_weight(np.ones(plain.edges))
    np.testing.assert_allclose(field(ones), field(plain), rtol=1e-13, atol=1e-12)
    removed = np.arange(plain.edges) % 2 == 0
    zeros = plain.with_weight(np.where(removed, 0.0, 1.0))
    fewer = plain.select_edges(np.flatnonzero(~removed))
    np.testing.assert_allclose(field(zeros), field(fewer), rtol=1e-13, atol=1e-12)
    assert np.abs(field(zeros) - field(plain)).max() > 1e-6
    doubled = field(plain.with_weight(np.full(plain.edges, 2.0)))
    alone = field(plain.with_weight(np.zeros(plain.edges)))
    np.testing.assert_allclose(doubled - alone, 2 * (field(plain) - alone), atol=1e-11)


@pytest.mark.parametrize("name", NEW)
def test_names_of_nodes_do_not_matter(name: str) -> None:
    system, order = get(name), np.array([3, 0, 5, 1, 4, 2])
    x, p = states(system, 6), get(name).resolve_parameters(BY_NODE[name], DIRECTED)
    moved = DIRECTED.renumbered(np.argsort(order))
    q = {key: value[order] if np.ndim(value) else value for key, value in p.items()}
    np.testing.assert_allclose(
        system.field(0.0, x[:, order], None, moved, q),
        system.field(0.0, x, None, DIRECTED, p)[:, order],
        rtol=1e-13,
        atol=1e-13,
    )


@pytest.mark.parametrize("name", NEW)
def test_large_graphs_give_the_same(name: str) -> None:
    """Above 256 nodes the sums over neighbours are sparse; their cost is that of the edges."""
    system, nodes = get(name), 300
    graph = resolve(("WS", {"k": 4, "beta": 0.5}), nodes, graph_seed=1)
    graph = graph.with_weight(np.random.default_rng(0).uniform(0.5, 2.0, graph.edges))
    assert not isinstance(graph.matrix, np.ndarray)
    x, p = states(system, nodes, 1), system.resolve_parameters(None, graph)
    np.testing.assert_allclose(
        system.field(0.0, x, None, graph, p)[0],
        transcribed(name, x[0], graph, p),
        rtol=1e-11,
        atol=1e-11,
    )


@pytest.mark.parametrize("name", NEW)
def test_default_simulations_move_stay_finite_and_are_not_stiff(name: str) -> None:
    system = get(name)
    ds = pympnode.simulate(name, trajectories=32)
    x = ds.state.values
    assert x.shape == (32, system.steps + 1, system.default_nodes, system.features)
    assert list(ds.unit.values) == [v.unit for v in system.state]
    scale = x.std(axis=(0, 1, 2))
    steps = np.abs(np.diff(x, axis=1)).mean(axis=(0, 1, 2)) / scale
    # The states change over the simulated time, and little enough in one step to be resolved.
    assert np.all(steps < 0.3) and np.all(steps * system.steps > 1), steps
    # 8th order at steps of dt: some ten evaluations an interval, hundreds where a field is stiff
    graph = resolve(system.default_topology, system.default_nodes, system=system)
    made = generate(system, graph, None, 64)
    assert made.evaluations / 64 < 60 * system.steps
    again = pympnode.simulate(name, trajectories=4)
    np.testing.assert_array_equal(again.state.values, x[:4])
    assert name in names()


# ---- what is conserved ----------------------------------------------------------------------------


def conductances(nodes: int = 12) -> Graph:
    graph = resolve(("WS", {"k": 4, "beta": 0.3}), nodes, graph_seed=3)
    weight = np.random.default_rng(1).uniform(0.2, 3.0, (nodes, nodes))
    return graph.with_weight((weight + weight.T)[graph.sender, graph.receiver])


def test_diffusion_on_conductances_keeps_the_sum() -> None:
    graph = conductances()
    made = generate("diffusion", graph, None, 4, steps=100)
    total = made.x.sum(axis=(2, 3))
    assert np.abs(total - total[:, :1]).max() < 1e-9
    assert np.ptp(made.x[:, -1], axis=1).max() < 0.5 * np.ptp(made.x[:, 0], axis=1).min()
    one_way = generate("heat", DIRECTED, None, 4, steps=100)
    assert np.ptp(one_way.x.sum(axis=(2, 3)), axis=1).max() > 1.0


def test_diffusion_is_another_name_of_heat() -> None:
    ds = pympnode.simulate("diffusion", nodes=4, topology="ring", trajectories=8, steps=3)
    assert ds.equals(pympnode.simulate("heat", nodes=4, topology="ring", trajectories=8, steps=3))
    assert "diffusion" not in names() and get("diffusion").name == "heat"
    result = pympnode.train("diffusion", data=ds, epochs=1, kernel="eager", progress=False)
    assert result.model.system == "heat"


def test_travel_alone_keeps_the_infected_and_shares_stay_shares() -> None:
    graph = conductances()
    none = {"infection": 0.0, "recovery": 0.0}
    made = generate("sis", graph, none, 4)
    total = made.x.sum(axis=(2, 3))
    assert np.abs(total - total[:, :1]).max() < 1e-9
    start = np.random.default_rng(0).integers(0, 2, (16, 12, 1)).astype(float)
    spread = generate("sis", graph, {"mobility": 1.0}, 16, initial=start)
    assert spread.x.min() >= -1e-9 and spread.x.max() <= 1 + 1e-9
    # the endemic share 1 - recovery / infection
    late = generate("sis", graph, None, 2, steps=400, dt=0.5)
    np.testing.assert_allclose(late.x[:, -1], 0.6, atol=1e-6)


def test_rates_of_mobility_are_not_negative() -> None:
    with pytest.raises(InvalidGraph, match="rates of mobility") as caught:
        pympnode.simulate("sis", topology=SIGNED, trajectories=2)
    assert caught.value.allowed and caught.value.fix and "3 of 7" in str(caught.value.got)
    with pytest.raises(InvalidGraph, match="rates of mobility"):
        pympnode.couple(["sis"] * 6, SIGNED)


def test_a_grid_without_power_rests() -> None:
    graph, system = conductances(), get("swing")
    p = system.resolve_parameters({"power": 0.0}, graph)
    x = np.zeros((1, 12, 2))
    x[..., 0] = 0.7  # any common angle
    assert np.abs(system.field(0.0, x, None, graph, p)).max() < 1e-13
    made = generate("swing", graph, {"power": 0.0, "damping": 1.0}, 4, steps=800)
    assert np.abs(made.x[:, -1, :, 1]).max() < 1e-5


def test_energy_of_a_grid_falls_by_its_damping_alone() -> None:
    graph, system = conductances(), get("swing")
    still = generate(system, graph, {"damping": 0.0}, 4)
    energy = system.observables["energy"](still.x, graph, still.parameters)
    # 60 intervals of at most 1e-8 in each of 24 numbers, times the slope of the energy (below 200)
    assert np.abs(energy - energy[:, :1]).max() < 60 * 24 * 200 * 1e-8
    inertia = np.linspace(0.5, 2.0, 12)
    made = generate(system, graph, {"damping": 0.3, "inertia": inertia}, 4, steps=2000, dt=0.002)
    energy = system.observables["energy"](made.x, graph, made.parameters)
    lost = 0.3 * (made.x[..., 1] ** 2).sum(axis=-1)
    trapezoids = 0.002 * 0.5 * (lost[:, 1:] + lost[:, :-1]).sum(axis=1)
    np.testing.assert_allclose(energy[:, 0] - energy[:, -1], trapezoids, rtol=1e-3)


def test_power_is_balanced() -> None:
    for nodes in (6, 7):
        power = get("swing").resolve_parameters(None, resolve("ring", nodes))["power"]
        assert power.sum() == 0 and np.abs(power).sum() == 2 * (nodes // 2)


def test_repressed_genes_stay_positive_and_differ_from_activated_ones() -> None:
    made = generate("gene", SIGNED, None, 8, steps=200)
    assert made.x.min() >= 0
    # a node that only node 1 represses: w / (1 + x_1^2) / decay in the steady state
    x = made.x[:, -1, :, 0]
    alone = Graph.from_edges([(0, 1)], 2, directed=True, weight=[-2.0])
    p = get("gene").resolve_parameters(None, alone)
    rate = get("gene").field(0.0, np.array([[[3.0], [0.0]]]), None, alone, p)
    assert rate[0, :, 0].tolist() == [-3.0, pytest.approx(2.0 / 10.0)]
    assert np.all(np.isfinite(x))


# ---- drawn weights ----------------------------------------------------------------------------------

SIZE: dict[str, Any] = dict(nodes=8, trajectories=2, steps=2)


def weights_of(**keywords: Any) -> np.ndarray:
    ds = pympnode.simulate("heat", topology="WS", **SIZE, **keywords)
    return ds.edge_weight.values


def test_weights_are_drawn_by_the_seed_of_the_graph() -> None:
    one = weights_of(edge_weight=(0.5, 2.0), graph_seed=3)
    assert np.array_equal(one, weights_of(edge_weight=(0.5, 2.0), graph_seed=3, seed=5))
    assert one.min() >= 0.5 and one.max() <= 2.0 and np.unique(one).size == one.size // 2
    other = weights_of(edge_weight=(0.5, 2.0), graph_seed=4)
    assert other.shape != one.shape or not np.array_equal(one, other)
    ds = pympnode.simulate("heat", topology="WS", edge_weight=(0.5, 2.0), graph_seed=3, **SIZE)
    graph = pympnode.networks.schema.graphs_of(ds)[0]
    assert graph.same(graph.reversed())  # conductances: equal in both directions
    assert "U(0.5, 2) of seed 3" in graph_source(ds)
    bare = pympnode.simulate("heat", topology="WS", graph_seed=3, **SIZE)
    assert np.array_equal(ds.sender, bare.sender) and np.array_equal(ds.receiver, bare.receiver)


def graph_source(ds: Any) -> str:
    from pympnode.datasets.record import record

    return " ".join(record(ds)["topology"])


def test_a_function_draws_each_edge_of_each_graph() -> None:
    calls = []

    def signs(rng: Any, sender: np.ndarray, receiver: np.ndarray) -> np.ndarray:
        calls.append(len(sender))
        assert sender.max() < 8 and receiver.max() < 8
        return np.where(rng.random(len(sender)) < 0.3, -1.0, 1.0) * (1 + sender)

    ds = pympnode.simulate("gene", topology="ER", graphs=3, edge_weight=signs, **SIZE)
    assert sum(calls) == ds.sizes["edge"] and len(calls) == 3
    np.testing.assert_array_equal(np.abs(ds.edge_weight), 1 + ds.sender)
    assert (ds.edge_weight < 0).any()


@pytest.mark.parametrize(
    ("topology", "edge_weight", "error"),
    [
        ("ring", (2.0, 1.0), InvalidOption),
        ("ring", (0.0, np.inf), InvalidOption),
        ("ring", 3.0, InvalidOption),
        ("ring", "many", InvalidOption),
        ("ring", lambda rng, sender, receiver: np.ones(3), InvalidGraph),
        ("ring", lambda rng, sender, receiver: np.full(len(sender), np.nan), InvalidGraph),
        (DIRECTED, (0.5, 2.0), InvalidOption),
    ],
)
def test_wrong_weights_are_refused(topology: Any, edge_weight: Any, error: type) -> None:
    with pytest.raises(error) as caught:
        pympnode.simulate(
            "heat", nodes=6, topology=topology, edge_weight=edge_weight, trajectories=2, steps=2
        )
    assert caught.value.got and caught.value.allowed


def test_training_draws_them_and_tests_on_them(tmp_path: Any) -> None:
    result = pympnode.train(
        "swing", nodes=5, topology="ring", edge_weight=(0.5, 2.0), trajectories=8, steps=4,
        epochs=1, kernel="eager", progress=False, run=tmp_path / "run",
    )  # fmt: skip
    low, high = result.model.trained.weight
    assert 0.5 <= low < high <= 2.0
    test = result.test_set(trajectories=3)
    assert (float(test.edge_weight.min()), float(test.edge_weight.max())) == (low, high)
    assert "energy" in result.evaluate(trajectories=3).observable.values
    with pytest.raises(InvalidOption, match="edge_weight says how to simulate"):
        pympnode.train(data=test, edge_weight=(0.5, 2.0))


# ---- own systems --------------------------------------------------------------------------------------


def conducted(
    t: float, x: Any, u: Any, graph: Graph, parameters: Any, edge_weight: Any, edge_attribute: Any
) -> Any:
    limit = edge_attribute[:, 0, None]
    flow = (
        edge_weight[:, None] * limit * np.tanh((x[:, graph.sender] - x[:, graph.receiver]) / limit)
    )
    out = np.zeros_like(x)
    np.add.at(out, (slice(None), graph.receiver), flow)
    return out


HELD = Graph.from_edges(
    PAIRS, 6, directed=True, weight=WEIGHT, attribute=1 + WEIGHT[:, None], attribute_names=["limit"]
)


def test_a_field_gets_weights_and_attributes_of_edges() -> None:
    system = pympnode.own_system("limited", conducted, ["v"])
    ds = pympnode.simulate(system, topology=HELD, trajectories=2, steps=3)
    np.testing.assert_array_equal(ds.edge_weight, HELD.weight)
    np.testing.assert_array_equal(ds.edge_attribute, HELD.attribute)
    assert ds.edge_feature.values.tolist() == ["limit"]
    x, p = ds.state.values[:, 0], {}
    expected = np.zeros_like(x)
    for (j, k), w in zip(PAIRS, WEIGHT):
        expected[:, k] += w * (1 + w) * np.tanh((x[:, j] - x[:, k]) / (1 + w))
    np.testing.assert_allclose(system.field(0.0, x, None, HELD, p), expected, atol=1e-13)
    assert not system.uncoupled_field(0.0, x, None, HELD, p).any()

    def one(t: Any, x: Any, u: Any, graph: Any, parameters: Any, edge_weight: Any) -> Any:
        return conducted(t, x[None], u, graph, parameters, edge_weight, HELD.attribute)[0]

    alone = pympnode.own_system("alone", one, ["v"], vectorised=False)
    np.testing.assert_allclose(alone.field(0.0, x, None, HELD, p), expected, atol=1e-13)


def test_a_field_that_takes_what_edges_do_not_hold_is_refused() -> None:
    system = pympnode.own_system("limited", conducted, ["v"])
    for graph, lacking in (
        (HELD.without_weights, "edge_weight"),
        (HELD.with_weight(None), "edge_weight"),
        (DIRECTED, "edge_attribute"),
    ):
        with pytest.raises(
            InvalidGraph, match=f"takes {lacking}, and the edges have none"
        ) as caught:
            pympnode.simulate(system, topology=graph, trajectories=2, steps=3)
        assert (
            caught.value.got and caught.value.allowed and lacking.split("_")[1] in caught.value.fix
        )

    def optional(
        t: Any, x: Any, u: Any, graph: Any, parameters: Any, edge_weight: Any = None
    ) -> Any:
        return (0.0 if edge_weight is None else edge_weight.sum()) * np.ones_like(x)

    system = pympnode.own_system("optional", optional, ["v"])
    x = np.zeros((1, 6, 1))
    assert not system.field(0.0, x, None, HELD.without_weights, {}).any()
    assert system.field(0.0, x, None, HELD, {})[0, 0, 0] == pytest.approx(WEIGHT.sum())


# ---- node attributes by trajectory ----------------------------------------------------------------------


def grid(trajectories: int = 12, **keywords: Any) -> Any:
    return pympnode.simulate(
        "swing", nodes=5, topology="ring", trajectories=trajectories, steps=6,
        parameters={"power_spread": 0.8}, **keywords,
    )  # fmt: skip


def test_power_is_drawn_by_trajectory() -> None:
    ds = grid()
    assert ds.node_attribute.dims == ("trajectory", "node", "attribute")
    assert ds.attribute.values.tolist() == ["power"]
    power = ds.node_attribute.values[..., 0]
    np.testing.assert_allclose(power.sum(axis=1), 0, atol=1e-14)
    assert 0.5 < power.std(axis=0).mean() < 1.1
    np.testing.assert_array_equal(grid(4).node_attribute, ds.node_attribute[:4])
    np.testing.assert_array_equal(grid(4).state, ds.state[:4])
    # each trajectory is that of its own power
    for i in (0, 7):
        alone = pympnode.simulate(
            "swing", nodes=5, topology="ring", steps=6, initial=ds.state.values[i : i + 1, 0],
            parameters={"power": power[i]},
        )  # fmt: skip
        np.testing.assert_allclose(alone.state[0], ds.state[i], atol=1e-6)


def test_graphs_take_turns_with_their_own_power() -> None:
    ds = pympnode.simulate(
        "swing", nodes=6, topology="WS", graphs=3, trajectories=7, steps=3,
        parameters={"power_spread": 0.8},
    )  # fmt: skip
    power = ds.node_attribute.values[..., 0]
    assert np.isfinite(power).all() and np.unique(power).size == power.size
    graph, graph_of = pympnode.networks.schema.graphs_of(ds)
    i = 4
    alone = pympnode.simulate(
        "swing", topology=graph[int(graph_of[i])], steps=3, initial=ds.state.values[i : i + 1, 0],
        parameters={"power": power[i]},
    )  # fmt: skip
    np.testing.assert_allclose(alone.state[0], ds.state[i], atol=1e-6)


class Misnamed(System):
    name = "misnamed"
    state = get("heat").state

    def sample_parameters(self, rng: Any, parameters: Any, graph: Graph) -> dict[str, np.ndarray]:
        return {"rate": np.ones(graph.total_nodes)}

    def field(self, t: Any, x: Any, u: Any, graph: Any, parameters: Any) -> Any:
        return 0 * x


def test_what_is_no_attribute_of_nodes_is_not_drawn() -> None:
    with pytest.raises(InvalidData, match="no attribute of nodes"):
        pympnode.simulate(Misnamed(), nodes=3, topology="ring", trajectories=2, steps=2)
