"""Hierarchical DeltaGN on a GPU: forward passes, training steps, graphs, rollouts; time and memory.

    python benchmarks/nbody_gpu.py [--largest 1000000] [--width 64] [--repeats 20] [--write]
    python benchmarks/nbody_gpu.py --device cpu --largest 1000 --repeats 2

Every way of summing over edges in turns on the same graph: plain torch, the same through
torch.compile, the fused Triton program in its precisions, and on a CPU the compiled loops. The graph
is rebuilt at every step of "step"; "graph" is that alone, "forward" the rest. Medians of wall time with
the device in step; memory is the most that torch held at once. Errors are those of the predicted
velocity changes against double precision. A way that does not run says why. Beside N = 4096 and
32,768 in batches of 16 stands what the literature has for another hierarchical network. Results are
printed, and written to benchmarks/results/nbody_gpu.{json,md} with --write, on a GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pympnode.engines.torch.particles import edge_fused, rollout
from pympnode.engines.torch.particles.edge_sum import plain_edge_sum
from pympnode.engines.torch.particles.program import ParticleProgram, Target
from pympnode.graphs.box import Box
from pympnode.models.particle_spec import ParticleScales, ParticleSpec

RESULTS = Path(__file__).parent / "results"
# (particles, batch) of forward passes and training steps.
SIZES = ((1_000, 1), (10_000, 1), (100_000, 1), (1_000_000, 1), (4_096, 16), (32_768, 16))
TRAINED = 600_000  # most particles of a training step
# Literature, not measured here: Erwin (Zhdanov, Welling, van de Meent, ICML 2025, arXiv:2502.17019),
# forward pass of a batch of 16 on an RTX A6000, milliseconds.
ERWIN = {(4_096, 16): 30.0, (32_768, 16): 222.0}
SCALES = ParticleScales(length=12**0.5)


def program(
    device: str, width: int, kernel: str = "eager", dtype: str = "float32"
) -> ParticleProgram:
    spec = ParticleSpec.named(
        "hierarchical_deltagn", inputs="scaled", edge_width=width, node_width=width
    )
    return ParticleProgram(spec, SCALES, 0.01, device=device, kernel=kernel, dtype=dtype)


def ways(device: str, width: int) -> dict[str, ParticleProgram]:
    """Programs that differ in how they sum over edges."""
    plain = program(device, width)
    found = {"plain": plain}
    for kernel in ("chunked", "compiled"):
        if kernel != "compiled" or plain.device.type == "cpu":
            found[kernel] = program(device, width, kernel)
    if plain.device.type == "cuda":
        through = program(device, width)
        through._edge_sum = torch.compile(plain_edge_sum, dynamic=True)
        found["torch.compile"] = through
        if edge_fused.supports(plain.spec) is None:
            for precision in edge_fused.PRECISIONS:
                one = program(device, width)
                one._edge_sum = edge_fused.FusedEdgeSum(precision)
                found[f"fused, {precision}"] = one
    return found


def states(p: ParticleProgram, particles: int, batch: int) -> tuple[Any, Any]:
    """A batch at the published density, and a state one step later."""
    rng = np.random.default_rng(particles)
    box = Box((12 * particles) ** 0.5)
    x = rng.uniform(-box.side / 2, box.side / 2, (batch, particles, 2))
    v = rng.uniform(-1, 1, (batch, particles, 2))
    mass = np.ones((batch, particles))
    now = p.batch(x, v, mass, None, box)
    later = p.batch(box.wrap(x + 0.01 * v), v + 0.01, mass, None, box)
    return now, Target(later.position, later.velocity)


def weights_of(p: ParticleProgram) -> np.ndarray:
    return p.layout.initial(np.random.default_rng(0))


def waited(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(function: Callable[[], Any], device: torch.device, repeats: int) -> dict[str, Any]:
    """Median milliseconds, and the most MiB that torch held on a GPU; or why it does not run."""
    spent = []
    try:
        function()  # compiles, and fills caches
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        begin = time.perf_counter()
        while len(spent) < repeats and (not spent or time.perf_counter() - begin < 20):
            waited(device)
            start = time.perf_counter()
            function()
            waited(device)
            spent.append(1e3 * (time.perf_counter() - start))
    except Exception as problem:  # out of memory, or a compiler that gives up
        if device.type == "cuda":
            torch.cuda.empty_cache()
        return {
            "problem": f"{type(problem).__name__}: {(str(problem) or '?').splitlines()[0][:80]}"
        }
    row: dict[str, Any] = {"ms": round(statistics.median(spent), 3)}
    if device.type == "cuda":
        row["mib"] = round(torch.cuda.max_memory_allocated(device) / 2**20)
    return row


def forward(p: ParticleProgram, now: Any, graph: Any = None) -> Callable[[], Any]:
    weights = p.weights(weights_of(p))

    def run() -> Any:
        with torch.no_grad():
            here = p.graph(now) if graph is None else graph
            return p.next_state(weights, now, here, training=False)

    return run


def error(p: ParticleProgram, exact: ParticleProgram, particles: int = 1_000) -> float | None:
    """Relative error of the predicted velocity changes."""

    def change(one: ParticleProgram) -> torch.Tensor:
        now, _ = states(one, particles, 1)
        return (forward(one, now)()[1] - now.velocity).double().cpu()

    truth = change(exact)
    try:
        return float((change(p) - truth).norm() / truth.norm())
    except Exception:  # told where it is timed
        return None


def networks(device: str, width: int, largest: int, repeats: int) -> list[dict[str, Any]]:
    """Forward passes and training steps of every size and way."""
    found = ways(device, width)
    exact = program("cpu", width, dtype="float64")
    wrong = {name: error(p, exact) for name, p in found.items()}
    rows = []
    for particles, batch in SIZES:
        if particles * batch > largest:
            continue
        for name, p in found.items():
            now, target = states(p, particles, batch)
            graph = p.graph(now)
            case = {"particles": particles, "batch": batch, "way": name, "error": wrong[name]}
            case["edges"] = graph.edges
            parts = {
                "graph": lambda p=p, now=now: p.graph(now),
                "forward": forward(p, now, graph),
                "step": forward(p, now),
            }
            if particles * batch <= TRAINED:
                theta = weights_of(p).astype(np.float32)
                parts["training"] = lambda p=p, t=theta, a=now, b=target: p.loss_and_gradient(
                    t, a, b
                )
            case |= {part: timed(run, p.device, repeats) for part, run in parts.items()}
            case["erwin_ms_literature"] = ERWIN.get((particles, batch))
            rows.append(case)
            print(line(case), flush=True)
    return rows


def recorded(device: str, width: int, steps: int, sets: int, repeats: int) -> list[dict[str, Any]]:
    """Milliseconds a step of rollouts of complete graphs, launched one by one and recorded."""
    rows = []
    for particles in (20, 100):
        spec = ParticleSpec.named("deltagn", inputs="scaled", edge_width=width, node_width=width)
        p = ParticleProgram(spec, SCALES, 0.01, device=device)
        rng, box = np.random.default_rng(0), Box((12 * particles) ** 0.5)
        position = np.zeros((sets, steps + 1, particles, 2))
        velocity = np.zeros_like(position)
        position[:, 0] = rng.uniform(-box.side / 2, box.side / 2, (sets, particles, 2))
        theta, mass = weights_of(p).astype(np.float32), np.ones((sets, particles))
        for name, worth in (("one by one", steps + 1), ("recorded", 1)):
            rollout._WORTH = worth

            def run(p=p, theta=theta, x=position, v=velocity, m=mass, box=box) -> None:
                p.roll(theta, x, v, m, None, box)

            row = timed(run, p.device, repeats)
            if "ms" in row:
                row["ms"] = round(row["ms"] / steps, 3)
            rows.append({"particles": particles, "sets": sets, "launches": name, **row})
            print(rows[-1], flush=True)
    return rows


def told(part: dict[str, Any] | None) -> str:
    if part is None:
        return ""
    if "problem" in part:
        return str(part["problem"])
    return f"{part['ms']:.1f}" + (f" ({part['mib']:,} MiB)" if "mib" in part else "")


def line(case: dict[str, Any]) -> str:
    wrong, erwin = case["error"], case["erwin_ms_literature"]
    return (
        f"| {case['particles']:,} | {case['batch']} | {case['edges']:,} | {case['way']} | "
        + " | ".join(told(case.get(part)) for part in ("graph", "forward", "step", "training"))
        + f" | {'' if wrong is None else f'{wrong:.0e}'} | {'' if erwin is None else f'{erwin:g}'} |"
    )


def page(facts: dict[str, Any], rows: list[dict[str, Any]], small: list[dict[str, Any]]) -> str:
    lines = [
        f"# Hierarchical DeltaGN, width {facts['width']}, float32, on {facts['device']}",
        "",
        "Milliseconds (most memory that torch held). Literature: Erwin, forward, RTX A6000, not",
        "measured here. `python benchmarks/nbody_gpu.py --write`",
        "",
        "| N | batch | edges | way | graph | forward | graph and forward | training step | error "
        "| Erwin, literature, ms |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(line(case) for case in rows),
        "",
        "Rollouts of complete graphs, milliseconds a step:",
        "",
        "| N | sets | launches | ms |",
        "|---|---|---|---|",
        *(f"| {r['particles']} | {r['sets']} | {r['launches']} | {told(r)} |" for r in small),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--largest", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    device = program(given.device, given.width).device
    if given.write and device.type != "cuda":
        parser.error("--write keeps figures of a GPU, and there is none here: leave it out")
    if device.type == "cpu":
        torch.set_num_threads(1)
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU, one thread"
    facts = {"device": named, "width": given.width, "torch": torch.__version__}
    rows = networks(device.type, given.width, given.largest, given.repeats)
    steps, sets = (200, 16) if device.type == "cuda" else (16, 2)
    small = recorded(device.type, given.width, steps, sets, min(given.repeats, 5))
    text = page(facts, rows, small)
    print(text)
    if given.write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "nbody_gpu.md").write_text(text)
        content = {**facts, "networks": rows, "rollouts": small}
        (RESULTS / "nbody_gpu.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
