"""`rollout_vjp` of every kernel and of the torch program, and `initial_message`.

The truth is autograd of the eager kernel in float64, finite differences of a rollout, or the equations
written as loops.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from equations import first_state
from kernel_windows import OPTIONS, random_graph, random_theta, random_window

from pympnode.errors import EngineUnavailable, InvalidModel
from pympnode.networks.engines.base import Batch
from pympnode.networks.engines.julia.engine import JuliaEngine
from pympnode.networks.engines.torch import kernel_eager as eager
from pympnode.networks.engines.torch.engine import TorchEngine
from pympnode.networks.engines.torch.kernel_torch import run as adjoint
from pympnode.networks.schema import Arrays
from pympnode.networks.spec import ModelSpec
from pympnode.networks.weights import layout_of

try:
    from pympnode.networks.engines.torch.kernel_numba import run as compiled

    KERNELS = (
        {"torch": adjoint, "numba": compiled} if compiled.supports(ModelSpec()) is None else {}
    )
except ImportError:
    KERNELS = {"torch": adjoint}
GRAPHS = {"one graph": ([5], [0] * 9), "four graphs": ([4, 7, 1, 9], [1, 0, 3, 1, 1, 2, 3, 3])}


def relative(value: torch.Tensor, truth: torch.Tensor) -> float:
    return float((value - truth).abs().max() / truth.abs().max())


# ---- kernels ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("option", OPTIONS)
def test_agrees_with_autograd(option: str, kernel: str, rng: np.random.Generator) -> None:
    spec = ModelSpec(channels=3, message=2, hidden=20).replace(**OPTIONS[option])
    reason = KERNELS[kernel].supports(spec)
    if reason is not None:
        pytest.skip(reason)
    for sizes, graph_of in GRAPHS.values():
        for masked in (False, True):
            window = random_window(spec, rng, sizes, graph_of, 4, torch.float64, masked=masked)
            theta = random_theta(spec, rng, torch.float64)
            bar = torch.as_tensor(rng.standard_normal((5, 3, window.columns.total)))
            x, gradient = eager.rollout_vjp(spec, theta, window, bar)
            for store in (True, False):
                got = KERNELS[kernel].rollout_vjp(spec, theta, window, bar, store=store)
                # Some thousand sums, each rounded once, in another order.
                assert got[0].shape == x.shape
                assert relative(got[0], x) < 1e-12
                assert relative(got[1], gradient) < 1e-12


@pytest.mark.parametrize("kernel", ["eager", *KERNELS])
@pytest.mark.parametrize(
    "option",
    [
        "published",
        "superposed emitted",
        "first mlp",
        "stride 3",
        "pair inputs",
        "pair learned max",
    ],
)
def test_huber_gradient_gives_the_gradient_of_the_loss(
    option: str, kernel: str, rng: np.random.Generator
) -> None:
    module: Any = {"eager": eager, **KERNELS}[kernel]
    spec = ModelSpec(channels=3, message=2, hidden=20).replace(**OPTIONS[option])
    if kernel != "eager" and module.supports(spec) is not None:
        pytest.skip(module.supports(spec))
    window = random_window(spec, rng, [4, 7], [1, 0, 1], 4, torch.float64, masked=True)
    theta = random_theta(spec, rng, torch.float64)
    _, gradient = module.loss_and_gradient(spec, theta, window)
    x = module.rollout(spec, theta, window)[:, : spec.channels]
    assert window.target is not None and window.mask is not None
    bar = torch.clamp(x - window.target, -1, 1) * window.mask * window.scale
    bar[0] = 0.0
    states, got = module.rollout_vjp(spec, theta, window, bar)
    assert torch.equal(states, x)
    assert relative(got, gradient) < 1e-13


@pytest.mark.parametrize("kernel", ["eager", *KERNELS])
def test_the_results_are_not_overwritten(kernel: str, rng: np.random.Generator) -> None:
    module: Any = {"eager": eager, **KERNELS}[kernel]
    spec = ModelSpec(channels=2, message=1, hidden=6)
    window = random_window(spec, rng, [4], [0, 0], 3, torch.float64)
    bar = torch.ones(4, 2, 8, dtype=torch.float64)
    theta = random_theta(spec, rng, torch.float64)
    first = module.rollout_vjp(spec, theta, window, bar)
    kept = [v.clone() for v in first]
    module.rollout_vjp(spec, 2 * theta, window, bar)
    assert torch.equal(first[0], kept[0]) and torch.equal(first[1], kept[1])


# ---- the program ------------------------------------------------------------------------------

SPECS = {
    "state": ModelSpec(channels=2, message=2, hidden=8, first_message="mlp"),
    "emitted": ModelSpec(channels=2, message=2, hidden=8, messages="emitted"),
    "controls": ModelSpec(channels=2, message=1, hidden=8, controls=1, coupling="superposed"),
    "attributes": ModelSpec(channels=2, message=1, hidden=8, attributes=1, first_message="linear"),
    "node": ModelSpec(family="node", channels=2, hidden=8, bodies=4, message=0, messages="zero"),
}


def dataset(spec: ModelSpec, rng: np.random.Generator, sizes: list[int], count: int) -> Arrays:
    """``count`` trajectories of random numbers, 7 times, on random graphs, some values missing."""
    most = max(sizes)
    mask = rng.random((count, 7, most, spec.channels)) < 0.8
    mask[:, :2] = True  # windows start at 0 or 1
    x = np.where(mask, rng.standard_normal(mask.shape), np.nan)
    u = rng.standard_normal((count, 7, most, spec.controls)) if spec.controls else None
    attribute = rng.standard_normal((most, spec.attributes)) if spec.attributes else None
    of = np.arange(count) % len(sizes)
    return Arrays(x, 0.05 * np.arange(7.0), random_graph(rng, sizes), of, u, attribute, mask)


def program(spec: ModelSpec, arrays: list[Arrays], kernel: str = "auto") -> Any:
    return TorchEngine().bind(spec, arrays, dtype="float64", device="cpu", kernel=kernel)


@pytest.mark.parametrize("kernel", ["eager", "torch", "auto"])
@pytest.mark.parametrize("name", SPECS)
def test_program_against_finite_differences(
    name: str, kernel: str, rng: np.random.Generator
) -> None:
    spec = SPECS[name]
    several = name not in ("node", "attributes")
    arrays = [dataset(spec, rng, [4], 3)]
    if several:
        arrays.append(dataset(spec, rng, [3, 5], 4))
    bound = program(spec, arrays, kernel)
    # Rows of the two datasets alternate, so that a wrong order shows.
    trajectory = np.array([5, 0, 3, 2, 6] if several else [2, 0])
    batch = Batch(trajectory, np.full(len(trajectory), 1), 4)
    theta = random_theta(spec, rng, torch.float64).numpy()
    nodes = 5 if several else 4
    bar = rng.standard_normal((len(trajectory), 5, nodes, 2))
    states, gradient = bound.rollout_vjp(theta, batch, bar)
    assert states.shape == bar.shape
    # Each row alone, by the free rollout from the same start.
    for row, number in enumerate(trajectory):
        data, index = (arrays[0], number) if number < 3 else (arrays[1], number - 3)
        of = data.graph_of[index : index + 1]
        x0 = data.x[index : index + 1, 1]
        size = int(np.asarray(data.graph.nodes)[of[0]])
        u = None if data.u is None else data.u[index : index + 1, 1:6]
        alone = bound.rollout(
            theta, x0, data.graph, data.time[1:6], graph_of=of, u=u, attribute=data.attribute
        ).state
        np.testing.assert_allclose(states[row, :, :size], alone[0, :, :size], rtol=0, atol=1e-12)
        assert np.isnan(states[row, :, size:]).all()
    direction = rng.standard_normal(len(theta))
    h = 1e-4

    def total(k: int) -> float:
        values, _ = bound.rollout_vjp(theta + k * h * direction, batch, bar)
        return float(np.nansum(bar * values))

    # Five points: error h^4 times a fifth derivative, rounding 1e-16 / h.
    slope = (total(-2) - 8 * total(-1) + 8 * total(1) - total(2)) / (12 * h)
    assert gradient @ direction == pytest.approx(slope, rel=1e-8, abs=1e-9)


def test_gradient_check_inside_a_larger_graph(rng: np.random.Generator) -> None:
    """A torch function of the parameters through the public program: any loss of a rollout."""
    spec = ModelSpec(channels=2, message=1, hidden=5)
    bound = program(spec, [dataset(spec, rng, [3], 2)], "torch")
    batch = Batch(np.array([1, 0]), np.zeros(2, np.int64), 2)

    class States(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, theta: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(theta)
            zeros = np.zeros((2, 3, 3, 2))
            return torch.as_tensor(bound.rollout_vjp(theta.detach().numpy(), batch, zeros)[0])

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, bar: torch.Tensor) -> torch.Tensor:
            (theta,) = ctx.saved_tensors
            return torch.as_tensor(bound.rollout_vjp(theta.numpy(), batch, bar.numpy())[1])

    theta = random_theta(spec, rng, torch.float64).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda v: (States.apply(v) ** 2).sum().sin(), theta)


def test_a_gradient_of_another_shape_is_refused(rng: np.random.Generator) -> None:
    spec = SPECS["state"]
    bound = program(spec, [dataset(spec, rng, [4], 3)])
    batch = Batch(np.array([0, 1]), np.zeros(2, np.int64), 4)
    with pytest.raises(InvalidModel, match=r"\(2, 5, 4, 2\)"):
        bound.rollout_vjp(np.zeros(bound.layout.size), batch, np.zeros((2, 4, 4, 2)))


def test_julia_names_the_engine_that_has_it() -> None:
    spec = SPECS["state"]
    bound = JuliaEngine().bind(spec)
    batch = Batch(np.zeros(1, np.int64), np.zeros(1, np.int64), 1)
    with pytest.raises(EngineUnavailable, match='engine="torch"'):
        bound.rollout_vjp(np.zeros(bound.layout.size), batch, np.zeros((1, 2, 3, 2)))


@pytest.mark.parametrize("name", SPECS)
def test_initial_message(name: str, rng: np.random.Generator) -> None:
    spec = SPECS[name]
    bound = program(spec, [])
    theta = random_theta(spec, rng, torch.float64).numpy()
    x = rng.standard_normal((3, 4, 2))
    b = rng.standard_normal((4, 1)) if spec.attributes else None
    found = bound.initial_message(theta, x, b)
    assert found.shape == (3, 4, spec.carried)
    weights = layout_of(spec).unpack(theta)
    for row in range(3):
        expected = first_state(spec, weights, x[row], b)[:, 2:]
        np.testing.assert_allclose(found[row], expected, rtol=0, atol=1e-14)
