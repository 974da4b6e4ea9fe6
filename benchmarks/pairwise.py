"""A training step (loss and gradient) of messages of pairs: our kernels beside a torch_geometric model.

    python benchmarks/pairwise.py

The peer is the same model as its user writes it: a `MessagePassing` layer whose messages are an MLP of
both ends, rolled out by torchdiffeq's rk4, differentiated by autograd; without torch_geometric the same
sums by ``index_add``. The emitted model (rank 6) is what messages of pairs are compared with in cost.
float32, one thread, CPU time of this process: medians over rounds in which every candidate runs once.
Peak memory in processes of their own (Linux). Writes results/pairwise.json and pairwise.md.
"""

from __future__ import annotations

import os

# Before anything loads a thread pool.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import importlib
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import torch
from smoke import parse

from pympnode.graph import Graph
from pympnode.networks.engines.columns import Columns
from pympnode.networks.engines.torch import kernel_eager as eager
from pympnode.networks.engines.torch.kernel_numba import run as compiled
from pympnode.networks.engines.torch.kernel_torch import run as adjoint
from pympnode.networks.engines.torch.window import Window
from pympnode.networks.spec import ModelSpec
from pympnode.networks.weights import layout_of

_HERE = Path(__file__).parent
Case = tuple[ModelSpec, torch.Tensor, Window]
KERNELS = {"numba kernel": compiled, "torch kernel": adjoint, "eager autograd": eager}
CASES: dict[str, dict[str, int]] = {
    "Kuramoto10": {"nodes": 10, "edges": 50, "batch": 32, "channels": 3},
    "1,000 nodes": {"nodes": 1000, "edges": 10_000, "batch": 4, "channels": 1},
}


def graph_of(nodes: int, edges: int) -> Graph:
    """A graph with edges in both directions, ``edges`` in all; Barabási-Albert for ten nodes."""
    if nodes == 10:
        return Graph.from_networkx(nx.barabasi_albert_graph(10, 5, seed=1))
    return Graph.from_networkx(nx.gnm_random_graph(nodes, edges // 2, seed=1))


def case(
    messages: str = "pairwise",
    *,
    nodes: int,
    edges: int,
    batch: int,
    channels: int,
    steps: int = 8,
) -> Case:
    """A window of random numbers on one graph, and random weights."""
    rng = np.random.default_rng(0)
    size = channels if messages == "pairwise" else 6
    spec = ModelSpec(
        channels=channels, messages=messages, coupling="superposed", message=size, hidden=32
    )  # type: ignore[arg-type]
    columns = Columns.arrange(graph_of(nodes, edges), np.zeros(batch, dtype=np.int64))

    def normal(*shape: int) -> torch.Tensor:
        return torch.as_tensor(rng.standard_normal(shape), dtype=torch.float32)

    total = columns.total
    window = Window(
        columns, normal(channels, total), normal(steps + 1, channels, total), None, None, None,
        np.full(steps, 0.05), 1 / total,
    )  # fmt: skip
    theta = torch.as_tensor(layout_of(spec).initial(rng), dtype=torch.float32)
    return spec, theta, window


def mlp(*widths: int) -> torch.nn.Sequential:
    """Linear layers with tanh between them."""
    layers: list[torch.nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


def peer_name() -> str:
    """The peer that this installation can run; "" without torchdiffeq."""
    if not importlib.util.find_spec("torchdiffeq"):
        return ""
    there = importlib.util.find_spec("torch_geometric")
    return f"{'torch_geometric' if there else 'index_add'} + torchdiffeq rk4"


def peer(spec: ModelSpec, theta: torch.Tensor, window: Window) -> Callable[[], torch.Tensor]:
    """The step in other libraries; returns the gradient in the order of our layout."""
    from torchdiffeq import odeint

    columns = window.columns
    nodes, batch = int(columns.nodes[0]), int(columns.width[0])
    edge_index = torch.as_tensor(np.stack([columns.sender, columns.receiver]))
    node_function = mlp(spec.channels, 32, 32, spec.channels)
    edge_function = mlp(2 * spec.channels, 32, 32, spec.channels)
    parameters = [*node_function.parameters(), *edge_function.parameters()]
    with torch.no_grad():
        for own, value in zip(parameters, layout_of(spec).unpack(theta).values()):
            own.copy_(value)

    if importlib.util.find_spec("torch_geometric"):
        from torch_geometric.nn import MessagePassing

        class Edges(MessagePassing):
            def __init__(self) -> None:
                super().__init__(aggr="mean", node_dim=0)

            def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
                return self.propagate(edge_index, x=x)

            def message(self, x_i: torch.Tensor, x_j: torch.Tensor) -> torch.Tensor:
                return edge_function(torch.cat([x_i, x_j], dim=-1))

        sums: Callable[..., torch.Tensor] = Edges()
    else:
        degree = torch.as_tensor(columns.degree).clamp(min=1).view(-1, 1, 1)

        def sums(x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
            sender, receiver = edge_index
            message = edge_function(torch.cat([x[receiver], x[sender]], dim=-1))
            return torch.zeros_like(x).index_add(0, receiver, message) / degree

    def field(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return node_function(x) + sums(x, edge_index)

    def arranged(values: torch.Tensor) -> torch.Tensor:
        shape = (*values.shape[:-1], nodes, batch)
        return values.reshape(shape).movedim(-3, -1).contiguous()

    assert window.target is not None
    x0, target = arranged(window.initial), arranged(window.target)
    times = torch.as_tensor(np.concatenate([[0.0], np.cumsum(window.dt)]), dtype=torch.float32)

    def run() -> torch.Tensor:
        states = odeint(field, x0, times, method="rk4")
        loss = torch.nn.functional.huber_loss(states[1:], target[1:], reduction="sum")
        gradients = torch.autograd.grad(loss * window.scale, parameters)
        return torch.cat([gradient.reshape(-1) for gradient in gradients])

    return run


def candidates(sizes: dict[str, int]) -> dict[str, Callable[[], Any]]:
    """A training step of every candidate."""
    pairs, emitted = case(**sizes), case("emitted", **sizes)  # type: ignore[arg-type]
    out: dict[str, Callable[[], Any]] = {
        name: lambda module=module: module.loss_and_gradient(*pairs)
        for name, module in KERNELS.items()
        if getattr(module, "supports", lambda spec: None)(pairs[0]) is None
    }
    out["emitted messages, numba kernel"] = lambda: compiled.loss_and_gradient(*emitted)
    if peer_name():
        out[peer_name()] = peer(*pairs)
    return out


def agreement(sizes: dict[str, int]) -> float | None:
    """Relative difference of the peer's gradient: another method of order 4, and other sums."""
    if not peer_name():
        return None
    problem = case(**sizes)  # type: ignore[arg-type]
    ours = compiled.loss_and_gradient(*problem)[1]
    return float((peer(*problem)() - ours).norm() / ours.norm())


def times_of(sizes: dict[str, int], rounds: int) -> dict[str, float]:
    """Median CPU milliseconds of each candidate, run in turn after one round for warmth."""
    steps = candidates(sizes)
    spent: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            start = time.process_time()
            step()
            if number:
                spent[name].append(1e3 * (time.process_time() - start))
    return {name: statistics.median(values) for name, values in spent.items()}


_PEAK = """
import sys
import pairwise
pairwise.torch.set_num_threads(1)

def status(name):
    for line in open("/proc/self/status"):
        if line.startswith(name):
            return int(line.split()[1]) / 1024


sizes, name = {sizes}, {name!r}
pairwise.candidates(dict(sizes, batch=1, steps=1))[name]()  # compile, load libraries
step = pairwise.candidates(sizes)[name]
before = status("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # forget the peak so far
step()
print(status("VmHWM") - before)
"""


def peak_of(sizes: dict[str, int], name: str) -> float | None:
    """Mebibytes of a step above what stood before it; None where it cannot be measured."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    paths = [str(_HERE), str(_HERE.parent), os.environ.get("PYTHONPATH", "")]
    found = subprocess.run(
        [sys.executable, "-c", _PEAK.format(sizes=sizes, name=name)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    return round(float(found.stdout.split()[-1]), 1)


def measured(sizes: dict[str, int], rounds: int, memory: tuple[str, ...]) -> dict[str, Any]:
    """Times, memory and the ratios that were aimed at."""
    times = times_of(sizes, rounds)
    rows = [
        {
            "step": name,
            "CPU ms": round(value, 2),
            "times the numba kernel": round(value / times["numba kernel"], 2),
            "peak MiB": peak_of(sizes, name) if name in memory else None,
        }
        for name, value in times.items()
    ]
    return {"sizes": sizes, "rows": rows, "gradient of the peer differs by": agreement(sizes)}


def markdown(found: dict[str, Any]) -> str:
    """The tables."""
    lines = ["# Messages of pairs: one training step, float32, one thread, RK4, hidden 32", ""]
    if not peer_name():
        lines += ["torchdiffeq is not installed: no peer.", ""]
    for name, of_case in found["cases"].items():
        sizes = ", ".join(f"{value} {key}" for key, value in of_case["sizes"].items())
        rows = of_case["rows"]
        lines += [f"## {name}: {sizes}", "", "| " + " | ".join(rows[0]) + " |"]
        lines.append("|---" * len(rows[0]) + "|")
        for row in rows:
            cells = ("" if value is None else str(value) for value in row.values())
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    options = parse(parser, rounds=1)
    torch.set_num_threads(1)
    cases = CASES
    memory = tuple(KERNELS)
    if options.smoke:
        small = {"nodes": 30, "edges": 60, "batch": 2, "channels": 1, "steps": 2}
        cases, memory = {"small": small}, ("numba kernel",)
    found: dict[str, Any] = {
        "cases": {n: measured(s, options.rounds, memory) for n, s in cases.items()}
    }
    found["versions"] = {
        name: importlib.import_module(name).__version__
        for name in ("torch", "numba", "torchdiffeq", "torch_geometric")
        if importlib.util.find_spec(name)
    }
    (options.results / "pairwise.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.results / "pairwise.md").write_text(markdown(found))
    print(markdown(found))


if __name__ == "__main__":
    main()
