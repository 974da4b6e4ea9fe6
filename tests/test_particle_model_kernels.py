"""Every sum over edges is the plain one: values, gradients, whole models and golden files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from nbody_models import golden_models

from pympnode.errors import EngineUnavailable, InvalidOption, UnknownName
from pympnode.particles.engine import (
    kernel_numba as edge_block,
)
from pympnode.particles.engine import (
    kernel_torch as edge_chunks,
)
from pympnode.particles.engine import (
    products,
)
from pympnode.particles.engine.kernel_eager import plain_edge_sum
from pympnode.particles.engine.kernel_numba import CompiledEdgeSum
from pympnode.particles.engine.kernel_torch import ChunkedEdgeSum
from pympnode.particles.engine.kernels import edge_sum_of
from pympnode.particles.engine.program import ParticleProgram, Target
from pympnode.particles.engine.threads import threads_for
from pympnode.particles.spec import ParticleScales, ParticleSpec

SUMS = [CompiledEdgeSum, ChunkedEdgeSum]


def inputs(rng, edges, dtype=torch.float64, senders=9, receivers=7, functions=3):
    def leaf(*shape):
        return torch.tensor(rng.standard_normal(shape), dtype=dtype, requires_grad=True)

    ends = (rng.integers(senders, size=edges), np.sort(rng.integers(receivers, size=edges)))
    geometry = leaf(edges, functions).detach()
    leaves = [leaf(senders, 6), leaf(receivers, 6), leaf(6, functions), leaf(5, 6), leaf(5)]
    return leaves, geometry, [torch.from_numpy(e) for e in ends]


def run(edge_sum, leaves, geometry, ends, balanced=False):
    first, second, rows, weight, bias = leaves
    return edge_sum(first, second, geometry, rows, weight, bias, *ends, torch.relu, balanced)


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of 64 edges, products of 16 rows or a multiple of it."""
    monkeypatch.setattr(products, "ROWS", 16)
    monkeypatch.setattr(edge_block, "CHUNK", 64)
    monkeypatch.setattr(edge_chunks, "CHUNK", {"cpu": 64, "cuda": 64})


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("edges", [0, 1, 63, 64, 65, 500])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 2e-4)])
@pytest.mark.parametrize("kind", SUMS)
def test_every_sum_equals_the_plain_one(
    rng, small_chunks, kind, dtype, tolerance, edges, recompute
) -> None:
    leaves, geometry, ends = inputs(rng, edges, dtype)
    # Single precision is measured against double: sums of up to 500 edges, each within 2^-23.
    exact = [x.detach().double().requires_grad_() for x in leaves]
    plain = run(plain_edge_sum, exact, geometry.double(), ends)
    fast = run(kind(recompute=recompute), leaves, geometry, ends)
    slope = torch.tensor(rng.standard_normal(plain.shape))
    torch.testing.assert_close(fast.double(), plain, rtol=tolerance, atol=tolerance)
    for a, b in zip(
        torch.autograd.grad(fast, leaves, slope.to(dtype)), torch.autograd.grad(plain, exact, slope)
    ):
        assert a.dtype == dtype
        torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("edges", [0, 1, 64, 65, 500])
@pytest.mark.parametrize("kind", SUMS)
def test_messages_received_minus_messages_sent(rng, small_chunks, kind, edges, recompute) -> None:
    leaves, geometry, ends = inputs(rng, edges, senders=8, receivers=8)
    plain = run(plain_edge_sum, leaves, geometry, ends, balanced=True)
    fast = run(kind(recompute=recompute), leaves, geometry, ends, balanced=True)
    received = run(plain_edge_sum, leaves, geometry, ends)
    first, second, *layers = leaves
    turned = run(plain_edge_sum, [second, first, *layers], geometry, ends[::-1])
    torch.testing.assert_close(plain, received - turned)
    torch.testing.assert_close(fast, plain, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(fast.sum(0), torch.zeros(5).double(), rtol=0, atol=1e-11)
    slope = torch.tensor(rng.standard_normal(plain.shape))
    for a, b in zip(
        torch.autograd.grad(fast, leaves, slope), torch.autograd.grad(plain, leaves, slope)
    ):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("kind", SUMS)
def test_what_is_not_a_number_stays_to_be_seen(rng, kind, low) -> None:
    leaves, geometry, ends = inputs(rng, 300, torch.float32)
    with torch.no_grad():
        leaves[4][2] = torch.nan
    out = run(kind(low=low), leaves, geometry, ends)
    assert torch.isnan(out[ends[1].unique(), 2]).all()


@pytest.mark.parametrize("kind", SUMS)
def test_receivers_need_not_be_sorted(rng, small_chunks, kind) -> None:
    leaves, geometry, ends = inputs(rng, 300)
    turned = ends[::-1]
    leaves[0], leaves[1] = leaves[1], leaves[0]
    torch.testing.assert_close(
        run(kind(), leaves, geometry, turned), run(plain_edge_sum, leaves, geometry, turned)
    )


@pytest.mark.parametrize("kind", SUMS)
def test_a_geometry_with_a_gradient_takes_the_plain_sum(rng, kind) -> None:
    leaves, geometry, ends = inputs(rng, 30)
    geometry.requires_grad_()
    out = run(kind(), leaves, geometry, ends)
    (slope,) = torch.autograd.grad(out.sum(), geometry)
    assert slope.abs().max() > 0


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("kind", SUMS)
def test_products_in_bfloat16_err_by_their_rounding(
    rng, small_chunks, kind, recompute, balanced
) -> None:
    leaves, geometry, ends = inputs(rng, 300, torch.float32, senders=9, receivers=9)
    with torch.no_grad():
        leaves[4] += 50  # every message is positive, so that no rounding moves a ReLU
    sender, receiver = ends
    out = run(kind(recompute=recompute, low=True), leaves, geometry, ends, balanced)
    slope = torch.tensor(rng.standard_normal(out.shape), dtype=torch.float32)
    found = [out, *torch.autograd.grad(out, leaves, slope)]

    exact = [x.detach().double().requires_grad_() for x in leaves]
    wanted = run(plain_edge_sum, exact, geometry.double(), ends, balanced)
    wanted = [wanted, *torch.autograd.grad(wanted, exact, slope.double())]

    # Two factors and the result of a product are rounded, by 2^-8 each; what it is bounded by is
    # the product of absolute values. Sums over edges and the biases are single precision.
    first, second, rows, weight, _ = (x.detach().double() for x in leaves)
    g = geometry.double()
    inner = torch.relu(first[sender] + second[receiver] + g @ rows.t())
    spread = slope.double().abs()[receiver]
    if balanced:
        spread = spread + slope.double().abs()[sender]
    back = (spread @ weight.abs()) * (inner > 0)

    def sums(values, index, like):
        return torch.zeros(len(like), values.shape[1]).double().index_add(0, index, values)

    weighed = inner @ weight.abs().t()
    sizes = [
        sums(weighed, receiver, second) + balanced * sums(weighed, sender, first),
        sums(back, sender, first),
        sums(back, receiver, second),
        back.t() @ g.abs(),
        spread.t() @ inner,
        spread.sum(0),
    ]
    unit = 2.0**-8
    single = 300 * 2.0**-23 * (50 + 1)  # of sums over edges of numbers up to the bias
    for a, b, size in zip(found, wanted, sizes):
        assert (abs(a.double() - b) <= (3 * unit + 4 * unit**2) * size + single).all()
    assert not torch.equal(out, run(kind(), leaves, geometry, ends, balanced))


def test_compiled_rounding_to_bfloat16_is_exact(rng) -> None:
    from pympnode.particles.engine.edge_loops import gather

    halves = rng.integers(0, 0x7F80, 20_000, dtype=np.uint32) << np.uint32(16)
    low = rng.choice(np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32), 20_000)
    values = (halves | low).view(np.float32).reshape(200, 100)  # ties, subnormals, the largest
    none = np.zeros((1, 100), np.float32)
    out = np.empty((200, 100), np.uint16)
    ends = np.arange(200), np.zeros(200, np.int64)
    gather(values, none, np.zeros((200, 0), np.float32), none[:0], *ends, 0, 200, out)
    expected = torch.from_numpy(values).bfloat16().view(torch.uint16).numpy()
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("kernel", ["compiled", "recompute", "chunked"])
def test_models_with_any_kernel_equal_the_reference_nbody_model_files(
    reference_dir: Path, kernel: str
) -> None:
    done = 0
    for case in golden_models(reference_dir):
        if case.spec.family != "deltagn":
            continue
        bound = ParticleProgram(
            case.spec, ParticleScales(), case.step, dtype="float64", device="cpu", kernel=kernel
        )
        a, b = case.start, case.target
        batch = bound.batch(a.position, a.velocity, a.mass, a.charge, case.box)
        after = bound.batch(b.position, b.velocity, b.mass, b.charge, case.box)
        target = Target(after.position, after.velocity)
        loss, gradient = bound.loss_and_gradient(case.theta, batch, target)
        assert loss == pytest.approx(case.loss, abs=1e-10), case.name
        np.testing.assert_allclose(gradient, case.gradient, rtol=1e-10, atol=1e-10)
        done += 1
    assert done


@pytest.mark.parametrize("kernel", ["compiled", "recompute", "chunked"])
def test_hamiltonian_models_refuse_the_kernels_of_deltagn(kernel) -> None:
    spec = ParticleSpec.named("hogn")
    assert ParticleProgram(spec, ParticleScales(), 0.01, device="cpu").kernel == "eager"
    with pytest.raises(EngineUnavailable, match="eager"):
        ParticleProgram(spec, ParticleScales(), 0.01, device="cpu", kernel=kernel)


def test_auto_takes_what_serves_the_device() -> None:
    spec, cpu, cuda = ParticleSpec.named("deltagn"), torch.device("cpu"), torch.device("cuda")
    assert edge_sum_of("auto", spec, cpu)[0] == "compiled"
    assert edge_sum_of("auto", spec, cuda)[0] == "chunked"
    name, chosen = edge_sum_of("recompute", spec, cuda)
    assert (name, type(chosen), chosen.recompute) == ("recompute", ChunkedEdgeSum, True)
    with pytest.raises(EngineUnavailable, match="on a CPU"):
        edge_sum_of("compiled", spec, cuda)
    with pytest.raises(UnknownName, match="fused"):
        edge_sum_of("fused", spec, cpu)


def test_precisions_that_do_not_go_together_are_refused() -> None:
    def bound(name="deltagn", **options):
        return ParticleProgram(
            ParticleSpec.named(name), ParticleScales(), 0.01, device="cpu", **options
        )

    assert bound().precision == "float32"
    assert bound(dtype="float64").precision == "float64"
    assert bound(precision="bf16").precision == "bf16"
    with pytest.raises(UnknownName, match="bf16"):
        bound(precision="bf17")
    for precision in ("bf16", "float32"):
        with pytest.raises(InvalidOption, match='dtype="float32"'):
            bound(dtype="float64", precision=precision)
    for wrong in ({"name": "hogn"}, {"kernel": "eager"}):
        with pytest.raises(EngineUnavailable, match="DeltaGN"):
            bound(**wrong, precision="bf16")


def test_small_steps_take_one_thread_and_give_the_others_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        cpu = torch.device("cpu")
        for operations, threads in ((1e8, 1), (1e11, 2)):
            with pytest.raises(KeyError), threads_for(operations, cpu):
                assert torch.get_num_threads() == threads
                raise KeyError
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
