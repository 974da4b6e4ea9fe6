"""The torch kernel's hand-written adjoint against autograd in float64."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_windows import (
    EDGE_OPTIONS,
    OPTIONS,
    random_graph,
    random_theta,
    random_window,
    with_edge_data,
)

from pympnode.graph import Graph
from pympnode.networks.engines.columns import Columns
from pympnode.networks.engines.torch import kernel_eager as eager
from pympnode.networks.engines.torch.kernel_torch import edges, neighbours
from pympnode.networks.engines.torch.kernel_torch import run as adjoint
from pympnode.networks.engines.torch.kernel_torch.kinds import Kinds
from pympnode.networks.engines.torch.kernel_torch.pairs import PairMessages
from pympnode.networks.spec import ModelSpec

GRAPHS = {"one graph": ([5], [0] * 9), "four graphs": ([4, 7, 1, 9], [1, 0, 3, 1, 1, 2, 3, 3])}
# Both kernels round each of some thousand sums once; their order differs.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


def relative(value: torch.Tensor, truth: torch.Tensor) -> float:
    return float((value - truth).abs().max() / truth.abs().max())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("option", OPTIONS)
def test_agrees_with_autograd(option: str, dtype: torch.dtype, rng: np.random.Generator) -> None:
    spec = ModelSpec(channels=3, message=2, hidden=20).replace(**OPTIONS[option])
    for sizes, graph_of in GRAPHS.values():
        for masked in (False, True):
            window = random_window(spec, rng, sizes, graph_of, 4, dtype, masked=masked)
            theta = random_theta(spec, rng, dtype)
            value, gradient = eager.loss_and_gradient(spec, theta, window)
            for store in (True, False):
                got, slope = adjoint.loss_and_gradient(spec, theta, window, store=store)
                assert got == pytest.approx(value, rel=TOLERANCE[dtype])
                assert slope.dtype == dtype
                assert relative(slope, gradient) < TOLERANCE[dtype]
            states = adjoint.rollout(spec, theta, window)
            assert relative(states, eager.rollout(spec, theta, window)) < TOLERANCE[dtype]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    channels=st.integers(1, 9),
    message=st.integers(1, 9),
    hidden=st.integers(1, 40),
    depth=st.integers(1, 3),
    controls=st.integers(0, 3),
    messages=st.sampled_from(["state", "self", "emitted", "zero"]),
    coupling=st.sampled_from(["mixed", "superposed"]),
    first=st.sampled_from(["zero", "linear", "mlp"]),
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    batch=st.integers(1, 40),
    dense=st.booleans(),
    bytes_stored=st.sampled_from([1, 10**5, 10**8]),
    seed=st.integers(0, 2**31),
)
def test_any_shape_agrees_with_autograd(
    channels, message, hidden, depth, controls, messages, coupling, first, sizes, batch, dense,
    bytes_stored, seed,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    spec = ModelSpec(
        channels=channels,
        message=message,
        hidden=hidden,
        depth=depth,
        controls=controls,
        messages=messages,
        coupling=coupling,
        first_message=first,
    )
    graph_of = rng.integers(len(sizes), size=batch).tolist()
    window = random_window(spec, rng, sizes, graph_of, 3, torch.float64)
    theta = random_theta(spec, rng, torch.float64)
    value, gradient = eager.loss_and_gradient(spec, theta, window)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_DENSE_BLOCKS", 8 if dense else 0)
        patch.setattr(adjoint, "STORE_BYTES", bytes_stored)
        got, slope = adjoint.loss_and_gradient(spec, theta, window)
    assert got == pytest.approx(value, rel=1e-12)
    assert relative(slope, gradient) < 1e-12


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    option=st.sampled_from(sorted(EDGE_OPTIONS)),
    channels=st.integers(1, 5),
    message=st.integers(1, 5),
    hidden=st.integers(1, 24),
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    batch=st.integers(1, 24),
    even=st.booleans(),
    bytes_scratch=st.sampled_from([1, 3000, 30_000, 10**8]),
    bytes_stored=st.sampled_from([1, 10**8]),
    masked=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_any_chunks_of_edges_agree_with_autograd(
    option, channels, message, hidden, sizes, batch, even, bytes_scratch, bytes_stored, masked, seed
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    options = {"channels": channels, "message": message, "hidden": hidden, **EDGE_OPTIONS[option]}
    if options.get("messages") == "pairwise" and options.get("coupling") == "superposed":
        options["message"] = channels
    spec = ModelSpec(**options)
    # Two trajectories of each, and more than one of a row are computed together.
    graph_of = rng.integers(len(sizes), size=batch).tolist() * (2 if even else 1)
    window = random_window(spec, rng, sizes, graph_of, 3, torch.float64, masked=masked)
    theta = random_theta(spec, rng, torch.float64)
    value, gradient = eager.loss_and_gradient(spec, theta, window)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edges, "SCRATCH_BYTES", bytes_scratch)
        patch.setattr(adjoint, "STORE_BYTES", bytes_stored)
        got, slope = adjoint.loss_and_gradient(spec, theta, window)
    assert got == pytest.approx(value, rel=1e-12)
    assert relative(slope, gradient) < 1e-12


@pytest.mark.parametrize("option", ["pair inputs", "pair learned max", "edges state learned"])
def test_sweeps_on_the_same_buffers_are_independent(option: str, rng: np.random.Generator) -> None:
    spec = ModelSpec(channels=3, message=2, hidden=20).replace(**EDGE_OPTIONS[option])
    window = random_window(spec, rng, [6], [0, 0], 3, torch.float64)
    theta = random_theta(spec, rng, torch.float64)
    first = adjoint.loss_and_gradient(spec, theta, window)
    adjoint.loss_and_gradient(spec, 2 * theta, window)
    again = adjoint.loss_and_gradient(spec, theta, window)
    assert again[0] == first[0] and torch.equal(again[1], first[1])


def test_the_first_of_equal_messages_is_the_largest(rng: np.random.Generator) -> None:
    graph = Graph.single(np.array([0, 1, 2, 3]), np.array([4, 4, 4, 0]), 5)
    columns = Columns.arrange(graph, np.zeros(2, np.int64))
    spec = ModelSpec(channels=1, message=1, messages="emitted", aggregation="max")
    sent = torch.zeros(1, 10)
    sent[0, 2:8] = torch.tensor([3.0, 3.0, 3.0, 5.0, -1.0, -2.0])  # nodes 1, 2, 3, two columns each
    for size in (1, 10**6):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(edges, "SCRATCH_BYTES", size)
            of = edges.edges_of(columns, spec, sent)
            assert len(of.chunks) == (4 if size == 1 else 1)
            along = edges.SentMessages(of, 1, sent)
        along.use(edges.EdgeWeights(of, None, sent))
        winner = torch.empty(10, 1, dtype=torch.int32)
        received, bar = torch.empty(1, 10), torch.empty(1, 10)
        along.receive(sent, winner, received)
        # Node 0 receives a negative number, 1 to 3 have no edge, and zero is no candidate anywhere.
        assert received.tolist() == [[-1.0, -2.0, 0, 0, 0, 0, 0, 0, 3.0, 5.0]]
        along.back(torch.arange(1.0, 11.0).view(1, 10), None, winner, bar)
        assert bar.tolist() == [[0, 0, 9.0, 0, 0, 10.0, 1.0, 2.0, 0, 0]]


def test_weights_of_one_are_no_weights_and_of_zero_no_edge(rng: np.random.Generator) -> None:
    graph = random_graph(rng, [7])
    assert len(graph.sender) > 8
    spec = ModelSpec(channels=2, message=2, hidden=9, messages="pairwise", aggregation="sum")
    theta = random_theta(spec, rng, torch.float64)
    window = random_window(spec, rng, [7], [0, 0, 0], 3, torch.float64)

    def result(graph: Graph) -> tuple[float, torch.Tensor]:
        columns = Columns.arrange(graph, np.zeros(3, np.int64))
        return adjoint.loss_and_gradient(spec, theta, dataclasses.replace(window, columns=columns))

    def weighted(weight: np.ndarray, keep: np.ndarray) -> Graph:
        sender, receiver = graph.sender[keep], graph.receiver[keep]
        return Graph(sender, receiver, graph.nodes, weight=weight[keep])

    every = np.ones(len(graph.sender), bool)
    some = np.arange(len(every)) % 3 > 0
    pairs = [
        (graph, weighted(np.ones(len(every)), every)),
        (weighted(some.astype(float), every), weighted(np.ones(len(every)), some)),
    ]
    for one, other in pairs:
        (a, slope_a), (b, slope_b) = result(one), result(other)
        assert a == pytest.approx(b, rel=1e-13)
        assert relative(slope_a, slope_b) < 1e-13


def test_memory_does_not_grow_with_the_edges(rng: np.random.Generator) -> None:
    spec = ModelSpec(channels=2, message=2, messages="pairwise", edge_attributes=1)
    like, held = torch.empty(0), []
    for degree in (5.0, 50.0):
        graph = with_edge_data(random_graph(rng, [200], degree), 1, rng, weighted=False)
        columns = Columns.arrange(graph, np.zeros(8, np.int64))
        of = edges.edges_of(columns, spec, like)
        made = PairMessages(spec, of, Kinds(spec, (0, columns.total)), like)
        tensors = [t for t in vars(made).values() if isinstance(t, torch.Tensor)]
        tensors.append(made.buffers[of.chunk_size].wide[0])  # a view of the memory of all three
        held.append(sum(t.untyped_storage().nbytes() for t in tensors))
    assert held[1] <= held[0]
    nodes = 200 * 8 * spec.hidden * 4
    assert held[0] <= 5 * nodes + 2 * edges.SCRATCH_BYTES


def test_both_ways_of_summing_neighbours(rng: np.random.Generator) -> None:
    columns = Columns.arrange(random_graph(rng, [4, 9, 6]), np.array([0, 2, 1, 1, 2]))
    sent = torch.as_tensor(rng.standard_normal((3, columns.total)))
    dense = neighbours.Neighbours(columns, "mean", 1.0, sent)
    assert dense.dense
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_DENSE_BLOCKS", 0)
        edges = neighbours.Neighbours(columns, "mean", 1.0, sent)
    assert not edges.dense
    for name in ("receive", "back"):
        one, other = torch.empty_like(sent), torch.empty_like(sent)
        getattr(dense, name)(sent, one)
        getattr(edges, name)(sent, other)
        # Sums of at most nine numbers.
        assert torch.allclose(one, other, rtol=0, atol=1e-14)


def test_window_is_cut_where_memory_ends(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ModelSpec(channels=3)
    window = random_window(spec, rng, [10], [0] * 32, 6, torch.float32)
    assert adjoint.segment(spec, window, None) == 6
    # A stage stores [x; a; 1] and two layers with a row of ones, four stages an interval.
    interval = 4 * (7 + 2 * 33) * 320 * 4
    monkeypatch.setattr(adjoint, "STORE_BYTES", 2 * interval + 1)
    assert adjoint.segment(spec, window, None) == 2
    monkeypatch.setattr(adjoint, "STORE_BYTES", 1)
    assert adjoint.segment(spec, window, None) == 1


def test_refuses_specifications_that_it_cannot_run() -> None:
    assert adjoint.supports(ModelSpec()) is None
    assert "l2s" in str(adjoint.supports(ModelSpec(family="l2s")))
