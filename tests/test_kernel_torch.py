"""The torch kernel's hand-written adjoint against autograd in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_windows import OPTIONS, random_graph, random_theta, random_window

from pympnode.networks.engines.columns import Columns
from pympnode.networks.engines.torch import kernel_eager as eager
from pympnode.networks.engines.torch.kernel_torch import neighbours
from pympnode.networks.engines.torch.kernel_torch import run as adjoint
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
