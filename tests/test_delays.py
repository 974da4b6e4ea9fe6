"""Messages with delays: the integrator, gradients, kernels, data, training and rollouts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from kernel_windows import random_graph, random_theta
from scipy.special import lambertw

import pympnode
from pympnode import Graph
from pympnode.errors import (
    EngineUnavailable,
    InvalidData,
    InvalidGraph,
    InvalidModel,
    InvalidOption,
    PympnodeWarning,
    UnknownName,
)
from pympnode.networks import schema
from pympnode.networks.engines.base import Batch
from pympnode.networks.engines.columns import Columns
from pympnode.networks.engines.delays import Delays, hermite, hermite_slope, in_steps, slopes_of
from pympnode.networks.engines.torch import kernel_eager as eager
from pympnode.networks.engines.torch.engine import TorchEngine
from pympnode.networks.engines.torch.kernel_numba import run as compiled
from pympnode.networks.engines.torch.window import Window
from pympnode.networks.schema import Arrays
from pympnode.networks.spec import ModelSpec
from pympnode.networks.task import TrajectoryTask
from pympnode.networks.weights import layout_of

DT = 0.05
EMITTED: dict[str, Any] = dict(
    messages="emitted", coupling="superposed", aggregation="sum", divisor=1.5, message=3
)
PAIRWISE: dict[str, Any] = dict(
    messages="pairwise", coupling="superposed", message=2, edge_attributes=1
)
SPECS: dict[str, tuple[dict[str, Any], str]] = {
    "emitted, one delay": (EMITTED, "one"),
    "emitted, delays of edges": (EMITTED, "many"),
    "emitted, mixed, some whole steps": ({**EMITTED, "coupling": "mixed"}, "few"),
    "emitted, substeps": ({**EMITTED, "substeps": 2}, "few"),
    "emitted, tsit5": ({**EMITTED, "solver": "tsit5"}, "few"),
    "emitted, one learned": ({**EMITTED, "learned_delays": 1, "longest_delay": 7}, "none"),
    "emitted, learned per edge": ({**EMITTED, "learned_delays": 2, "longest_delay": 7}, "none"),
    "pairwise, one delay": (PAIRWISE, "one"),
    "pairwise, delays of edges": (PAIRWISE, "many"),
    "pairwise, mixed, max": ({**PAIRWISE, "coupling": "mixed", "aggregation": "max"}, "few"),
    "pairwise, learned": ({**PAIRWISE, "learned_delays": 1, "longest_delay": 6, "substeps": 2}, "none"),
}  # fmt: skip


def delays_of(kind: str, rng: np.random.Generator, edges: int) -> np.ndarray | None:
    """One for all; 0 or from one step to ten; or 0, one step and 3.4 steps."""
    if kind == "none":
        return None
    if kind == "one":
        return np.full(edges, 4 * DT)
    if kind == "few":
        return np.array([0.0, DT, 3.4 * DT])[rng.integers(0, 3, edges)]
    return np.where(rng.random(edges) < 0.2, 0.0, rng.uniform(DT, 10 * DT, edges))


def window_of(name: str, steps: int = 6) -> tuple[ModelSpec, torch.Tensor, Window]:
    """Several graphs, some nodes without edges, and a random past."""
    rng = np.random.default_rng(5)
    fields, kind = SPECS[name]
    graph = random_graph(rng, [5, 3, 7])
    graph = graph.with_delay(delays_of(kind, rng, graph.edges))
    spec = ModelSpec(channels=2, hidden=5, attributes=1, **fields)
    if spec.edge_attributes:
        graph = replace(graph, attribute=rng.normal(size=(graph.edges, 1)))
    if spec.learned_delays > 1:
        spec = spec.replace(learned_delays=graph.edges)
    columns = Columns.arrange(graph, np.array([0, 0, 1, 2, 0, 2]))
    delays = Delays.of(spec, columns, DT)
    assert delays is not None

    def normal(*shape: int) -> torch.Tensor:
        return torch.as_tensor(rng.standard_normal(shape))

    total = columns.total
    window = Window(
        columns, normal(2, total), 2 * normal(steps + 1, 2, total), None, normal(1, total), None,
        np.full(steps, DT), 1 / total, delays=delays, history=normal(delays.prefix, 2, total),
        history_slopes=normal(delays.prefix, 2, total),
    )  # fmt: skip
    return spec, random_theta(spec, rng, torch.float64), window


# ---- interpolation ---------------------------------------------------------------------------------


def test_hermite_and_differences_are_exact_for_polynomials() -> None:
    place = np.linspace(0, 1, 7)
    h = 0.3
    values = np.array([1.0, 0.7 * h, 2.0, -0.4 * h])
    a = np.linalg.solve(
        [[1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 1, 1], [0, 1, 2, 3]],
        [values[0], values[1], values[2], values[3]],
    )
    polynomial = np.polynomial.Polynomial(a)
    np.testing.assert_allclose(hermite(place) @ values, polynomial(place), atol=1e-14)
    np.testing.assert_allclose(hermite_slope(place) @ values, polynomial.deriv()(place), atol=1e-13)
    t = 0.1 * np.arange(9.0)
    quartic = np.polynomial.Polynomial([1.0, -2.0, 0.5, 3.0, -1.0])
    np.testing.assert_allclose(slopes_of(quartic(t), 0.1), quartic.deriv()(t), atol=1e-11)


@pytest.mark.parametrize("remainder", [0.0, 0.3])
@pytest.mark.parametrize("kernel", ["eager", "numba"])
def test_order_of_convergence(kernel: str, remainder: float) -> None:
    """x' = -x(t - 1) has the smooth solutions exp(lambda t), lambda = -exp(-lambda).

    The field is that of a model whose emitted message is -tanh(e x) / e, which is -x to 1e-10: one node
    with an edge to itself.
    """
    rate = complex(lambertw(-1.0))

    def exact(t: Any) -> Any:
        return np.exp(rate * np.asarray(t)).real

    spec = ModelSpec(
        channels=1, message=1, hidden=1, depth=1, messages="emitted", coupling="superposed",
        aggregation="sum", delay=1.0,
    )  # fmt: skip
    layout = layout_of(spec)
    weights = {name: np.zeros(shape) for name, shape in layout.shapes.items()}
    small = 1e-5
    weights["emit_layer_1_weight"][:] = small
    weights["emit_layer_2_weight"][:] = -1 / small
    weights["layer_2_bias"][1] = 1.0  # the slope is the message
    loop = Graph.single([0], [0], 1, self_loops=True)
    program = TorchEngine().bind(spec, None, dtype="float64", device="cpu", kernel=kernel)
    errors = []
    for steps in (5, 10, 20):
        dt = 1.0 / (steps + remainder)
        times = dt * np.arange(int(6 / dt))
        history = exact(dt * np.arange(-steps - 1, 0))[None, :, None, None]
        rollout = program.rollout(
            layout.pack(weights), np.ones((1, 1, 1)), loop, times, history=history
        )
        errors.append(np.abs(rollout.state[0, :, 0, 0] - exact(times)).max())
    order = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (order >= 3.5).all(), (errors, order)
    assert errors[-1] < 1e-7


# ---- gradients and kernels ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPECS)
def test_gradient_is_that_of_differences(name: str) -> None:
    spec, theta, window = window_of(name)
    _, gradient = eager.loss_and_gradient(spec, theta, window)
    layout = layout_of(spec)
    rng = np.random.default_rng(2)
    some = rng.choice(layout.size, 8, replace=False).tolist()
    if spec.learned_delays:
        first = layout.offsets["delay_logit"]
        some += range(first, first + min(spec.learned_delays, 6))

    def loss(index: int, by: float) -> float:
        moved = theta.clone()
        moved[index] += by
        states = eager.rollout(spec, moved, window)
        return float(eager.huber(states[1:, :2], window))

    for index in some:
        slope = (loss(index, 1e-5) - loss(index, -1e-5)) / 2e-5
        np.testing.assert_allclose(float(gradient[index]), slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", SPECS)
def test_kernels_agree(name: str) -> None:
    spec, theta, window = window_of(name)
    value, gradient = eager.loss_and_gradient(spec, theta, window)
    states = eager.rollout(spec, theta, window)
    for store in (True, False):
        found, slope = compiled.loss_and_gradient(spec, theta, window, store=store)
        np.testing.assert_allclose(found, value, rtol=1e-12)
        np.testing.assert_allclose(slope, gradient, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(
        compiled.rollout(spec, theta, window), states, rtol=1e-11, atol=1e-12
    )
    np.testing.assert_allclose(compiled.loss(spec, theta, window), value, rtol=1e-12)
    bar = torch.as_tensor(np.random.default_rng(1).normal(size=states[:, :2].shape))
    _, one = eager.rollout_vjp(spec, theta, window, bar)
    _, other = compiled.rollout_vjp(spec, theta, window, bar)
    np.testing.assert_allclose(other, one, rtol=1e-10, atol=1e-12)


def test_a_delay_is_the_message_of_that_long_ago() -> None:
    """On a path 0 -> 1 the state of node 0 before the start alone decides node 1 within the delay."""
    spec = ModelSpec(channels=1, hidden=4, **{**EMITTED, "message": 2})
    graph = Graph.single([0], [1], 2, delay=[7 * DT])
    theta = random_theta(spec, np.random.default_rng(0), torch.float64).numpy()
    program = TorchEngine().bind(spec, None, dtype="float64", device="cpu", kernel="eager")
    rng = np.random.default_rng(1)
    past, x0 = rng.normal(size=(1, 7, 2, 1)), rng.normal(size=(1, 2, 1))
    times = DT * np.arange(10)

    def node_1(past: np.ndarray, x0: np.ndarray) -> np.ndarray:
        return program.rollout(theta, x0, graph, times, history=past).state[0, :, 1, 0]

    usual = node_1(past, x0)
    other = x0 + np.array([[[1.0], [0.0]]])
    moved = node_1(past, other)
    # x_0(0) enters the slopes of the past from two steps before the start on.
    np.testing.assert_array_equal(moved[:5], usual[:5])
    assert abs(moved[8:] - usual[8:]).min() > 1e-6
    past[0, 0, 0] += 1.0
    assert abs(node_1(past, x0)[1] - usual[1]) > 1e-6


def test_kernels_that_take_none_are_passed_over(caplog: Any) -> None:
    spec = ModelSpec(channels=2, hidden=4, **EMITTED)
    graph = Graph.single([0, 1], [1, 0], 2, delay=0.2)
    arrays = Arrays(np.zeros((1, 9, 2, 2)), DT * np.arange(9), graph, np.zeros(1, np.int64))
    assert TorchEngine().bind(spec, [arrays], device="cpu").kernel == "numba"
    with caplog.at_level("INFO", "pympnode"):
        largest = spec.replace(aggregation="max")
        assert TorchEngine().bind(largest, [arrays], device="cpu").kernel == "eager"
    assert "numba: delays" in caplog.text and "torch: it takes no delays" in caplog.text
    with pytest.raises(EngineUnavailable, match="cannot run this model"):
        TorchEngine().bind(spec, [arrays], device="cpu", kernel="torch")


# ---- graphs and datasets -----------------------------------------------------------------------------


def test_graphs_keep_delays() -> None:
    graph = Graph.from_edges([(0, 1), (1, 2)], delay=[0.2, 0.5])
    assert graph.delay is not None and graph.delay.tolist() == [0.2, 0.2, 0.5, 0.5]
    one = Graph.single([2, 0], [1, 1], 3, delay=[1.0, 2.0])
    assert one.sender.tolist() == [0, 2] and one.delay.tolist() == [2.0, 1.0]  # type: ignore[union-attr]
    both = Graph.union([one, Graph.single([0], [1], 2)])
    assert both.delay.tolist() == [2.0, 1.0, 0.0] and both[0].same(one)  # type: ignore[union-attr]
    assert one.select_edges(np.array([1])).delay.tolist() == [1.0]  # type: ignore[union-attr]
    back = one.reversed()
    assert dict(zip(zip(back.sender, back.receiver), back.delay)) == {(1, 0): 2.0, (1, 2): 1.0}  # type: ignore[arg-type]
    moved = one.renumbered([2, 1, 0])
    assert dict(zip(moved.sender.tolist(), moved.delay)) == {2: 2.0, 0: 1.0}  # type: ignore[arg-type]
    assert not one.same(one.with_delay(None)) and one.with_delay(0.0).same(one.with_delay(None))
    assert "delays 1 to 2" in repr(one)
    for wrong in ([-1.0, 0.0], [np.nan, 0.0], [1.0], "soon"):
        with pytest.raises(InvalidGraph):
            one.with_delay(wrong)


def given(delay: Any = None, **options: Any) -> xr.Dataset:
    x = np.random.default_rng(0).normal(size=(4, 12, 3, 1)).cumsum(axis=1)
    keywords = {"dt": 0.1, "edges": [(2, 1), (0, 1)], **options}
    return pympnode.from_arrays(x, edge_delay=delay, **keywords)


def test_datasets_keep_delays(tmp_path: Path) -> None:
    ds = given([0.3, 0.5])
    by_ends = dict(zip(zip(ds.sender.values, ds.receiver.values), ds.edge_delay.values))
    assert by_ends == {(2, 1): 0.3, (1, 2): 0.3, (0, 1): 0.5, (1, 0): 0.5}
    ds.to_netcdf(tmp_path / "d.nc")
    back = schema.pack(xr.open_dataset(tmp_path / "d.nc").load())
    assert back.graph.same(schema.pack(ds).graph) and back.graph.delay is not None
    assert given(0.2).edge_delay.values.tolist() == [0.2] * 4
    few = pympnode.subgraph(ds, [1, 2])
    assert few.edge_delay.values.tolist() == [0.3, 0.3]


def test_tables_have_delays_in_a_column_of_their_edges() -> None:
    import networkx as nx
    import pandas as pd

    rows = [(0.1 * t, name, np.sin(t + n)) for t in range(6) for n, name in enumerate("abc")]
    frame = pd.DataFrame(rows, columns=["time", "node", "x"])
    edges = pd.DataFrame(
        {"sender": ["a", "b"], "receiver": ["b", "c"], "length": [1.0, 2.0], "lag": [0.1, 0.3]}
    )

    def delays(**options: Any) -> dict[tuple[int, int], float]:
        ds = pympnode.from_frame(frame, features="x", **options)
        return dict(zip(zip(ds.sender.values.tolist(), ds.receiver.values.tolist()), ds.edge_delay.values.tolist()))  # fmt: skip

    expected = {(0, 1): 0.1, (1, 2): 0.3}
    assert (
        delays(edges=edges[::-1], edge_delay="lag", edge_weight="length", directed=True) == expected
    )
    both = expected | {(k, j): d for (j, k), d in expected.items()}
    assert delays(edges=edges[["sender", "receiver", "lag"]], edge_delay="lag") == both
    ds = pympnode.from_frame(
        frame,
        features="x",
        edges=edges,
        edge_delay="lag",
        edge_attributes=["length"],
        directed=True,
    )
    assert ds.edge_feature.values.tolist() == ["length"]
    assert ds.edge_attribute.values[:, 0].tolist() == [1.0, 2.0]
    graph = nx.DiGraph([("c", "a", {"lag": 0.2})])
    graph.add_node("b")
    assert delays(topology=graph, edge_delay="lag") == {(2, 0): 0.2}
    assert delays(edges=[("a", "b")], directed=True, edge_delay=0.2) == {(0, 1): 0.2}
    for wrong in (
        dict(edges=edges, edge_delay="nope"),
        dict(topology="ring", edge_delay="lag"),
        dict(edges=edges[["sender", "receiver"]].assign(lag=-1.0), edge_delay="lag"),
    ):
        with pytest.raises((UnknownName, InvalidGraph)):
            pympnode.from_frame(frame, features="x", **wrong)


def test_bad_delays_are_refused() -> None:
    for wrong, error in (
        (-0.1, InvalidGraph),
        (0.05, InvalidData),  # between 0 and one step
        (np.nan, InvalidGraph),
        ([0.1, 0.2, 0.3], InvalidGraph),
    ):
        with pytest.raises(error) as caught:
            given(wrong)
        assert caught.value.got and caught.value.allowed
    with pytest.raises(InvalidData, match="even time grid"):
        given(0.3, dt=None, time=np.arange(12.0) ** 1.1)
    with pytest.raises(InvalidData, match="behind the past that the delays take"):
        pympnode.train(data=given(1.2), epochs=1, progress=False, messages="emitted")
    none = given()
    for wrong in (-1.0, 0.05, "long", [0.1], np.inf):
        with pytest.raises((InvalidOption, InvalidData)):
            pympnode.train(data=none, delay=wrong, epochs=1, progress=False)
    with pytest.raises(InvalidOption, match="given twice"):
        pympnode.train(data=given(0.3), delay=0.2, epochs=1, progress=False)
    with pytest.raises(InvalidOption, match="delay_start"):
        pympnode.train(data=none, delay=0.2, delay_start=0.2, epochs=1, progress=False)
    with pytest.raises(InvalidOption, match="outside of the delays that are learned"):
        pympnode.train(data=none, delay="learn", delay_start=5.0, epochs=1, progress=False)


@pytest.mark.parametrize(
    "options",
    [
        dict(messages="state"),
        dict(model="l2s"),
        dict(messages="pairwise", antisymmetric=True),
        dict(messages="emitted", node_codes=2),
    ],
)
def test_models_that_take_none_refuse_in_words(options: Any) -> None:
    for data, more in ((given(), {"delay": 0.3}), (given(0.3), {})):
        with pytest.raises((InvalidOption, InvalidData), match=r"takes no|takes none") as caught:
            pympnode.train(data=data, epochs=1, progress=False, **more, **options)
        assert "pairwise" in str(caught.value.allowed)


def test_classes_that_take_no_delays_do_not_compete(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of data with controls emitted messages alone have delays."""
    monkeypatch.setattr("pympnode.networks.half.LONG", 20)  # classes compete from there on
    data = given(0.3, control=np.random.default_rng(1).normal(size=(4, 12, 3, 1)))
    result = pympnode.train(data=data, updates=20, progress=False, batch_size=4, kernel="eager")
    assert result.model.spec.messages == "emitted" and "race_updates" not in result.history.attrs


def test_several_types_of_nodes_take_no_delays() -> None:
    types = dict(
        node_types=("a", "b"), type_channels=(1, 1), type_controls=(0, 0), type_attributes=(0, 0)
    )
    for delay in (dict(delay=0.2), dict(learned_delays=1, longest_delay=5)):
        with pytest.raises(InvalidOption, match="models with several types of nodes have no"):
            ModelSpec(messages="emitted", **types, **delay)  # type: ignore[arg-type]
    assert "several types" in str(ModelSpec(messages="emitted", **types).refuses_delays)  # type: ignore[arg-type]


def test_files_of_specifications() -> None:
    spec = ModelSpec(messages="emitted", delay=0.25)
    assert ModelSpec.from_dict(spec.as_dict()) == spec
    assert "delay" not in ModelSpec(messages="emitted").as_dict()
    from pympnode.networks.engines.julia.engine import JuliaEngine

    assert "delays" in str(JuliaEngine().supports(spec))


# ---- windows -----------------------------------------------------------------------------------------


def test_windows_begin_behind_the_past_and_leave_it_out_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    graph = Graph.single([0, 1, 2], [1, 2, 0], 3, delay=[0.7, 0.0, 0.2])
    arrays = Arrays(
        rng.normal(size=(3, 30, 3, 2)), 0.1 * np.arange(30), graph, np.zeros(3, np.int64)
    )
    spec = ModelSpec(channels=2, hidden=4, **EMITTED)
    program = TorchEngine().bind(spec, [arrays], dtype="float64", device="cpu", kernel="eager")
    task = TrajectoryTask(program, [arrays], np.array([0, 1]), np.array([2]), 8)
    assert task.prefix == 7 and task.steps == 22
    starts = np.concatenate([b.start for _ in range(40) for b in task.batches(5, rng)])
    assert starts.min() == 7 and starts.max() == 24  # 29 intervals
    assert all((b.start == 7).all() for b in task.validation_batches)
    theta = random_theta(spec, rng, torch.float64).numpy()
    batch = Batch(np.array([0, 1]), np.array([7, 15]), 5)
    value = program.loss(theta, batch)
    changed = replace(arrays, x=arrays.x.copy())
    changed.x[:, :7] += 5.0  # the past of the first window, of the second nothing
    other = TorchEngine().bind(spec, [changed], dtype="float64", device="cpu", kernel="eager")
    one = Batch(np.array([1]), np.array([16]), 5)
    assert other.loss(theta, one) == program.loss(theta, one)
    assert other.loss(theta, batch) != value  # it is an input
    free = ModelSpec(channels=2, hidden=4, **{**EMITTED, "divisor": 1e30})
    away = TorchEngine().bind(free, [changed], dtype="float64", device="cpu", kernel="eager")
    near = TorchEngine().bind(free, [arrays], dtype="float64", device="cpu", kernel="eager")
    # Without an effect of messages the past is not in the loss at all.
    np.testing.assert_allclose(away.loss(theta, batch), near.loss(theta, batch), rtol=1e-12)


# ---- simulated data, training, rollouts ----------------------------------------------------------------

FREQUENCY = np.random.default_rng(3).normal(0.0, 3.0, (6, 3))
PHYSICS = {"coupling": 1.5, "frequency": FREQUENCY}
KURAMOTO: dict[str, Any] = dict(
    system="kuramoto", nodes=6, topology="ring", steps=60, dt=0.05, parameters=PHYSICS
)


def test_simulated_delays_follow_the_equations() -> None:
    ds = pympnode.simulate(**KURAMOTO, delay=0.4, trajectories=2)
    fine = pympnode.simulate(**{**KURAMOTO, "dt": 0.01, "steps": 300}, delay=0.4, trajectories=2)
    np.testing.assert_allclose(fine.state[:, ::5], ds.state, atol=1e-5)
    assert ds.edge_delay.values.tolist() == [0.4] * 12
    x, dt = fine.state.values, 0.01
    slope = (x[:, :-4] - 8 * x[:, 1:-3] + 8 * x[:, 3:-1] - x[:, 4:]) / (12 * dt)
    graph = schema.pack(ds).graph
    inner = np.arange(2, x.shape[1] - 2)
    late = inner > 42  # the slope bends where the start of the coupling arrives
    seen, here = x[:, inner[late] - 40], x[:, inner[late]]
    wanted = np.broadcast_to(FREQUENCY, here.shape).copy()
    for j, k in zip(graph.sender, graph.receiver):
        wanted[:, :, k] += 1.5 * np.sin(seen[:, :, j] - here[:, :, k])
    np.testing.assert_allclose(slope[:, late], wanted, atol=2e-3)
    # A delay of 0 is the system without delay.
    none = pympnode.simulate(**KURAMOTO, trajectories=2)
    zero = pympnode.simulate(**KURAMOTO, delay=lambda rng, sender, receiver: 1e-12 * sender,
                             trajectories=2)  # fmt: skip
    np.testing.assert_allclose(zero.state, none.state, atol=1e-6)
    # More trajectories leave the first ones as they are.
    more = pympnode.simulate(**KURAMOTO, delay=0.4, trajectories=3)
    np.testing.assert_array_equal(more.state[:2], ds.state)
    drawn = pympnode.simulate(**KURAMOTO, delay=(0.0, 1.0), trajectories=1)
    steps = in_steps(drawn.edge_delay.values, 0.05)
    assert len(np.unique(steps)) == 6 and ((steps == 0) | (steps >= 1)).all()
    with pytest.raises(InvalidOption, match="without delays"):
        pympnode.simulate("heat", nodes=3, delay=1.0, trajectories=1)


def quiet(**options: Any) -> Any:
    with pytest.warns(PympnodeWarning):  # one graph whose node attributes name the nodes
        return pympnode.train(progress=False, messages="emitted", kernel="eager", **options)


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return pympnode.simulate(**KURAMOTO, delay=0.4, trajectories=20)


@pytest.fixture(scope="module")
def trained(data: xr.Dataset) -> Any:
    return quiet(data=data, updates=5, dtype="float64")


def test_rollouts_of_datasets_take_their_first_times_as_history(trained: Any, data: Any) -> None:
    model = trained.model
    assert model.delayed and model.trained.delay == (0.4, 0.4)
    out = model.rollout(data, check=False)
    assert out.state.attrs["predicted_from"] == pytest.approx(9 * 0.05)
    np.testing.assert_array_equal(out.state[:, :9], data.state[:, :9])
    assert abs(out.state[:, 9] - data.state[:, 9]).values.max() > 0
    fewer = model.rollout(data, steps=7, check=False)
    assert fewer.sizes["time"] == 8 + 7 + 1
    np.testing.assert_allclose(fewer.state, out.state[:, :16], rtol=1e-12)
    x = data.state.values
    again = model.rollout(
        x[:, 8], history=x[:, :8], topology=schema.pack(data).graph, dt=0.05, steps=7, check=False,
        node_attribute=data.node_attribute.values,
    )  # fmt: skip
    np.testing.assert_allclose(again.state, out.state[:, 8:16], rtol=1e-12)
    scores = pympnode.evaluate(model, data)
    assert scores.time.values[0] == pytest.approx(0.4)
    error = out.state[:, 9:].values - x[:, 9:]
    np.testing.assert_allclose(
        scores.rmse.sel(predictor="model"), np.sqrt((error**2).mean(axis=(0, 1, 2))), rtol=1e-6
    )
    still = x[:, 9:] - x[:, 8:9]
    np.testing.assert_allclose(
        scores.rmse.sel(predictor="persistence"),
        np.sqrt((still**2).mean(axis=(0, 1, 2))),
        rtol=1e-6,
    )


def test_rollouts_without_enough_of_the_past_are_refused(trained: Any, data: Any) -> None:
    model, x = trained.model, data.state.values
    with pytest.raises(InvalidData, match="shorter than the past"):
        model.rollout(data.isel(time=slice(0, 6)))
    options = dict(topology=schema.pack(data).graph, node_attribute=data.node_attribute.values)
    with pytest.raises(InvalidData, match="states before the start are not known"):
        model.rollout(x[:, 8], **options)
    with pytest.raises(InvalidData, match="history does not fit"):
        model.rollout(x[:, 8], history=x[:, :3], **options)
    with pytest.raises(InvalidData, match="at the times of the data alone"):
        model.rollout(data, dt=0.1, check=False)
    with pytest.raises(InvalidModel, match="no vector field"):
        model.vector_field(x[:, 0])
    plain = quiet(data=data.drop_vars("edge_delay"), updates=1)
    with pytest.raises(InvalidData, match="without delays of edges"):
        plain.model.rollout(data)


def test_files_keep_delays(trained: Any, data: Any, tmp_path: Path) -> None:
    trained.model.save(tmp_path / "m.nc")
    back = pympnode.load(tmp_path / "m.nc")
    np.testing.assert_array_equal(
        back.rollout(data, check=False).state, trained.model.rollout(data, check=False).state
    )
    one = quiet(data=data.drop_vars("edge_delay"), delay=0.3, updates=1)
    assert one.model.delay == pytest.approx(0.3) and "delays" in repr(one.model)
    one.model.save(tmp_path / "m.nc")
    assert pympnode.load(tmp_path / "m.nc").delay == pytest.approx(0.3)


def test_learned_delays_per_edge_are_those_of_the_graph(data: Any, tmp_path: Path) -> None:
    bare = data.drop_vars("edge_delay")
    result = quiet(data=bare, delay="learn per edge", delay_start=0.25, updates=3, dtype="float64")
    model = result.model
    assert model.graph.delay.shape == (12,) and len(set(model.graph.delay.tolist())) == 12
    assert abs(model.graph.delay - 0.25).max() < 0.2 and not model.spec.learned_delays
    model.save(tmp_path / "m.nc")
    back = pympnode.load(tmp_path / "m.nc")
    np.testing.assert_array_equal(back.graph.delay, model.graph.delay)
    same = back.rollout(bare, check=False)
    np.testing.assert_array_equal(same.edge_delay, model.graph.delay)
    with_own = back.rollout(bare.assign(edge_delay=("edge", model.graph.delay)), check=False)
    np.testing.assert_array_equal(with_own.state, same.state)


def test_resumed_runs_are_equal_to_the_bit(data: Any, tmp_path: Path) -> None:
    options = dict(data=data.drop_vars("edge_delay"), delay="learn", epochs=2, dtype="float64")
    whole = quiet(**options)
    import os
    import signal
    import threading

    timer = threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    try:
        first = quiet(**options, run=tmp_path / "run")
    except KeyboardInterrupt:
        first = None
    finally:
        timer.cancel()
    again = quiet(**options, run=tmp_path / "run") if first is None or first.status != "completed" else first  # fmt: skip
    np.testing.assert_array_equal(again.model.theta, whole.model.theta)
    assert again.model.delay == whole.model.delay


# Phases as angles: the class of the model then holds the coupling exactly, and what is left is the delay.
SHORT: dict[str, Any] = dict(
    messages="emitted", progress=False, kernel="eager", circular=("phase_1", "phase_2", "phase_3"),
    window=0.25,
)  # fmt: skip
SLOWER: dict[str, Any] = {
    **KURAMOTO,
    "steps": 40,
    "parameters": {"coupling": 1.5, "frequency": 0.5 * FREQUENCY},
}


@pytest.mark.slow
def test_delays_from_0_to_20_steps_matter() -> None:
    """Kuramoto oscillators with frequencies of their own, and delays of edges drawn from 0 to 20 steps:
    the error with the right delays is at most a fifth of that of a model without any."""
    data, test = (
        pympnode.simulate(**SLOWER, delay=(0.0, 1.0), trajectories=count, seed=seed)
        for count, seed in ((40, 1), (10, 2))
    )
    graph, x = schema.pack(test).graph, test.state.values
    errors = []
    for ds, held in ((data, graph), (data.drop_vars("edge_delay"), graph.with_delay(None))):
        with pytest.warns(PympnodeWarning):
            result = pympnode.train(data=ds, updates=1500, **SHORT)
        predicted = result.model.rollout(
            x[:, 20], history=x[:, :20], topology=held, dt=0.05, steps=20, check=False,
            node_attribute=test.node_attribute.values,
        ).state.values  # fmt: skip
        away = np.angle(np.exp(1j * (predicted - x[:, 20:])))
        errors.append(float(np.sqrt((away[:, 1:] ** 2).mean())))
    assert errors[0] <= errors[1] / 5, errors


@pytest.mark.slow
def test_one_delay_is_found_within_half_a_step() -> None:
    data = pympnode.simulate(**SLOWER, delay=0.4, trajectories=40, seed=1)
    with pytest.warns(PympnodeWarning):
        result = pympnode.train(
            data=data.drop_vars("edge_delay"), delay="learn", updates=1500, **SHORT
        )
    assert abs(result.model.delay - 0.4) < 0.5 * 0.05, result.model.delay
