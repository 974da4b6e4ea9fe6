"""One MP-NODE training step (loss and gradient): our kernels beside solver libraries.

    python benchmarks/kernel.py                    # every part; about five minutes
    python benchmarks/kernel.py --parts step       # step, shapes, scaling, memory, first, gpu

The part "gpu" measures nothing where there is no CUDA device. Peers that are not installed are left
out. One thread; CPU time of this process, medians over rounds in which every candidate runs once. Writes results/kernel.json, kernel.md and kernel_scaling.png.
"""

from __future__ import annotations

import os

# Before anything loads a thread pool.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["XLA_FLAGS"] = (
    "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1 "
    + os.environ.get("XLA_FLAGS", "")
)

import argparse
import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kernel_peers as peers
import networkx as nx
import numpy as np
import torch
from kernel_gpu import device_table
from kernel_measure import first_calls, peak_memory
from kernel_problem import learned
from smoke import parse

from pympnode.graph import Graph
from pympnode.networks.engines.columns import Columns
from pympnode.networks.engines.torch import kernel_eager as eager
from pympnode.networks.engines.torch.kernel_numba import run as compiled
from pympnode.networks.engines.torch.kernel_torch import run as adjoint
from pympnode.networks.engines.torch.window import Window
from pympnode.networks.spec import ModelSpec
from pympnode.networks.weights import layout_of


def case(
    nodes: int = 10,
    batch: int = 128,
    steps: int = 50,
    channels: int = 3,
    hidden: int = 32,
    attach: int = 5,
    dtype: torch.dtype = torch.float32,
) -> tuple[ModelSpec, torch.Tensor, Window]:
    """A window of ``batch`` trajectories on one Barabási-Albert graph, random weights and numbers."""
    rng = np.random.default_rng(0)
    spec = ModelSpec(channels=channels, message=3, hidden=hidden)
    graph = Graph.from_networkx(nx.barabasi_albert_graph(nodes, min(attach, nodes - 1), seed=1))
    columns = Columns.arrange(graph, np.zeros(batch, dtype=np.int64))

    def normal(*shape: int) -> torch.Tensor:
        return torch.as_tensor(rng.standard_normal(shape), dtype=dtype)

    total = columns.total
    window = Window(
        columns,
        normal(channels, total),
        normal(steps + 1, channels, total),
        None,
        None,
        None,
        np.full(steps, 0.05),
        1 / total,
    )
    theta = torch.as_tensor(layout_of(spec).initial(rng), dtype=dtype)
    return spec, theta, window


def rounds(candidates: dict[str, Callable[[], Any]], count: int) -> dict[str, float]:
    """Median CPU milliseconds of each candidate, run in turn ``count`` times after one for warmth."""
    spent: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(count + 1):
        for name, run in candidates.items():
            start = time.process_time()
            run()
            if number:
                spent[name].append(1e3 * (time.process_time() - start))
    return {name: statistics.median(values) for name, values in spent.items()}


def kernels(spec: ModelSpec, theta: torch.Tensor, window: Window) -> dict[str, Callable[[], Any]]:
    """Our three kernels on one window."""
    return {
        "eager autograd": lambda: eager.loss_and_gradient(spec, theta, window),
        "torch kernel": lambda: adjoint.loss_and_gradient(spec, theta, window),
        "numba kernel": lambda: compiled.loss_and_gradient(spec, theta, window),
    }


def step_table(count: int, updates: int = 400, **sizes: int) -> dict[str, Any]:
    """Kuramoto10: time of a step, rollout and gradient error of every candidate."""
    spec, _, window = case(**sizes)  # type: ignore[arg-type]
    graph = nx.to_numpy_array(nx.barabasi_albert_graph(10, 5, seed=1))
    theta, window = learned(spec, window.columns, graph, window.steps, updates)
    ours = kernels(spec, theta, window)
    ours["numba kernel, recomputing"] = lambda: compiled.loss_and_gradient(
        spec, theta, window, store=False
    )
    others = peers.candidates(spec, theta, window)
    bound = peers.bound(spec, window)
    times = rounds({**others, **ours, **bound}, count)

    truth_spec = spec.replace(substeps=8)
    theta64 = theta.double()
    window64 = Window(
        window.columns,
        window.initial.double(),
        window.target.double(),  # type: ignore[union-attr]
        None,
        None,
        None,
        window.dt,
        window.scale,
    )
    _, truth = eager.loss_and_gradient(truth_spec, theta64, window64)
    states = eager.rollout(truth_spec, theta64, window64)[:, : spec.channels]
    modules = {
        "eager autograd": eager,
        "torch kernel": adjoint,
        "numba kernel": compiled,
    }
    errors: dict[str, tuple[float, float]] = {}
    for name in times:
        if name in modules:
            found = modules[name].rollout(spec, theta, window)[:, : spec.channels]
            gradient = modules[name].loss_and_gradient(spec, theta, window)[1]
        elif name in others:
            found, gradient = others[name](full=True)  # type: ignore[call-arg]
        else:
            continue
        errors[name] = (
            float((found.double() - states).abs().max()),
            float((gradient.double() - truth).norm() / truth.norm()),
        )
    rows = [
        {
            "candidate": name,
            "cpu_ms": round(ms, 2),
            "rollout_error": errors.get(name, (None, None))[0],
            "gradient_error": errors.get(name, (None, None))[1],
        }
        for name, ms in times.items()
    ]
    return {"rows": rows, "ratios": _ratios(times)}


def _ratios(times: dict[str, float]) -> list[dict[str, Any]]:
    wanted = [
        ("torchdiffeq rk4, same grid", 1.8, 4.5),
        ("torchdiffeq dopri5 1e-4, restarted per dt", 6.0, 16.0),
        ("diffrax Tsit5, constant dt", 2.3, 6.0),
    ]
    best = min(times["numba kernel"], times["numba kernel, recomputing"])
    rows = []
    for name, of_torch, of_numba in wanted:
        if name in times:
            rows.append(
                {
                    "against": name,
                    "torch kernel": round(times[name] / times["torch kernel"], 2),
                    "goal torch": of_torch,
                    "numba kernel": round(times[name] / best, 2),
                    "goal numba": of_numba,
                }
            )
    for name in peers.BOUNDS:
        rows.append(
            {
                "against": name,
                "torch kernel": round(times[name] / times["torch kernel"], 2),
                "goal torch": None,
                "numba kernel": round(times[name] / best, 2),
                "goal numba": round(1 / 1.4, 2),
            }
        )
    return rows


SHAPES: dict[str, dict[str, int]] = {
    "Kuramoto10": {},
    "Lorenz3": {"nodes": 3, "attach": 2},
    "Lorenz10": {"nodes": 10, "attach": 9},
    "gene64": {"nodes": 64, "channels": 1, "attach": 32},
    "hidden 64": {"hidden": 64},
    "batch 16": {"batch": 16},
}


def shape_table(count: int, shapes: dict[str, dict[str, int]]) -> list[dict[str, Any]]:
    """Other systems, widths and batches: nowhere slower than eager autograd."""
    rows = []
    for name, options in shapes.items():
        times = rounds(kernels(*case(**options)), count)  # type: ignore[arg-type]
        rows.append({"case": name, **{k: round(v, 2) for k, v in times.items()}})
        print(rows[-1], flush=True)
    return rows


SWEEPS: dict[str, list[dict[str, int]]] = {
    "nodes": [{"nodes": n} for n in (6, 10, 20, 40, 80)],
    "batch": [{"batch": n} for n in (8, 16, 32, 64, 128, 256)],
    "steps": [{"steps": n} for n in (12, 25, 50, 100, 200)],
    "edges": [{"nodes": 40, "batch": 32, "attach": n} for n in (1, 5, 10, 20)],
}
SMALL = {"batch": 2, "steps": 4}


def scaling(count: int, sweeps: dict[str, list[dict[str, int]]]) -> dict[str, list[dict[str, Any]]]:
    """Time against nodes, batch, steps and edges, everything else as in Kuramoto10."""
    out: dict[str, list[dict[str, Any]]] = {}
    for name, points in sweeps.items():
        out[name] = []
        for options in points:
            problem = case(**options)  # type: ignore[arg-type]
            value = len(problem[2].columns.sender) if name == "edges" else options[name]
            times = rounds(kernels(*problem), count)
            out[name].append({name: value, **{k: round(v, 2) for k, v in times.items()}})
        print(name, out[name], flush=True)
    return out


def plot(sweeps: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Four panels of time against size."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(13, 3.4), constrained_layout=True)
    for axis, (name, points) in zip(axes, sweeps.items()):
        for kernel, mark in (("eager autograd", "s"), ("torch kernel", "^"), ("numba kernel", "o")):
            axis.plot(
                [p[name] for p in points], [p[kernel] for p in points], mark + "-", label=kernel
            )
        largest = points[-1]
        line = [p[name] / largest[name] * largest["numba kernel"] for p in points]
        if name != "edges":
            axis.plot([p[name] for p in points], line, "k:", linewidth=1, label="proportional")
        axis.set(xscale="log", yscale="log", xlabel=name)
        axis.set_xticks([p[name] for p in points], [str(p[name]) for p in points])
        axis.minorticks_off()
    axes[0].set_ylabel("CPU time of a step, ms")
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)


def markdown(found: dict[str, Any]) -> str:
    """The tables of the results file."""

    def table(rows: list[dict[str, Any]]) -> str:
        def show(value: Any) -> str:
            if isinstance(value, float):
                return f"{value:.1e}" if 0 < abs(value) < 1e-2 else f"{value:g}"
            return "" if value is None else str(value)

        heads = list(rows[0])
        lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
        lines += ["| " + " | ".join(show(row[h]) for h in heads) + " |" for row in rows]
        return "\n".join(lines)

    text = [
        "# A training step of the MP-NODE",
        "",
        "Kuramoto10: 128 trajectories of 10 nodes, 50 intervals, p=3, hidden 32, float32; loss and",
        "gradient. CPU milliseconds of one thread, medians, candidates interleaved. Errors: largest",
        "difference of the rollout, relative norm of the gradient's, against RK4 with 8 substeps in",
        "float64. The weights have had 400 updates on the system. Made by `benchmarks/kernel.py`.",
    ]
    if "step" in found:
        text += ["", "## A step", "", table(found["step"]["rows"])]
        text += ["", "Times as fast (for the bounds: their share of our time):", ""]
        text += [table(found["step"]["ratios"])]
    if "shapes" in found:
        text += ["", "## Other shapes, CPU ms", "", table(found["shapes"])]
    if found.get("gpu"):
        text += ["", f"## On a GPU, wall ms of a step ({found['device']})", ""]
        text += [table(found["gpu"])]
    if "scaling" in found:
        text += ["", "## How time grows, CPU ms", "", "![time against size](kernel_scaling.png)"]
        for rows in found["scaling"].values():
            text += ["", table(rows)]
    if "memory" in found:
        text += [
            "",
            "## Peak memory of a step above what stood before it",
            "",
            table(found["memory"]),
        ]
    if "first" in found:
        text += ["", "## First call in a new process", "", table(found["first"])]
    return "\n".join(text) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parts = ["step", "shapes", "scaling", "memory", "first", "gpu"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--rounds", type=int, default=7)
    options = parse(parser, rounds=1)
    torch.set_num_threads(1)
    results = options.results
    path = results / "kernel.json"
    shapes, sweeps = SHAPES, SWEEPS
    step: dict[str, int] = {}
    processes: dict[str, int] = {}
    if options.smoke:
        shapes = {name: {**sizes, **SMALL} for name, sizes in SHAPES.items()}
        sweeps = {n: [{**SMALL, **sizes} for sizes in points[:2]] for n, points in SWEEPS.items()}
        step = {"updates": 2, **SMALL}
        processes = {"count": 1, "batch": SMALL["batch"]}
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if "step" in options.parts:
        found["step"] = step_table(options.rounds, **step)
    if "shapes" in options.parts:
        found["shapes"] = shape_table(options.rounds, shapes)
    if "scaling" in options.parts:
        found["scaling"] = scaling(1 if options.smoke else max(3, options.rounds // 2), sweeps)
    if "scaling" in found:
        plot(found["scaling"], results / "kernel_scaling.png")
    if "memory" in options.parts:
        found["memory"] = peak_memory(**processes)
    if "first" in options.parts:
        found["first"] = first_calls(**processes)
    there = torch.cuda.is_available()
    if "gpu" in options.parts and not there:
        print("no CUDA device: the kernels on a GPU are not measured")
    if "gpu" in options.parts and (there or options.smoke):
        problems = {name: case(**sizes) for name, sizes in shapes.items()}  # type: ignore[arg-type]
        found["gpu"] = device_table(problems, options.rounds, "cuda" if there else "cpu")
        found["device"] = torch.cuda.get_device_name() if there else "this CPU"
    found["versions"] = {
        name: importlib.import_module(name).__version__
        for name in ("torch", "numba", "torchdiffeq", "diffrax")
        if importlib.util.find_spec(name)
    }
    path.write_text(json.dumps(found, indent=1) + "\n")
    (results / "kernel.md").write_text(markdown(found))
    print(markdown(found))


if __name__ == "__main__":
    main()
