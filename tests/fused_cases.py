"""Runs the fused kernel beside autograd and prints the differences as JSON.

A process of its own, because Triton decides when it is imported whether programs are interpreted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kernel_windows import OPTIONS, random_theta, random_window

from pympnode.engines.torch import eager, fused
from pympnode.engines.torch.fused_kernel import plan
from pympnode.engines.torch.window import Window
from pympnode.models.spec import ModelSpec

SERVED = [
    name
    for name, options in OPTIONS.items()
    if "solver" not in options and "stride" not in options and options.get("depth", 2) <= 2
]
SINGLE = SERVED[::3]  # in float32 too
# name: (nodes of the graphs, graph of each trajectory, largest size of a tile)
SHAPES: dict[str, tuple[list[int], list[int], int]] = {
    "one program": ([5], [0, 0, 0], 16),
    "several tiles, the last not full": ([5], [0] * 8, 16),
    "several graphs": ([4, 7, 1, 12], [1, 0, 3, 1, 1, 2, 3], 16),
    "wide tiles": ([3, 18], [0] * 12 + [1] * 2, 64),
    "a graph that fills a tile": ([16], [0, 0], 16),
    "64 nodes": ([64], [0], 64),
}


def moved(window: Window, device: str) -> Window:
    there = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in window.__dict__.items()
    }
    return Window(**there)


def compare(
    spec: ModelSpec, window: Window, theta: torch.Tensor, device: str, *, twice: bool = False
) -> dict[str, Any]:
    """Largest differences relative to the largest number, and whether a second run repeats."""
    value, gradient = eager.loss_and_gradient(spec, theta, window)
    states = eager.rollout(spec, theta, window)
    there = moved(window, device)
    got, slope = fused.loss_and_gradient(spec, theta.to(device), there)
    found = fused.rollout(spec, theta.to(device), there).cpu()
    result = {
        "loss": abs(got - value) / abs(value),
        "gradient": float((slope.cpu() - gradient).abs().max() / gradient.abs().max()),
        "rollout": float((found - states).abs().max() / states.abs().max()),
    }
    if twice:
        again = fused.loss_and_gradient(spec, theta.to(device), there)
        result["repeats"] = again[0] == got and torch.equal(again[1], slope)
    return result


def lost(coupling: str, rng: np.random.Generator, device: str) -> dict[str, Any]:
    """One of three trajectories of a tile begins with a number that is missing."""
    spec = ModelSpec(channels=1, message=1, hidden=5).replace(coupling=coupling)
    window = random_window(spec, rng, [4], [0, 0, 0], 2, torch.float64)
    theta = random_theta(spec, rng, torch.float64)
    window.initial[0, 1] = float("nan")  # node 0 of trajectory 1
    states = fused.rollout(spec, theta.to(device), moved(window, device)).cpu()
    truth = eager.rollout(spec, theta, window)
    others = np.arange(12) % 3 != 1
    value, _ = fused.loss_and_gradient(spec, theta.to(device), moved(window, device))
    return {
        "others": float((states - truth)[..., others].abs().max()),
        "finite": bool(torch.isfinite(states[-1][:, ~others]).all()),
        "loss": bool(np.isfinite(value)),
    }


def compiled(spec: ModelSpec, columns: int) -> dict[str, Any]:
    """The program translated for compute capability 9.0, which needs no GPU."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from pympnode.engines.torch.fused_kernel.sweep import window_program

    fixed = fused.constants(spec) | {
        "GRADIENT": True,
        "MASKED": True,
        "START": spec.channels,
        "LEARNED": False,
        "COLUMNS": columns,
        "PRECISION": "ieee",
    }
    kinds = {"table_ptr": "*i32", "total": "i32", "steps": "i32"}
    signature = {
        name: "constexpr" if name in fixed else kinds.get(name, "*fp32")
        for name in window_program.arg_names
    }
    done = compile(
        ASTSource(fn=window_program, signature=signature, constexprs=fixed),
        target=GPUTarget("cuda", 90, 32),
        options={"num_warps": fused.warps(spec, columns)},
    )
    target = next(line.split()[1] for line in done.asm["ptx"].splitlines() if ".target" in line)
    # Registers that do not fit go to a local depot, or in ptxas to the stack frame of the code.
    return {"target": target, "shared": done.metadata.shared, "stack": stack(done.asm["cubin"])}


def stack(binary: bytes) -> int:
    """Bytes of stack of a compiled program, by the disassembler that comes with Triton."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        said = subprocess.run(
            [tool, "-res-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    return int(said.split("STACK:")[1].split()[0])


def main(task: str) -> None:
    torch.set_num_threads(1)
    if task == "compile":
        print(json.dumps(compiled(ModelSpec(channels=3), 16)))
        return
    device = task
    rng = np.random.default_rng(5)
    found: dict[str, Any] = {}
    for name in SERVED:
        spec = ModelSpec(channels=3, message=2, hidden=20).replace(**OPTIONS[name])
        for dtype in (torch.float64, torch.float32) if name in SINGLE else (torch.float64,):
            window = random_window(spec, rng, [4, 7], [1, 0, 1], 2, dtype, masked=True)
            theta = random_theta(spec, rng, dtype)
            found[f"{name}, {dtype}"] = compare(spec, window, theta, device)
    for name, (sizes, graph_of, widest) in SHAPES.items():
        spec = ModelSpec(channels=2, message=3, hidden=33, controls=1)
        plan.WIDEST, plan.PROGRAMS, plan.BUDGET = widest, 1, 2**20
        window = random_window(spec, rng, sizes, graph_of, 2, torch.float64)
        theta = random_theta(spec, rng, torch.float64)
        found[f"{name}, {torch.float64}"] = compare(spec, window, theta, device, twice=True)
    for coupling in ("mixed", "superposed"):
        found[f"lost, {coupling}"] = lost(coupling, rng, device)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
