"""Runs the fused edge sum beside the plain one and prints the differences as JSON.

A process of its own, because Triton decides when it is imported whether programs are interpreted.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fused_cases import stack
from nbody_models import golden_models

from pympnode.engines.torch.particles import edge_fused
from pympnode.engines.torch.particles.edge_fused import FusedEdgeSum, plan_of
from pympnode.engines.torch.particles.edge_sum import plain_edge_sum
from pympnode.engines.torch.particles.program import ParticleProgram, Target
from pympnode.models.particle_spec import ParticleScales

# name: (edges, senders, receivers, functions, width, width out)
SHAPES: dict[str, tuple[int, int, int, int, int, int]] = {
    "no edge": (0, 5, 7, 3, 16, 16),
    "one edge": (1, 5, 7, 3, 16, 16),
    "a tile less one": (63, 9, 3, 2, 16, 16),
    "a tile": (64, 9, 3, 2, 16, 16),
    "a tile and one": (65, 9, 3, 2, 16, 16),
    "blocks with a border": (130, 20, 33, 8, 16, 16),
    "many nodes, few edges": (40, 200, 150, 1, 16, 16),
    "pieces of a block": (900, 40, 5, 3, 16, 16),
    "width 1": (30, 9, 7, 3, 1, 1),
    "width 64": (100, 20, 30, 8, 64, 64),
    "width 100": (70, 20, 12, 10, 100, 100),
    "width 150": (70, 20, 9, 8, 150, 150),
    "width 256": (20, 20, 6, 16, 256, 256),
    "in and out differ": (200, 20, 30, 5, 70, 24),
}
SINGLE = ("blocks with a border", "width 64")  # in float32 too


def inputs(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: torch.dtype, device: str
) -> tuple[list[torch.Tensor], torch.Tensor, list[torch.Tensor]]:
    edges, senders, receivers, functions, width, out = shape

    def leaf(*size: int) -> torch.Tensor:
        values = rng.standard_normal(size) * size[-1] ** -0.5
        return torch.tensor(values, dtype=dtype, device=device, requires_grad=True)

    ends = rng.integers(senders, size=edges), np.sort(rng.integers(receivers, size=edges))
    leaves = [leaf(senders, width), leaf(receivers, width), leaf(width, functions)]
    leaves += [leaf(out, width), leaf(out)]
    return leaves, leaf(edges, functions).detach(), [torch.tensor(e, device=device) for e in ends]


def run(
    edge_sum: Any, leaves: Any, geometry: Any, ends: Any, balanced: bool = False
) -> torch.Tensor:
    first, second, rows, weight, bias = leaves
    total: torch.Tensor = edge_sum(
        first, second, geometry, rows, weight, bias, *ends, torch.relu, balanced
    )
    return total


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference in units of the largest number."""
    return float((a - b).detach().abs().max() / b.detach().abs().max().clamp_min(1e-300))


def compare(
    shape: tuple[int, ...], dtype: torch.dtype, device: str, *, deterministic: bool
) -> dict[str, Any]:
    leaves, geometry, ends = inputs(np.random.default_rng(5), shape, dtype, device)
    plain = run(plain_edge_sum, leaves, geometry, ends)
    fused = FusedEdgeSum(deterministic=deterministic)
    slope = torch.randn(plain.shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    slope = slope.to(device)
    truth = torch.autograd.grad(plain, leaves, slope)
    total = run(fused, leaves, geometry, ends)
    found = torch.autograd.grad(total, leaves, slope)
    again = run(fused, leaves, geometry, ends)
    twice = torch.autograd.grad(again, leaves, slope)
    return {
        "value": difference(total, plain),
        "gradient": max(difference(a, b) for a, b in zip(found, truth)),
        # Of the slopes, the first is added to atomically unless determinism is asked for.
        "repeats": torch.equal(total, again)
        and all(torch.equal(a, b) for a, b in zip(found[1:], twice[1:]))
        and (not deterministic or torch.equal(found[0], twice[0])),
    }


class _Rounded(torch.autograd.Function):
    """h W^T of factors in bf16. The interpreter cuts digits off, a device rounds to the nearest."""

    @staticmethod
    def factor(x: torch.Tensor) -> torch.Tensor:
        if edge_fused.interpreted():
            return (x.contiguous().view(torch.int32) & -(1 << 16)).view(torch.float32)
        return x.bfloat16().float()

    @staticmethod
    def forward(ctx: Any, h: Any, weight: Any) -> torch.Tensor:  # type: ignore[override]
        h, weight = _Rounded.factor(h), _Rounded.factor(weight)
        ctx.save_for_backward(h, weight)
        return h @ weight.t()

    @staticmethod
    def backward(ctx: Any, slope: Any) -> Any:  # type: ignore[override]
        h, weight = ctx.saved_tensors
        slope = _Rounded.factor(slope)
        return slope @ weight, slope.t() @ h


def rounded(device: str) -> dict[str, float]:
    """bf16 against the plain sum, and against one whose factors are rounded."""
    shape = SHAPES["width 64"]
    leaves, geometry, ends = inputs(np.random.default_rng(4), shape, torch.float32, device)

    def factors(first, second, g, rows, weight, bias, s, r, activation, _):  # type: ignore
        h = activation(first[s] + second[r] + g @ rows.t())
        message = activation(_Rounded.apply(h, weight) + bias)
        return message.new_zeros(len(second), len(weight)).index_add(0, r, message)

    expected = run(factors, leaves, geometry, ends)
    fused = run(FusedEdgeSum("bf16"), leaves, geometry, ends)
    slope = torch.ones_like(fused)
    truth = torch.autograd.grad(expected, leaves, slope)
    found = torch.autograd.grad(fused, leaves, slope)
    return {
        "value": difference(fused, expected),
        "plain": difference(fused, run(plain_edge_sum, leaves, geometry, ends)),
        "gradient": max(difference(a, b) for a, b in zip(found, truth)),
    }


def balanced(device: str) -> dict[str, float]:
    """Messages received minus messages sent."""
    shape = (300, 30, 30, 5, 40, 24)
    leaves, geometry, ends = inputs(np.random.default_rng(6), shape, torch.float64, device)
    plain = run(plain_edge_sum, leaves, geometry, ends, True)
    fused = run(FusedEdgeSum(), leaves, geometry, ends, True)
    slope = torch.randn(plain.shape, dtype=plain.dtype, generator=torch.Generator().manual_seed(2))
    slope = slope.to(device)
    truth = torch.autograd.grad(plain, leaves, slope)
    found = torch.autograd.grad(fused, leaves, slope)
    return {
        "value": difference(fused, plain),
        "gradient": max(difference(a, b) for a, b in zip(found, truth)),
    }


def lost(device: str) -> dict[str, Any]:
    """A sender whose values overflow, and one whose are missing: who else is lost?"""
    shape = (300, 20, 30, 3, 24, 24)
    leaves, geometry, ends = inputs(np.random.default_rng(3), shape, torch.float64, device)
    with torch.no_grad():
        leaves[0][2], leaves[0][3] = float("inf"), float("nan")
        plain = run(plain_edge_sum, leaves, geometry, ends)
        fused = run(FusedEdgeSum(), leaves, geometry, ends)
    gone = ~torch.isfinite(plain).all(1)
    return {
        "gone": int(gone.sum()),
        "of": len(gone),
        "same": torch.equal(gone, ~torch.isfinite(fused).all(1)),
        "others": difference(fused[~gone], plain[~gone]),
    }


def far(device: str, out: int, dtype: torch.dtype) -> dict[str, Any]:
    """Messages of minus infinity are zero behind their ReLU; large ones stay as they are; infinity
    and what is missing are lost. ``out`` columns, of two blocks where they are many."""
    shape = (300, 20, 60, 3, 24, out)
    leaves, geometry, ends = inputs(np.random.default_rng(7), shape, dtype, device)
    first, _, _, weight, _ = leaves
    # Senders that have nothing but one column: below zero in all messages, above, both.
    columns = {2: [0], 3: [1], 4: [0, 1], 5: [2]}
    values = {2: float("inf"), 3: float("inf"), 4: float("inf"), 5: torch.finfo(dtype).max / 1e3}
    with torch.no_grad():
        weight[:, 0], weight[:, 1], weight[:, 2] = -1.0, 1.0, 1.0
        for sender, where in columns.items():
            first[sender, where] = values[sender]
        first[6] = float("nan")
        plain = run(plain_edge_sum, leaves, geometry, ends)
        fused = run(FusedEdgeSum("ieee"), leaves, geometry, ends)
    s, r = ends
    gone = ~torch.isfinite(plain).all(1)
    heard = {k: torch.zeros_like(gone).index_fill_(0, r[s == k], True) for k in range(2, 7)}
    rows = (fused - plain).abs().amax(1) / plain.abs().amax(1).clamp_min(1e-30)
    return {
        "same": torch.equal(gone, ~torch.isfinite(fused).all(1)),
        "gone": torch.equal(gone, heard[3] | heard[4] | heard[6]),
        "below": int((heard[2] & ~gone).sum()),
        "large": int((heard[5] & ~gone).sum()),
        "others": float(rows[~gone].max()),
    }


def models(folder: str, device: str) -> dict[str, Any]:
    """Small golden models of all graphs: loss and gradient against the file."""
    found = {}
    for case in golden_models(Path(folder)):
        if case.spec.family != "deltagn" or case.start.position.size > 80:
            continue
        program = ParticleProgram(
            case.spec,
            ParticleScales(),
            case.step,
            dtype="float64",
            device="cuda" if device == "cuda" else "cpu",
            kernel="fused",
        )
        a, b = case.start, case.target
        batch = program.batch(a.position, a.velocity, a.mass, a.charge, case.box)
        after = program.batch(b.position, b.velocity, b.mass, b.charge, case.box)
        target = Target(after.position, after.velocity)
        loss, gradient = program.loss_and_gradient(case.theta, batch, target)
        found[case.name] = {
            "loss": abs(loss - case.loss),
            "gradient": float(np.abs(gradient - case.gradient).max()),
        }
    return found


def compiled(width: int, precision: str) -> dict[str, Any]:
    """Both programs translated for compute capability 9.0, which needs no GPU."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from pympnode.engines.torch.particles import edge_programs

    plan = plan_of(width, width, 10**6, 10**7)
    sizes = {"WIDTH": width, "OUT": width, "FUNCTIONS": 8, "PRECISION": precision}
    back = {"PADDED": 16, "OWN": plan.own, "OWNER_RECEIVES": True}
    back |= {"WEIGHTS": True, "ADD_TO_OTHER": True}
    found: dict[str, Any] = {}
    for name, more in (("sum", {}), ("slope", back)):
        program = getattr(edge_programs, f"{name}_program")
        fixed = plan.constants(back=name == "slope") | sizes | more
        options = {key: fixed.pop(key) for key in ("num_warps", "num_stages")}
        kinds = dict.fromkeys(("owner_ptr", "other_end_ptr", "border_ptr"), "*i64")
        kinds |= dict.fromkeys(("nodes", "items", "pieces"), "i32")
        signature = {
            arg: "constexpr" if arg in fixed else kinds.get(arg, "*fp32")
            for arg in program.arg_names
        }
        pointers = [i for i, arg in enumerate(program.arg_names) if arg.endswith("_ptr")]
        aligned = {(i,): [["tt.divisibility", 16]] for i in pointers}  # torch's memory is
        done = compile(
            ASTSource(fn=program, signature=signature, constexprs=fixed, attrs=aligned),
            target=GPUTarget("cuda", 90, 32),
            options=options,
        )
        ptx = done.asm["ptx"]
        found[name] = {
            "target": re.search(r"\.target (\w+)", ptx)[1],  # type: ignore[index]
            "shared": done.metadata.shared,
            "stack": stack(done.asm["cubin"]),
            "products": len(re.findall(r"wgmma\.mma_async|mma\.sync", ptx)),
        }
    return found


def main(task: str, *given: str) -> None:
    torch.set_num_threads(1)
    if task == "compile":
        print(json.dumps(compiled(int(given[0]), given[1])))
        return
    if task == "models":
        print(json.dumps(models(*given)))
        return
    edge_fused._FILL = 8  # blocks are few here: with this they are cut into pieces
    found: dict[str, Any] = {}
    for name, shape in SHAPES.items():
        for dtype in (torch.float64, torch.float32) if name in SINGLE else (torch.float64,):
            for fixed in (False, True) if shape[-1] < 64 or name in SINGLE else (False,):
                case = compare(shape, dtype, task, deterministic=fixed)
                found[f"{name}, {dtype}, {fixed}"] = case
    found["lost"], found["rounded"] = lost(task), rounded(task)
    found["balanced"] = balanced(task)
    found["far"] = [
        far(task, out, dtype) for out in (24, 70) for dtype in (torch.float64, torch.float32)
    ]
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
