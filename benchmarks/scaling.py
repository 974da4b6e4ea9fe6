"""CPU time of data generation and of a training step as systems grow.

    python benchmarks/scaling.py [--parts generation training] [--largest 100000]

Generation: Kuramoto oscillators on Watts-Strogatz (4 neighbours), grid and Barabási-Albert graphs (5 edges
a new node), tolerance 1e-8: CPU time per node and *field evaluation* of a trajectory. The
number of evaluations stands beside it: on Barabási-Albert graphs the largest degree, and with it the
rate of the field, grows with the root of the number of nodes, and h times rate is given for the published
step of 0.05. Training: loss and gradient of an MP-NODE in float32 over a window of 10 steps on a
Watts-Strogatz graph, per node and step, and of a graph neural ODE with an edge function in
torch_geometric and torchdiffeq (rk4 on the same grid) where these are installed. One thread, CPU time.
"""

from __future__ import annotations

import os

# Before anything loads a thread pool.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import importlib.util
import json
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from smoke import parse

from pympnode.networks.engines.columns import Columns
from pympnode.networks.engines.torch.kernel_numba import run as compiled
from pympnode.networks.engines.torch.kernel_torch import run as adjoint
from pympnode.networks.engines.torch.window import Window
from pympnode.networks.generate import generate
from pympnode.networks.graphs.topology import resolve
from pympnode.networks.spec import ModelSpec
from pympnode.networks.stability import rate_of_system
from pympnode.networks.weights import layout_of
from pympnode.systems.registry import get

MISSING = [
    name for name in ("torch_geometric", "torchdiffeq") if not importlib.util.find_spec(name)
]
TOPOLOGIES: dict[str, Any] = {
    "WS": ("WS", {"k": 4, "beta": 0.2}),
    "grid": "grid",
    "BA": "BA",
}
SIZES = (10, 100, 1_000, 10_000, 100_000)
STEPS = 10  # of a training window


def generation(topology: str, nodes: int) -> dict[str, Any]:
    """One row: a dataset of some 3,000 nodes, or one trajectory, of the published 50 steps."""
    graph = resolve(TOPOLOGIES[topology], nodes, system="kuramoto")
    trajectories = max(1, min(256, 3_000 // nodes))
    steps = 50 if nodes < 50_000 else 15
    generate("kuramoto", graph, None, 1, steps=1)  # compiled, and the graph's arrays made
    taken = []
    for _ in range(3 if nodes < 10_000 else 1):
        begin = time.process_time()
        made = generate("kuramoto", graph, None, trajectories, steps=steps)
        taken.append(time.process_time() - begin)
    system = get("kuramoto")
    rate = rate_of_system(system, graph, made.parameters, made.x[:1, -1])
    return {
        "part": "generation",
        "topology": topology,
        "nodes": nodes,
        "trajectories": trajectories,
        "steps": steps,
        "evaluations": made.evaluations / trajectories,
        "evaluations_per_step": made.evaluations / trajectories / steps,
        "largest_degree": int(graph.in_degree.max()),
        "h_rate": system.dt * rate,
        "ns": 1e9 * statistics.median(taken) / nodes / made.evaluations,
    }


def our_step(nodes: int, kernel: Any) -> Callable[[], Any]:
    """Loss and gradient of an MP-NODE on one window of at least 1,000 nodes."""
    rng = np.random.default_rng(0)
    batch = max(1, 1_000 // nodes)
    graph = resolve(TOPOLOGIES["WS"], nodes)
    columns = Columns.arrange(graph, np.zeros(batch, dtype=np.int64))
    spec = ModelSpec(channels=3, message=3, hidden=32)

    def normal(*shape: int) -> torch.Tensor:
        return torch.as_tensor(rng.standard_normal(shape), dtype=torch.float32)

    total = columns.total
    window = Window(
        columns, normal(3, total), normal(STEPS + 1, 3, total), None, None, None,
        np.full(STEPS, 0.05), 1 / total,
    )  # fmt: skip
    theta = torch.as_tensor(layout_of(spec).initial(rng), dtype=torch.float32)
    return lambda: kernel.loss_and_gradient(spec, theta, window)


def peer_step(nodes: int) -> Callable[[], Any]:
    """The same window by F(x_i) + sum of g(x_i, x_j) in torch_geometric, rk4 of torchdiffeq."""
    from torch_geometric.nn import MessagePassing
    from torchdiffeq import odeint

    def perceptron(inputs: int) -> torch.nn.Sequential:
        return torch.nn.Sequential(
            torch.nn.Linear(inputs, 32), torch.nn.Tanh(), torch.nn.Linear(32, 32),
            torch.nn.Tanh(), torch.nn.Linear(32, 3),
        )  # fmt: skip

    class EdgeODE(MessagePassing):
        def __init__(self) -> None:
            super().__init__(aggr="add")
            self.own, self.pair = perceptron(3), perceptron(6)

        def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
            return self.own(x) + self.propagate(edge_index, x=x) / 4

        def message(self, x_i: torch.Tensor, x_j: torch.Tensor) -> torch.Tensor:
            return self.pair(torch.cat([x_i, x_j], dim=1))

    torch.manual_seed(0)
    graph = resolve(TOPOLOGIES["WS"], nodes)
    batch = max(1, 1_000 // nodes)
    ends = np.stack([graph.sender, graph.receiver])
    edges = torch.as_tensor(np.concatenate([ends + b * nodes for b in range(batch)], axis=1))
    net, x0 = EdgeODE(), torch.randn(batch * nodes, 3)
    target = torch.randn(STEPS + 1, batch * nodes, 3)
    times = torch.arange(STEPS + 1) * 0.05

    def step() -> None:
        net.zero_grad()
        x = odeint(lambda _, x: net(x, edges), x0, times, method="rk4")
        torch.nn.functional.huber_loss(x, target).backward()

    return step


def training(nodes: int, candidates: dict[str, Callable[[int], Callable[[], Any]]]) -> list[dict]:
    rows = []
    for name, make in candidates.items():
        run = make(nodes)
        run()
        taken = []
        for _ in range(5 if nodes < 10_000 else 2):
            begin = time.process_time()
            run()
            taken.append(time.process_time() - begin)
        per = max(1, 1_000 // nodes) * nodes * STEPS
        rows.append(
            {
                "part": "training",
                "solver": name,
                "nodes": nodes,
                "us": 1e6 * statistics.median(taken) / per,
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--parts", nargs="+", default=["generation", "training"])
    parser.add_argument("--largest", type=int, default=SIZES[-1])
    parser.add_argument("--largest-peer", type=int, default=10_000)
    given = parse(parser, largest=100, largest_peer=100)
    torch.set_num_threads(1)
    text, rows = "# Scaling with the number of nodes, one thread, CPU time\n\n", []
    if "generation" in given.parts:
        for topology in TOPOLOGIES:
            # Networkx takes long for larger graphs with hubs, and evaluations are what matters there.
            sizes = (10, 100, 1_000, 4_000, 10_000) if topology == "BA" else SIZES
            found = [generation(topology, n) for n in sizes if n <= given.largest]
            rows += [{**row, "to_smallest": row["ns"] / found[0]["ns"]} for row in found]
        text += (
            "| topology | nodes | trajectories | evaluations a step | largest degree | h times rate "
            "| ns a node and evaluation | to 10 nodes |\n|---|---|---|---|---|---|---|---|\n"
        ) + "".join(
            "| {topology} | {nodes:,} | {trajectories} | {evaluations_per_step:.2f} "
            "| {largest_degree} | {h_rate:.2f} | {ns:.1f} | {to_smallest:.2f} |\n".format(**row)
            for row in rows
        )
    if "training" in given.parts:
        found = []
        for n in SIZES[1:]:
            candidates: dict[str, Any] = {}
            if n <= given.largest:
                candidates["pympnode, torch kernel"] = lambda nodes: our_step(nodes, adjoint)
                candidates["pympnode, numba kernel"] = lambda nodes: our_step(nodes, compiled)
            if n <= given.largest_peer and not MISSING:
                candidates["torch_geometric + torchdiffeq"] = peer_step
            found += training(n, candidates)
        rows += found
        text += (
            "\n| nodes | solver | µs a node and step | largest memory of the process so far, MiB |\n"
            "|---|---|---|---|\n"
        ) + "".join(
            "| {nodes:,} | {solver} | {us:.2f} | {peak_mib:.0f} |\n".format(**row) for row in found
        )
        if MISSING:
            text += f"\nNot installed: {', '.join(MISSING)}.\n"
    (given.results / "scaling.md").write_text(text)
    (given.results / "scaling.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    main()
