"""The compiled kernel against autograd in float64, and what it promises of threads and memory."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_windows import OPTIONS, random_theta, random_window

from pympnode.networks.engines.columns import Columns
from pympnode.networks.engines.torch import kernel_eager as eager
from pympnode.networks.engines.torch.kernel_numba import run as compiled
from pympnode.networks.spec import ModelSpec

pytest.importorskip("numba", reason="the compiled kernel needs numba")

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
                got, slope = compiled.loss_and_gradient(spec, theta, window, store=store)
                assert got == pytest.approx(value, rel=TOLERANCE[dtype])
                assert slope.dtype == dtype
                assert relative(slope, gradient) < TOLERANCE[dtype]
            assert compiled.loss(spec, theta, window) == pytest.approx(value, rel=TOLERANCE[dtype])
            states = compiled.rollout(spec, theta, window)
            assert relative(states, eager.rollout(spec, theta, window)) < TOLERANCE[dtype]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    channels=st.integers(1, 9),
    message=st.integers(1, 9),
    hidden=st.integers(1, 40),
    depth=st.integers(1, 3),
    controls=st.integers(0, 3),
    messages=st.sampled_from(["state", "self", "emitted", "zero", "pairwise", "pairwise"]),
    coupling=st.sampled_from(["mixed", "superposed"]),
    aggregation=st.sampled_from(["mean", "mean", "max"]),
    first=st.sampled_from(["zero", "linear", "mlp"]),
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    batch=st.integers(1, 40),
    columns=st.sampled_from([1, 16, 320]),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_any_shape_agrees_with_autograd(
    channels, message, hidden, depth, controls, messages, coupling, aggregation, first, sizes,
    batch, columns, threads, seed,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    spec = ModelSpec(
        channels=channels,
        message=channels if (messages, coupling) == ("pairwise", "superposed") else message,
        hidden=hidden,
        depth=depth,
        controls=controls,
        messages=messages,
        coupling=coupling,
        aggregation=aggregation,
        first_message=first,
        edge_attributes=controls if messages == "pairwise" else 0,
    )
    graph_of = rng.integers(len(sizes), size=batch).tolist()
    window = random_window(spec, rng, sizes, graph_of, 2, torch.float64)
    theta = random_theta(spec, rng, torch.float64)
    value, gradient = eager.loss_and_gradient(spec, theta, window)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "TILE_COLUMNS", columns)
        patch.setattr(compiled, "threads", lambda: threads)
        got, slope = compiled.loss_and_gradient(spec, theta, window)
    assert got == pytest.approx(value, rel=1e-12)
    assert relative(slope, gradient) < 1e-12


def test_gradient_is_the_slope_of_the_loss(rng: np.random.Generator) -> None:
    spec = ModelSpec(channels=2, message=2, hidden=12, first_message="mlp", solver="tsit5")
    window = random_window(spec, rng, [5], [0] * 4, 3, torch.float64)
    theta = random_theta(spec, rng, torch.float64)
    _, gradient = compiled.loss_and_gradient(spec, theta, window)
    direction = torch.as_tensor(rng.standard_normal(len(theta)))
    h = 1e-4
    values = [compiled.loss(spec, theta + k * h * direction, window) for k in (-2, -1, 1, 2)]
    # Five points: error h^4, and the kinks of Huber's second derivative about 1e-6.
    slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
    assert slope == pytest.approx(float(gradient @ direction), rel=1e-6)


def test_same_bits_every_time(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ModelSpec(channels=3)
    window = random_window(spec, rng, [10], [0] * 70, 3, torch.float32)
    theta = random_theta(spec, rng, torch.float32)
    for parts in (1, 2, 3):
        monkeypatch.setattr(compiled, "threads", lambda parts=parts: parts)
        first = compiled.loss_and_gradient(spec, theta, window)
        for _ in range(3):
            value, gradient = compiled.loss_and_gradient(spec, theta, window)
            assert value == first[0]
            assert torch.equal(gradient, first[1])


def test_leaves_the_threads_of_torch_alone() -> None:
    """In a process of its own: numba's threads, once started, stay."""
    code = """
import torch
torch.set_num_threads(1)
from pympnode.networks.engines.torch.kernel_numba import run as compiled
assert compiled.threads() == 1
compiled._modules()
from numba.np.ufunc import parallel
assert not parallel._is_initialized
assert torch.get_num_threads() == 1
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_numba_threads_are_an_upper_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    from numba import config

    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(config, "NUMBA_NUM_THREADS", 2)
    assert compiled.threads() == 2
    monkeypatch.setattr(config, "NUMBA_NUM_THREADS", 5)
    assert compiled.threads() == 3


def test_members_are_their_single_runs(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "threads", lambda: 2)
    spec = ModelSpec(channels=2)
    windows = [random_window(spec, rng, [6], [0] * 20, 3, torch.float32) for _ in range(5)]
    thetas = [random_theta(spec, rng, torch.float32) for _ in range(5)]
    together = compiled.loss_and_gradient_members(spec, thetas, windows)
    for theta, window, (value, gradient) in zip(thetas, windows, together):
        alone = compiled.loss_and_gradient(spec, theta, window)
        assert value == alone[0]
        assert torch.equal(gradient, alone[1])


def test_nan_is_not_hidden(rng: np.random.Generator) -> None:
    spec = ModelSpec(channels=2)
    window = random_window(spec, rng, [4], [0] * 3, 3, torch.float32)
    theta = random_theta(spec, rng, torch.float32)
    theta[0] = float("nan")
    value, gradient = compiled.loss_and_gradient(spec, theta, window)
    assert not np.isfinite(value)
    assert not torch.isfinite(gradient).all()
    assert not torch.isfinite(compiled.rollout(spec, theta, window)).all()


@pytest.mark.parametrize("options", [{}, {"messages": "pairwise"}], ids=["state", "pairwise"])
def test_one_trajectory_that_overflows_leaves_the_others_alone(
    options: dict[str, str], rng: np.random.Generator
) -> None:
    spec = ModelSpec(channels=2, **options)  # type: ignore[arg-type]
    window = random_window(spec, rng, [4], [0] * 40, 3, torch.float32)
    theta = random_theta(spec, rng, torch.float32)
    clean = compiled.rollout(spec, theta, window)
    window.initial[:, 5::40] = float("nan")
    broken = compiled.rollout(spec, theta, window)
    others = torch.arange(160) % 40 != 5
    assert torch.equal(clean[..., others], broken[..., others])
    assert not torch.isfinite(broken[1:, :, ~others]).any()


def test_stores_only_what_fits(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ModelSpec(channels=3)
    window = random_window(spec, rng, [10], [0] * 32, 6, torch.float32)
    theta = random_theta(spec, rng, torch.float32)
    run = compiled._Run(spec, theta, window, 1, None)
    assert run.shape.stored
    monkeypatch.setattr(compiled, "STORE_BYTES", 2**20)
    run = compiled._Run(spec, theta, window, 1, None)
    assert not run.shape.stored
    # Four stages of an interval, whatever the number of intervals.
    assert run.shape.slots == 4


def test_tiles_hold_every_column_once(rng: np.random.Generator) -> None:
    from pympnode.networks.engines.torch.kernel_numba.plan import cut

    for sizes, batch in (([10], 128), ([3, 5, 64], 50), ([1, 200], 7)):
        graph_of = rng.integers(len(sizes), size=batch).tolist()
        columns: Columns = random_window(
            ModelSpec(), rng, sizes, graph_of, 1, torch.float32
        ).columns
        for size, parts in ((320, 1), (100, 2), (1, 1)):
            pieces, first, filled = cut(columns, size, 16, parts)
            seen = np.zeros(columns.total, dtype=int)
            for tile in range(len(filled)):
                rows = pieces[first[tile] : first[tile + 1]]
                assert (rows[:, 0] * rows[:, 1]).sum() == filled[tile]
                for nodes, width, _, _, start, wide, _ in rows:
                    for node in range(nodes):
                        seen[start + node * wide : start + node * wide + width] += 1
            assert (seen == 1).all()


@pytest.mark.parametrize("options", [{}, {"aggregation": "max"}], ids=["mean", "max"])
@pytest.mark.parametrize("width", [1, 3, 4, 7, 8, 13, 16, 33, 70])
def test_pairs_of_any_number_of_trajectories(
    width: int, options: dict[str, str], rng: np.random.Generator
) -> None:
    """Edges share panels, and are cut by them, in another way for each number of trajectories."""
    spec = ModelSpec(channels=2, hidden=9, messages="pairwise", edge_attributes=1, **options)  # type: ignore[arg-type]
    for dtype in (torch.float32, torch.float64):
        window = random_window(spec, rng, [5], [0] * width, 2, dtype)
        theta = random_theta(spec, rng, dtype)
        _, gradient = eager.loss_and_gradient(spec, theta, window)
        assert (
            relative(compiled.loss_and_gradient(spec, theta, window)[1], gradient)
            < (TOLERANCE[dtype])
        )


def test_refuses_specifications_that_it_cannot_run() -> None:
    assert compiled.supports(ModelSpec()) is None
    assert "l2s" in str(compiled.supports(ModelSpec(family="l2s")))


def test_logs_when_it_compiles(caplog: pytest.LogCaptureFixture) -> None:
    import time

    with caplog.at_level(logging.INFO, logger="pympnode.kernel"):
        compiled.warmed_up.discard(("nothing", "float32"))
        with compiled._first_call("nothing", np.dtype("float32")):
            time.sleep(1.2)
        with compiled._first_call("nothing", np.dtype("float32")):
            pass
    assert len(caplog.records) == 1
    assert "compiling" in caplog.text


@pytest.mark.slow
def test_same_bits_whether_compiled_or_loaded(tmp_path: Path) -> None:
    """A run may be resumed by a process that loads the code which the first one compiled."""
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np, torch
from kernel_windows import random_theta, random_window
from pympnode.networks.engines.torch.kernel_numba import run as compiled
from pympnode.networks.spec import ModelSpec
torch.set_num_threads(1)
rng = np.random.default_rng(0)
spec = ModelSpec(channels=3, message=2, hidden=20)
for masked in (False, True):
    graph_of = [1, 0, 3, 1, 1, 2, 3, 3] + [4] * 37
    window = random_window(spec, rng, [4, 7, 1, 9, 64], graph_of, 4, torch.float32, masked=masked)
    theta = random_theta(spec, rng, torch.float32)
    value, gradient = compiled.loss_and_gradient(spec, theta, window)
    states = compiled.rollout(spec, theta, window)
    print(value.hex(), compiled.loss(spec, theta, window).hex())
    print(gradient.numpy().tobytes().hex(), states.numpy().tobytes().hex())
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    compiling, loading = (
        subprocess.run(command, check=True, env=environment, capture_output=True, text=True).stdout
        for _ in range(2)
    )
    assert list(tmp_path.rglob("*.nbc"))
    assert compiling == loading


@pytest.mark.slow
@pytest.mark.parametrize(
    "cpu", [("haswell", "+avx,+avx2,+fma"), ("generic", "")], ids=["avx2", "sse2"]
)
def test_narrower_vectors(cpu: tuple[str, str], tmp_path: Path) -> None:
    """Other register files have other tiles; in a process of its own, compiled anew."""
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np, torch
from kernel_windows import OPTIONS, random_theta, random_window
from pympnode.networks.engines.torch import kernel_eager as eager
from pympnode.networks.engines.torch.kernel_numba import machine, tiles
from pympnode.networks.engines.torch.kernel_numba import run as compiled
from pympnode.networks.spec import ModelSpec
assert machine.lanes(8) == int(sys.argv[2]) and tiles.ROWS == 4
for options in OPTIONS.values():
    rng = np.random.default_rng(0)
    spec = ModelSpec(channels=3, message=2, hidden=13).replace(**options)
    window = random_window(spec, rng, [4, 7], [1, 0, 1, 1, 0], 3, torch.float64)
    theta = random_theta(spec, rng, torch.float64)
    value, gradient = eager.loss_and_gradient(spec, theta, window)
    got, slope = compiled.loss_and_gradient(spec, theta, window)
    assert abs(got / value - 1) < 1e-12
    assert float((slope - gradient).abs().max() / gradient.abs().max()) < 1e-12, options
"""
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": cpu[0],
        "NUMBA_CPU_FEATURES": cpu[1],
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    lanes = "4" if "avx2" in cpu[1] else "2"
    subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent), lanes], check=True, env=environment
    )
