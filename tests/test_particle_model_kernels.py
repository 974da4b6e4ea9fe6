"""The compiled edge sum is the plain one: values, gradients, whole models and golden files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from nbody_models import golden_models

from pympnode.engines.torch.particles import edge_block
from pympnode.engines.torch.particles.edge_block import CompiledEdgeSum
from pympnode.engines.torch.particles.networks import plain_edge_sum
from pympnode.engines.torch.particles.program import ParticleProgram, Target
from pympnode.errors import EngineUnavailable
from pympnode.models.particle_spec import ParticleScales, ParticleSpec


def inputs(rng, edges, dtype=torch.float64, senders=9, receivers=7, functions=3):
    def leaf(*shape):
        return torch.tensor(rng.standard_normal(shape), dtype=dtype, requires_grad=True)

    ends = (rng.integers(senders, size=edges), np.sort(rng.integers(receivers, size=edges)))
    geometry = leaf(edges, functions).detach()
    leaves = [leaf(senders, 6), leaf(receivers, 6), leaf(6, functions), leaf(5, 6), leaf(5)]
    return leaves, geometry, [torch.from_numpy(e) for e in ends]


def run(edge_sum, leaves, geometry, ends):
    first, second, rows, weight, bias = leaves
    return edge_sum(first, second, geometry, rows, weight, bias, *ends, torch.relu)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("edges", [0, 1, 63, 64, 65, 500])
def test_the_compiled_sum_equals_the_plain_one(rng, monkeypatch, edges, recompute) -> None:
    monkeypatch.setattr(edge_block, "CHUNK", 64)
    leaves, geometry, ends = inputs(rng, edges)
    plain = run(plain_edge_sum, leaves, geometry, ends)
    fast = run(CompiledEdgeSum(recompute=recompute), leaves, geometry, ends)
    slope = torch.tensor(rng.standard_normal(plain.shape))
    torch.testing.assert_close(fast, plain, rtol=1e-12, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad(fast, leaves, slope), torch.autograd.grad(plain, leaves, slope)
    ):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_a_geometry_with_a_gradient_takes_the_plain_sum(rng) -> None:
    leaves, geometry, ends = inputs(rng, 30)
    geometry.requires_grad_()
    out = run(CompiledEdgeSum(), leaves, geometry, ends)
    (slope,) = torch.autograd.grad(out.sum(), geometry)
    assert slope.abs().max() > 0


@pytest.mark.parametrize("kernel", ["compiled", "recompute"])
def test_compiled_models_equal_the_reference_nbody_model_files(
    reference_dir: Path, kernel: str
) -> None:
    done = 0
    for case in golden_models(reference_dir):
        if case.spec.family != "deltagn":
            continue
        program = ParticleProgram(
            case.spec, ParticleScales(), case.step, dtype="float64", device="cpu", kernel=kernel
        )
        a, b = case.start, case.target
        batch = program.batch(a.position, a.velocity, a.mass, a.charge, case.box)
        after = program.batch(b.position, b.velocity, b.mass, b.charge, case.box)
        target = Target(after.position, after.velocity)
        loss, gradient = program.loss_and_gradient(case.theta, batch, target)
        assert loss == pytest.approx(case.loss, abs=1e-10), case.name
        np.testing.assert_allclose(gradient, case.gradient, rtol=1e-10, atol=1e-10)
        done += 1
    assert done


def test_hamiltonian_models_refuse_the_compiled_kernel() -> None:
    spec = ParticleSpec.named("hogn")
    assert ParticleProgram(spec, ParticleScales(), 0.01, device="cpu").kernel == "eager"
    with pytest.raises(EngineUnavailable, match="eager"):
        ParticleProgram(spec, ParticleScales(), 0.01, device="cpu", kernel="compiled")
