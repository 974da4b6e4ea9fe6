"""Every sum over edges is the plain one: values, gradients, whole models and golden files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from nbody_models import golden_models

from pympnode.errors import EngineUnavailable, InvalidOption, UnknownName
from pympnode.particles.engine import kernel_numba, kernel_torch, products
from pympnode.particles.engine.kernel_eager import EdgeInputs, eager_edge_sum
from pympnode.particles.engine.kernel_numba import NumbaEdgeSum
from pympnode.particles.engine.kernel_torch import TorchEdgeSum
from pympnode.particles.engine.kernels import KERNELS, edge_sum_of, kernel_named
from pympnode.particles.engine.program import ParticleProgram, Target
from pympnode.particles.engine.threads import threads_for
from pympnode.particles.spec import ParticleScales, ParticleSpec

SUMS = [NumbaEdgeSum, TorchEdgeSum]


def problem(rng, edges, dtype=torch.float64, senders=9, receivers=7, n_features=3):
    def leaf(*shape):
        return torch.tensor(rng.standard_normal(shape), dtype=dtype, requires_grad=True)

    ends = (rng.integers(senders, size=edges), np.sort(rng.integers(receivers, size=edges)))
    features = leaf(edges, n_features).detach()
    leaves = [leaf(senders, 6), leaf(receivers, 6), leaf(6, n_features), leaf(5, 6), leaf(5)]
    return leaves, features, [torch.from_numpy(e) for e in ends]


def run(edge_sum, leaves, features, ends, antisymmetric=False):
    first, second, rows, weight, bias = leaves
    inputs = EdgeInputs(first, second, features, rows, weight, bias, *ends)
    return edge_sum(inputs, torch.relu, antisymmetric)


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of 64 edges, products of 16 rows or a multiple of it."""
    monkeypatch.setattr(products, "ROWS", 16)
    monkeypatch.setattr(kernel_numba, "CHUNK", 64)
    monkeypatch.setattr(kernel_torch, "CHUNK", {"cpu": 64, "cuda": 64})


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("edges", [0, 1, 63, 64, 65, 500])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 2e-4)])
@pytest.mark.parametrize("kind", SUMS)
def test_every_sum_equals_the_plain_one(
    rng, small_chunks, kind, dtype, tolerance, edges, recompute
) -> None:
    leaves, features, ends = problem(rng, edges, dtype)
    # Single precision is measured against double: sums of up to 500 edges, each within 2^-23.
    exact = [x.detach().double().requires_grad_() for x in leaves]
    plain = run(eager_edge_sum, exact, features.double(), ends)
    fast = run(kind(recompute=recompute), leaves, features, ends)
    grad_output = torch.tensor(rng.standard_normal(plain.shape))
    torch.testing.assert_close(fast.double(), plain, rtol=tolerance, atol=tolerance)
    for a, b in zip(
        torch.autograd.grad(fast, leaves, grad_output.to(dtype)),
        torch.autograd.grad(plain, exact, grad_output),
    ):
        assert a.dtype == dtype
        torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("edges", [0, 1, 64, 65, 500])
@pytest.mark.parametrize("kind", SUMS)
def test_messages_received_minus_messages_sent(rng, small_chunks, kind, edges, recompute) -> None:
    leaves, features, ends = problem(rng, edges, senders=8, receivers=8)
    plain = run(eager_edge_sum, leaves, features, ends, antisymmetric=True)
    fast = run(kind(recompute=recompute), leaves, features, ends, antisymmetric=True)
    received = run(eager_edge_sum, leaves, features, ends)
    first, second, *layers = leaves
    swapped = run(eager_edge_sum, [second, first, *layers], features, ends[::-1])
    torch.testing.assert_close(plain, received - swapped)
    torch.testing.assert_close(fast, plain, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(fast.sum(0), torch.zeros(5).double(), rtol=0, atol=1e-11)
    grad_output = torch.tensor(rng.standard_normal(plain.shape))
    for a, b in zip(
        torch.autograd.grad(fast, leaves, grad_output),
        torch.autograd.grad(plain, leaves, grad_output),
    ):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("kind", SUMS)
def test_nan_stays_in_the_result(rng, kind, bf16) -> None:
    leaves, features, ends = problem(rng, 300, torch.float32)
    with torch.no_grad():
        leaves[4][2] = torch.nan
    out = run(kind(bf16=bf16), leaves, features, ends)
    assert torch.isnan(out[ends[1].unique(), 2]).all()


def test_a_torch_without_its_private_operator_gives_the_same_gradient(rng, monkeypatch) -> None:
    leaves, features, ends = problem(rng, 300)
    found = []
    for _ in range(2):
        out = run(TorchEdgeSum(), leaves, features, ends)
        found.append(torch.autograd.grad(out.sum(), leaves))
        monkeypatch.setattr(kernel_torch, "_THRESHOLD", None)
    for a, b in zip(*found):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", SUMS)
def test_receivers_need_not_be_sorted(rng, small_chunks, kind) -> None:
    leaves, features, ends = problem(rng, 300)
    swapped = ends[::-1]
    leaves[0], leaves[1] = leaves[1], leaves[0]
    torch.testing.assert_close(
        run(kind(), leaves, features, swapped), run(eager_edge_sum, leaves, features, swapped)
    )


@pytest.mark.parametrize("kind", SUMS)
def test_a_features_with_a_gradient_takes_the_plain_sum(rng, kind) -> None:
    leaves, features, ends = problem(rng, 30)
    features.requires_grad_()
    out = run(kind(), leaves, features, ends)
    (grad_output,) = torch.autograd.grad(out.sum(), features)
    assert grad_output.abs().max() > 0


@pytest.mark.parametrize("antisymmetric", [False, True])
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("kind", SUMS)
def test_products_in_bfloat16_err_by_their_rounding(
    rng, small_chunks, kind, recompute, antisymmetric
) -> None:
    leaves, features, ends = problem(rng, 300, torch.float32, senders=9, receivers=9)
    with torch.no_grad():
        leaves[4] += 50  # every message is positive, so that no rounding moves a ReLU
    sender, receiver = ends
    out = run(kind(recompute=recompute, bf16=True), leaves, features, ends, antisymmetric)
    grad_output = torch.tensor(rng.standard_normal(out.shape), dtype=torch.float32)
    found = [out, *torch.autograd.grad(out, leaves, grad_output)]

    exact = [x.detach().double().requires_grad_() for x in leaves]
    wanted = run(eager_edge_sum, exact, features.double(), ends, antisymmetric)
    wanted = [wanted, *torch.autograd.grad(wanted, exact, grad_output.double())]

    # Two factors and the result of a product are rounded, by 2^-8 each; what it is bounded by is
    # the product of absolute values. Sums over edges and the biases are single precision.
    first, second, rows, weight, _ = (x.detach().double() for x in leaves)
    g = features.double()
    inner = torch.relu(first[sender] + second[receiver] + g @ rows.t())
    of_edges = grad_output.double().abs()[receiver]
    if antisymmetric:
        of_edges = of_edges + grad_output.double().abs()[sender]
    back = (of_edges @ weight.abs()) * (inner > 0)

    def sums(values, index, like):
        return torch.zeros(len(like), values.shape[1]).double().index_add(0, index, values)

    weighed = inner @ weight.abs().t()
    sizes = [
        sums(weighed, receiver, second) + antisymmetric * sums(weighed, sender, first),
        sums(back, sender, first),
        sums(back, receiver, second),
        back.t() @ g.abs(),
        of_edges.t() @ inner,
        of_edges.sum(0),
    ]
    unit = 2.0**-8
    single = 300 * 2.0**-23 * (50 + 1)  # of sums over edges of numbers up to the bias
    for a, b, size in zip(found, wanted, sizes):
        assert (abs(a.double() - b) <= (3 * unit + 4 * unit**2) * size + single).all()
    assert not torch.equal(out, run(kind(), leaves, features, ends, antisymmetric))


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


@pytest.mark.parametrize(
    ("kernel", "recompute"), [("numba", False), ("numba", True), ("torch", False)]
)
def test_models_with_any_kernel_equal_the_reference_nbody_model_files(
    reference_dir: Path, kernel: str, recompute: bool
) -> None:
    done = 0
    for case in golden_models(reference_dir):
        if case.spec.family != "deltagn":
            continue
        bound = ParticleProgram(
            case.spec,
            ParticleScales(),
            case.step,
            dtype="float64",
            device="cpu",
            kernel=kernel,
            recompute=recompute,
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


@pytest.mark.parametrize("options", [{"kernel": "numba"}, {"kernel": "torch"}, {"recompute": True}])
def test_hamiltonian_models_refuse_the_kernels_of_deltagn(options) -> None:
    spec = ParticleSpec.named("hogn")
    assert ParticleProgram(spec, ParticleScales(), 0.01, device="cpu").kernel == "eager"
    with pytest.raises(EngineUnavailable, match="eager"):
        ParticleProgram(spec, ParticleScales(), 0.01, device="cpu", **options)


def test_auto_takes_a_kernel_that_runs_on_the_device() -> None:
    spec, cpu, cuda = ParticleSpec.named("deltagn"), torch.device("cpu"), torch.device("cuda")
    assert edge_sum_of("auto", spec, cpu)[0] == "numba"
    assert edge_sum_of("auto", spec, cuda)[0] == "torch"
    name, chosen = edge_sum_of("auto", spec, cuda, recompute=True)
    assert (name, type(chosen), chosen.recompute) == ("torch", TorchEdgeSum, True)
    with pytest.raises(EngineUnavailable, match="on a CPU"):
        edge_sum_of("numba", spec, cuda)
    with pytest.raises(EngineUnavailable, match="keeps what its gradient needs"):
        edge_sum_of("eager", spec, cpu, recompute=True)
    with pytest.raises(UnknownName, match="fused"):
        edge_sum_of("fused", spec, cpu)


@pytest.mark.parametrize(
    ("old", "kernel", "recompute"),
    [("compiled", "numba", False), ("chunked", "torch", False), ("recompute", "numba", True)],
)
def test_kernels_of_earlier_versions_keep_their_names_in_files(old, kernel, recompute) -> None:
    spec = ParticleSpec.named("deltagn")
    with pytest.warns(DeprecationWarning, match=old):
        bound = ParticleProgram(spec, ParticleScales(), 0.01, device="cpu", kernel=old)
    assert (bound.kernel, bound.recompute, bound.fingerprint_kernel) == (kernel, recompute, old)
    same = ParticleProgram(
        spec, ParticleScales(), 0.01, device="cpu", kernel=kernel, recompute=recompute
    )
    assert same.fingerprint_kernel == old


def test_kernel_names_of_today_do_not_warn(recwarn) -> None:
    assert [kernel_named(name) for name in KERNELS] == [(name, False) for name in KERNELS]
    assert not recwarn.list
    with pytest.raises(UnknownName, match="fused"):
        kernel_named("fused")


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
