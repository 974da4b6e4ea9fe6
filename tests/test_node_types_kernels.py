"""Nodes of several types in all kernels, against the equations of `ModelSpec` written as loops.

Nothing of the loops uses a kernel, `Columns` or torch; they take complex numbers, so that derivatives
are imaginary parts.
"""

from __future__ import annotations

from dataclasses import replace

import equations
import numpy as np
import pytest

from pympnode.errors import InvalidGraph, InvalidModel, InvalidOption
from pympnode.graph import Graph
from pympnode.networks import engines
from pympnode.networks.engines.base import Batch
from pympnode.networks.matching import Matching, pairs
from pympnode.networks.schema import Arrays
from pympnode.networks.spec import ModelSpec
from pympnode.networks.weights import layout_of

KERNELS = ("eager", "torch", "numba")
TYPES = dict(
    node_types=("load", "generator", "bus"),
    type_channels=(2, 3, 1),
    type_controls=(1, 0, 2),
    type_attributes=(0, 1, 2),
)
PLAIN = dict(channels=3, controls=2, attributes=2, message=2, hidden=5)
OPTIONS: dict[str, dict] = {
    "state": {},
    "state superposed, first": {"coupling": "superposed", "first_message": "mlp"},
    "first linear, sum": {"first_message": "linear", "aggregation": "sum", "divisor": 2.5},
    "self": {"messages": "self", "depth": 1},
    "zero": {"messages": "zero", "coupling": "superposed"},
    "emitted": {"messages": "emitted"},
    "emitted superposed": {"messages": "emitted", "coupling": "superposed", "depth": 3},
    "emitted controls": {"messages": "emitted", "sender_controls": True},
    "emitted max": {"messages": "emitted", "aggregation": "max"},
    "pairwise": {"messages": "pairwise", "edge_attributes": 1},
    "pairwise superposed": {"messages": "pairwise", "coupling": "superposed", "message": 3},
    "pairwise max": {"messages": "pairwise", "aggregation": "max", "edge_attributes": 2},
    "linear path": {"linear": True, "messages": "emitted", "sender_controls": True},
    "linear path pairwise": {
        "linear": True,
        "messages": "pairwise",
        "coupling": "superposed",
        "message": 3,
    },
    "substeps": {"messages": "emitted", "substeps": 2},
    "stride": {"controls": 0, "type_controls": (0, 0, 0), "stride": 2, "messages": "emitted"},
}


def spec_of(name: str) -> ModelSpec:
    return ModelSpec(**{**PLAIN, **TYPES, **OPTIONS[name]})


def typed_graph(rng: np.random.Generator, counts: list[tuple[int, ...]], attributes: int) -> Graph:
    """Graphs of as many nodes of each type as ``counts`` says; some nodes are isolated."""
    graphs = []
    for each in counts:
        nodes = sum(each)
        chosen = rng.random((nodes, nodes)) < 3.0 / nodes
        np.fill_diagonal(chosen, False)
        sender, receiver = np.nonzero(chosen)
        types = np.repeat(np.arange(len(each)), each)
        graphs.append(
            Graph.single(
                sender, receiver, nodes, weight=rng.uniform(-1, 1, len(sender)),
                attribute=rng.standard_normal((len(sender), attributes)) if attributes else None,
            ).with_types(types)
        )  # fmt: skip
    return Graph.union(graphs)


def padded(values: np.ndarray, types: np.ndarray, widths: tuple[int, ...]) -> np.ndarray:
    """``values`` (..., node, component) with 0 where a type of nodes has no such component."""
    has = np.arange(values.shape[-1]) < np.asarray(widths)[types][:, None]
    return np.where(has, values, 0.0)


def arrays_of(
    spec: ModelSpec, rng: np.random.Generator, counts: list[tuple[int, ...]], graph_of: list[int],
    steps: int = 3,
) -> Arrays:  # fmt: skip
    """Random trajectories on random graphs, padded as data are; absent nodes are NaN."""
    graph = typed_graph(rng, counts, spec.edge_attributes)
    most, trajectories = int(graph.nodes.max()), len(graph_of)
    x = np.full((trajectories, steps + 1, most, spec.channels), np.nan)
    u = np.full((trajectories, steps + 1, most, spec.controls), np.nan)
    b = np.zeros((trajectories, most, spec.attributes))
    for number, of in enumerate(graph_of):
        types = graph[of].node_type
        nodes = len(types)
        x[number, :, :nodes] = padded(
            rng.standard_normal((steps + 1, nodes, spec.channels)), types, spec.type_channels
        )
        u[number, :, :nodes] = padded(
            rng.standard_normal((steps + 1, nodes, spec.controls)), types, spec.type_controls
        )
        b[number, :nodes] = padded(
            rng.standard_normal((nodes, spec.attributes)), types, spec.type_attributes
        )
    return Arrays(
        x, np.linspace(0.0, 0.08 * steps, steps + 1), graph, np.array(graph_of),
        u if spec.controls else None, b if spec.attributes else None, None,
    )  # fmt: skip


def theta_of(spec: ModelSpec, rng: np.random.Generator) -> np.ndarray:
    layout = layout_of(spec)
    return layout.initial(rng) + 0.1 * rng.standard_normal(layout.size)


# ---- the equations as loops ----------------------------------------------------------------------


class Loops:
    """The equations of one model on one graph, all of it loops over nodes and edges."""

    def __init__(self, spec: ModelSpec, theta: np.ndarray, graph: Graph) -> None:
        self.spec, self.graph = spec, graph
        self.weights = layout_of(spec).unpack(theta)
        self.types = graph.node_type.tolist()

    def sizes(self, k: int) -> tuple[str, int, int, int]:
        t, spec = self.types[k], self.spec
        return (
            f"{spec.node_types[t]}/", spec.type_channels[t], spec.type_controls[t],
            spec.type_attributes[t],
        )  # fmt: skip

    def own(self, k: int, x, u, b) -> np.ndarray:
        """[x; u; b] of node k, of what its type has."""
        _, d, c, a = self.sizes(k)
        parts = [x[k, :d]] + ([] if u is None else [u[k, :c]]) + ([] if b is None else [b[k, :a]])
        return np.concatenate(parts)

    def linear(self, name: str, values: np.ndarray) -> np.ndarray:
        return equations.linear(self.weights, name, values)

    def message(self, e: int, x, u, b) -> np.ndarray:
        """e of the edge number e."""
        j, k = self.graph.sender[e], self.graph.receiver[e]
        name, *_ = self.sizes(k)
        of_sender = self.weights[f"{self.sizes(j)[0]}pair_sender_weight"]
        inputs = [self.own(k, x, None, b)]
        if self.spec.edge_attributes:
            inputs.append(self.graph.attribute[e])
        first = self.linear(f"{name}pair_layer_1_", np.concatenate(inputs))
        hidden = np.tanh(first + of_sender @ self.own(j, x, u, b))
        hidden = np.tanh(self.linear(f"{name}pair_layer_2_", hidden))
        short = self.linear(f"{name}pair_layer_3_", hidden)
        out = np.zeros(self.spec.message, dtype=short.dtype)
        out[: len(short)] = short
        return out

    def field(self, z, u, b) -> np.ndarray:
        spec, nodes = self.spec, len(z)
        x, m = z[:, : spec.channels], z[:, spec.channels :]
        if spec.messages == "state":
            a = equations.aggregate(spec, self.graph, list(m))
        elif spec.messages == "self":
            a = list(m)
        elif spec.messages == "zero":
            a = [np.zeros(spec.message)] * nodes
        elif spec.messages == "emitted":
            sent = []
            for j in range(nodes):
                name, *_ = self.sizes(j)
                inputs = self.own(j, x, u if spec.sender_controls else None, b)
                hidden = np.tanh(self.linear(f"{name}emit_layer_1_", inputs))
                sent.append(self.linear(f"{name}emit_layer_2_", hidden))
            a = equations.aggregate(spec, self.graph, sent)
        else:
            sent = [self.message(e, x, u, b) for e in range(len(self.graph.sender))]
            a = equations.received(spec, self.graph, sent, nodes)
        out = np.zeros_like(z)
        for k in range(nodes):
            name, d, *_ = self.sizes(k)
            values = self.own(k, x, u, b)
            if spec.coupling == "mixed":
                values = np.concatenate([values, a[k]])
            path = self.weights[f"{name}linear_weight"] @ values if spec.linear else 0.0
            for number in range(1, spec.depth + 1):
                values = np.tanh(self.linear(f"{name}layer_{number}_", values))
            values = self.linear(f"{name}layer_{spec.depth + 1}_", values)
            states = d + spec.carried
            slope = values[:states] + path
            if spec.coupling == "superposed" and spec.messages == "pairwise":
                slope = slope + a[k][:d]
            elif spec.coupling == "superposed":
                gain = values[states:].reshape(states, spec.message)
                slope = slope + gain @ a[k]
            out[k, :d] = slope[:d]
            out[k, spec.channels :] = slope[d:]
        return out

    def start(self, x, b) -> np.ndarray:
        spec = self.spec
        z = np.zeros((len(x), spec.states), dtype=np.result_type(x, *self.weights.values()))
        z[:, : spec.channels] = x
        for k in range(len(x)):
            name, *_ = self.sizes(k)
            if spec.carried and spec.first_message == "linear":
                z[k, spec.channels :] = self.linear(f"{name}first_", self.own(k, x, None, b))
            elif spec.carried and spec.first_message == "mlp":
                hidden = np.tanh(self.linear(f"{name}first_layer_1_", self.own(k, x, None, b)))
                z[k, spec.channels :] = self.linear(f"{name}first_layer_2_", hidden)
        return z

    def rollout(self, x, times, u, b) -> np.ndarray:
        states = [self.start(x, b)]
        for t in range(len(times) - 1):
            z, h = states[-1], (times[t + 1] - times[t]) / self.spec.substeps
            held = None if u is None else u[t]
            for _ in range(self.spec.substeps):
                z = equations.rk4_step(lambda y, held=held: self.field(y, held, b), z, h)
            states.append(z)
        return np.array(states)


def loop_rollouts(spec: ModelSpec, theta: np.ndarray, data: Arrays) -> list[np.ndarray]:
    """States (time, node, D) of each trajectory."""
    found = []
    for number, of in enumerate(data.graph_of):
        graph = data.graph[int(of)]
        n = graph.total_nodes
        found.append(
            Loops(spec, theta, graph).rollout(
                data.x[number, 0, :n], data.time,
                None if data.u is None else data.u[number, :, :n],
                None if data.attribute is None else data.attribute[number, :n],
            )
        )  # fmt: skip
    return found


def loop_loss(spec: ModelSpec, theta: np.ndarray, data: Arrays):
    """Huber loss: sum over features and times 1.., mean over nodes and trajectories."""
    total, columns = 0.0, 0
    for number, states in enumerate(loop_rollouts(spec, theta, data)):
        n = states.shape[1]
        error = (states[1:, :, : spec.channels] - data.x[number, 1:, :n]).ravel()
        size = np.where(error.real >= 0, error, -error)
        total = total + np.where(size.real <= 1, size * size / 2, size - 0.5).sum()
        columns += n
    return total / columns


COUNTS = [(3, 2, 1), (1, 2, 3), (4, 0, 2)]


def bound(spec: ModelSpec, data: Arrays | None, kernel: str):
    arrays = None if data is None else [data]
    return engines.engine("torch").bind(spec, arrays, dtype="float64", kernel=kernel, device="cpu")


def whole(data: Arrays) -> Batch:
    return Batch(np.arange(data.trajectories), np.zeros(data.trajectories, np.int64), data.steps)


def rolled(program, theta: np.ndarray, data: Arrays):
    return program.rollout(
        theta, data.x[:, 0], data.graph, data.time, graph_of=data.graph_of, u=data.u,
        attribute=data.attribute,
    )  # fmt: skip


# ---- tests ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "stride"])
def test_rollout_follows_the_equations(name: str, kernel: str) -> None:
    spec, rng = spec_of(name), np.random.default_rng(5)
    data = arrays_of(spec, rng, COUNTS, [0, 1, 2, 1, 0])
    theta = theta_of(spec, rng)
    found = rolled(bound(spec, None, kernel), theta, data)
    for number, states in enumerate(loop_rollouts(spec, theta, data)):
        n = states.shape[1]
        np.testing.assert_allclose(
            found.state[number, :, :n], states[..., : spec.channels], rtol=0, atol=1e-12
        )
        np.testing.assert_allclose(
            found.message[number, :, :n], states[..., spec.channels :], rtol=0, atol=1e-12
        )
        assert np.isnan(found.state[number, :, n:]).all()


@pytest.mark.parametrize("name", list(OPTIONS))
def test_gradient_of_the_eager_kernel_is_the_derivative_of_the_loops(name: str) -> None:
    spec, rng = spec_of(name), np.random.default_rng(6)
    if spec.stride > 1:
        pytest.skip("the loops have no continuous extension; the kernels are compared below")
    data = arrays_of(spec, rng, COUNTS[:2], [0, 1], steps=2)
    theta = theta_of(spec, rng)
    value, gradient = bound(spec, data, "eager").loss_and_gradient(theta, whole(data))
    np.testing.assert_allclose(value, loop_loss(spec, theta, data), rtol=1e-12)
    for _ in range(3):
        direction = rng.standard_normal(theta.size)
        exact = loop_loss(spec, theta + 1e-30j * direction, data).imag / 1e-30
        np.testing.assert_allclose(gradient @ direction, exact, rtol=1e-10)


@pytest.mark.parametrize("kernel", ["torch", "numba"])
@pytest.mark.parametrize("name", list(OPTIONS))
def test_kernels_agree(name: str, kernel: str) -> None:
    spec, rng = spec_of(name), np.random.default_rng(7)
    data = arrays_of(spec, rng, COUNTS, [0, 1, 2, 1, 0, 0, 2], steps=4)
    theta = theta_of(spec, rng)
    eager, program = bound(spec, data, "eager"), bound(spec, data, kernel)
    wanted, gradient = eager.loss_and_gradient(theta, whole(data))
    found, of_kernel = program.loss_and_gradient(theta, whole(data))
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    np.testing.assert_allclose(of_kernel, gradient, rtol=0, atol=1e-13)
    assert np.abs(gradient).max() > 1e-3
    np.testing.assert_allclose(program.loss(theta, whole(data)), wanted, rtol=1e-12)
    members = program.loss_and_gradient_members(
        np.stack([theta, 0.5 * theta]), [whole(data), whole(data)]
    )
    np.testing.assert_array_equal(members[0][1], of_kernel)
    bars = np.nan_to_num(rng.standard_normal(data.x.shape))
    states, gradient = eager.rollout_vjp(theta, whole(data), bars)
    found_states, of_kernel = program.rollout_vjp(theta, whole(data), bars)
    np.testing.assert_allclose(found_states, states, rtol=0, atol=1e-12)
    np.testing.assert_allclose(of_kernel, gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ["state", "emitted superposed", "pairwise superposed", "pairwise"])
def test_channels_that_a_type_does_not_have_stay_zero(name: str, kernel: str) -> None:
    """To the bit, and whatever stands in them at the start does not matter to the others."""
    spec, rng = spec_of(name), np.random.default_rng(8)
    data = arrays_of(spec, rng, [(3, 2, 4)], [0, 0, 0])
    program, theta = bound(spec, None, kernel), theta_of(spec, rng)
    found = rolled(program, theta, data).state
    has = np.arange(3) < np.asarray(spec.type_channels)[data.graph.node_type][:, None]
    assert not found[..., ~has].any() and found[..., has].all()
    field = program.field(
        theta, rng.standard_normal((3, 9, spec.states)), data.graph, u=data.u[:, 0],
        attribute=data.attribute,
    )  # fmt: skip
    assert not field[..., :3][:, ~has].any()
    x = np.where(has, data.x, rng.standard_normal(data.x.shape))
    other = rolled(program, theta, replace(data, x=x)).state
    np.testing.assert_array_equal(other[..., has], found[..., has])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ["state superposed, first", "emitted", "pairwise"])
def test_types_with_equal_weights_are_one_type(name: str, kernel: str) -> None:
    widths = {f"type_{n}": (PLAIN[n],) * 3 for n in ("channels", "controls", "attributes")}
    spec, rng = spec_of(name).replace(**widths), np.random.default_rng(9)
    data = arrays_of(spec, rng, COUNTS, [0, 1, 2, 0])
    one = spec.of_one_type
    theta = theta_of(one, rng)
    weights = layout_of(one).unpack(theta)
    copied = {}
    at = one.receiver_inputs
    for name_of_type in spec.node_types:
        for tensor, values in weights.items():
            if tensor == "pair_layer_1_weight":
                sender = slice(at, at + one.sender_inputs)
                copied[f"{name_of_type}/pair_sender_weight"] = values[:, sender]
                values = np.delete(values, np.r_[sender], axis=1)
            copied[f"{name_of_type}/{tensor}"] = values
    typed = layout_of(spec).pack(copied)
    plain = replace(data, graph=data.graph.with_types(None))
    found = bound(spec, data, kernel).loss_and_gradient(typed, whole(data))
    wanted = bound(one, plain, kernel).loss_and_gradient(theta, whole(plain))
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-12)
    # The gradients of the types add up to that of the one network.
    parts = layout_of(spec).unpack(found[1])
    of_one = layout_of(one).unpack(wanted[1])
    for tensor, values in of_one.items():
        if tensor != "pair_layer_1_weight":
            total = sum(parts[f"{each}/{tensor}"] for each in spec.node_types)
            np.testing.assert_allclose(total, values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ["state", "emitted max", "pairwise superposed"])
def test_nodes_of_a_type_can_be_renumbered(name: str, kernel: str) -> None:
    spec, rng = spec_of(name), np.random.default_rng(10)
    data = arrays_of(spec, rng, [(3, 4, 2)], [0, 0])
    theta, program = theta_of(spec, rng), bound(spec, None, kernel)
    new = np.concatenate([rng.permutation(3), 3 + rng.permutation(4), 7 + rng.permutation(2)])
    old = np.argsort(new)
    moved = Arrays(
        data.x[:, :, old], data.time, data.graph.renumbered(new), data.graph_of,
        data.u[:, :, old], data.attribute[:, old], None,
    )  # fmt: skip
    found, wanted = rolled(program, theta, moved).state, rolled(program, theta, data).state
    np.testing.assert_allclose(found, wanted[:, :, old], rtol=0, atol=1e-12)
    assert np.abs(wanted - wanted[:, :, old]).max() > 1e-3
    with pytest.raises(InvalidGraph, match="type after type"):
        data.graph.renumbered(np.roll(np.arange(9), 1))


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_graph_of_another_size(kernel: str) -> None:
    """Tiles with several graphs, and graphs in several tiles, compute what each graph alone does."""
    spec, rng = spec_of("pairwise superposed"), np.random.default_rng(11)
    counts = [(40, 30, 33), (2, 1, 1), (7, 9, 0), (0, 0, 5), (1, 1, 1)]
    of = [0] * 12 + [1, 2, 3, 4] * 9
    data = arrays_of(spec, rng, counts, of, steps=2)
    theta = theta_of(spec, rng)
    program = bound(spec, data, kernel)
    value, gradient = program.loss_and_gradient(theta, whole(data))
    states = rolled(program, theta, data).state
    total, summed, columns = 0.0, np.zeros(theta.size), 0
    for number, each in enumerate(of):
        graph = data.graph[each]
        n = graph.total_nodes
        alone = Arrays(
            data.x[number : number + 1, :, :n], data.time, graph, np.zeros(1, np.int64),
            data.u[number : number + 1, :, :n], data.attribute[number : number + 1, :n], None,
        )  # fmt: skip
        one = bound(spec, alone, kernel)
        found = rolled(one, theta, alone).state
        np.testing.assert_allclose(states[number, :, :n], found[0], rtol=0, atol=1e-12)
        loss, part = one.loss_and_gradient(theta, whole(alone))
        total, summed, columns = total + n * loss, summed + n * part, columns + n
    np.testing.assert_allclose(value, total / columns, rtol=1e-12)
    np.testing.assert_allclose(gradient, summed / columns, rtol=0, atol=1e-12)


def waves(noise: float = 0.0) -> tuple[Arrays, np.ndarray]:
    """Sines of four nodes of two types, the second with one channel less, and their derivatives."""
    rng = np.random.default_rng(15)
    time = np.linspace(0.0, 3.0, 61)
    phase, speed = rng.uniform(0, 6, (6, 1, 4, 2)), rng.uniform(1, 3, (6, 1, 4, 2))
    angle = phase + speed * time[:, None, None]
    x = np.sin(angle) + noise * rng.standard_normal(angle.shape)
    types = np.array([0, 1, 1, 1])
    graph = Graph.single([0, 1, 2, 3], [1, 2, 3, 0], 4).with_types(types)
    x = padded(x, types, (2, 1))
    data = Arrays(x, time, graph, np.zeros(6, np.int64), None, None, None)
    return data, padded(speed * np.cos(angle), types, (2, 1))


@pytest.mark.parametrize("kernel", KERNELS)
def test_gradient_matching_of_types(kernel: str) -> None:
    """tau is of the channels that there are; the loss is that of the field, written out."""
    data, exact = waves()
    spec = ModelSpec(
        channels=2, messages="pairwise", coupling="superposed", message=2, hidden=4,
        node_types=("a", "b"), type_channels=(2, 1), type_controls=(0, 0), type_attributes=(0, 0),
    )  # fmt: skip

    def bind(spec: ModelSpec, arrays: list[Arrays]):
        return engines.engine("torch").bind(
            spec, arrays, dtype="float64", kernel=kernel, device="cpu"
        )

    matching = Matching(bind, spec, [data], np.arange(6), 4, "torch")
    tau = matching.arrays[0].time[1]
    has = np.arange(2) < np.array([2, 1, 1, 1])[:, None]
    assert tau == pytest.approx(1 / np.sqrt(np.mean(exact[..., has] ** 2)), rel=1e-3)
    theta = theta_of(spec, np.random.default_rng(16))
    batch = next(matching.batches(1, np.random.default_rng(17)))
    total = 0.0
    for trajectory, start in zip(batch.trajectory, batch.start):
        at = start // 2
        state = data.x[trajectory, at]
        slope = Loops(spec, theta, data.graph).field(state, None, None)
        error = np.abs(tau * (slope - exact[trajectory, at]))
        total += np.where(error <= 1, error**2 / 2, error - 0.5)[has].sum()
    found = matching.program.loss(theta, batch)
    assert found == pytest.approx(total / (4 * len(batch.trajectory)), rel=1e-4)


def test_noise_of_types_is_judged_by_the_channels_there_are() -> None:
    data, _ = waves(noise=0.02)
    typed = pairs([data], np.arange(6), type_channels=(2, 1))[2]
    ignored = pairs([data], np.arange(6))[2]
    one = replace(data, x=data.x[:, :, :1], graph=Graph.single([], [], 1))
    alone = pairs([one], np.arange(6))[2]
    error = [float(text.split("about ")[1].split(" ")[0]) for text in (typed, alone, ignored)]
    assert error[0] == pytest.approx(error[1], rel=0.5)
    assert typed != ignored


def test_first_message_depends_on_the_type() -> None:
    spec, rng = spec_of("state superposed, first"), np.random.default_rng(12)
    data = arrays_of(spec, rng, [(3, 2, 1)], [0])
    theta, program = theta_of(spec, rng), bound(spec, None, "eager")
    types = data.graph.node_type
    found = program.initial_message(theta, data.x[:, 0], data.attribute, types)
    wanted = Loops(spec, theta, data.graph).start(data.x[0, 0], data.attribute[0])
    np.testing.assert_allclose(found[0], wanted[:, spec.channels :], rtol=0, atol=1e-12)
    with pytest.raises(InvalidModel, match="type of a node"):
        program.initial_message(theta, data.x[:, 0], data.attribute)


@pytest.mark.parametrize(
    "wrong",
    [
        {"type_channels": (2, 2, 1)},
        {"type_controls": (1, 2)},
        {"node_types": ("load", "load", "bus")},
        {"node_types": ("a/b", "c", "d")},
        {"circular": (0,)},
        {"family": "l2s"},
        {"learned_edges": 3},
        {"messages": "pairwise", "relative": (0,)},
    ],
)
def test_specifications_that_do_not_fit_types_are_refused(wrong: dict) -> None:
    with pytest.raises(InvalidOption):
        spec_of("state").replace(**wrong)


def test_the_specification_of_a_file() -> None:
    spec = spec_of("pairwise")
    assert ModelSpec.from_dict(spec.as_dict()) == spec
    shapes = layout_of(spec).shapes
    assert shapes["load/pair_sender_weight"] == (5, 2 + 1 + 0)
    assert shapes["generator/pair_layer_1_weight"] == (5, 3 + 1 + 1)
    assert shapes["bus/layer_3_weight"] == (1, 5)


def test_the_julia_engine_refuses_types_in_words() -> None:
    reason = engines.engine("julia").supports(spec_of("state"))
    assert reason is not None and "several types of nodes" in reason
    assert engines.engine("julia").supports(spec_of("state").of_one_type) is None


def test_other_types_than_those_of_the_model_are_refused() -> None:
    spec, rng = spec_of("state"), np.random.default_rng(13)
    data = arrays_of(spec, rng, [(1, 1, 1)], [0])
    graph = data.graph.with_types([0, 1, 3])
    with pytest.raises(InvalidGraph, match="types of nodes that the model does not have"):
        rolled(bound(spec, None, "eager"), theta_of(spec, rng), replace(data, graph=graph))


def test_types_of_a_union_and_of_its_graphs() -> None:
    graph = typed_graph(np.random.default_rng(14), [(2, 1), (0, 3)], 0)
    assert graph.node_type.tolist() == [0, 0, 1, 1, 1, 1]
    assert graph[1].node_type.tolist() == [1, 1, 1]
    other = Graph.union([graph[0], Graph.single([0], [1], 2)])
    assert other.node_type.tolist() == [0, 0, 1, 0, 0]
    assert graph.reversed().node_type.tolist() == graph.node_type.tolist()
    assert graph.select_edges(np.zeros(0, int)).node_type.tolist() == graph.node_type.tolist()
    assert not graph.same(graph.with_types(None))
    assert graph.with_types(np.zeros(6, int)).same(graph.with_types(None))
    for wrong in ([0, 1, 0, 0, 0, 0], [0, 0, 1], [-1, 0, 0, 0, 0, 0], [0.0] * 6):
        with pytest.raises(InvalidGraph):
            graph.with_types(wrong)
