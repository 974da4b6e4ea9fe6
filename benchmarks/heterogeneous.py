"""A training step (loss and gradient) of models whose nodes or edges differ, beside the same step without.

    python benchmarks/heterogeneous.py
    python benchmarks/heterogeneous.py --rows "types, emitted" --nodes 10

A row has two arms or more with the same numbers of nodes, edges, trajectories and widths of layers; the
first is what the others are divided by. float32, one thread, CPU time of this process: medians over
rounds in which every arm of a row runs once. Writes results/heterogeneous.json and heterogeneous.md.

To add a row: a function of the number of nodes that returns `Arm`s by name, and an entry in `ROWS`.
"""

from __future__ import annotations

import os

# Before anything loads a thread pool.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import networkx as nx
import numpy as np
import torch
from smoke import parse

from pympnode.graph import Graph
from pympnode.networks import engines
from pympnode.networks.engines.base import Batch
from pympnode.networks.schema import Arrays
from pympnode.networks.spec import ModelSpec
from pympnode.networks.weights import layout_of

STEPS = 10
TRAJECTORIES = {10: 64, 100: 16}


@dataclass(frozen=True, eq=False)
class Arm:
    """A model and its data in z units."""

    spec: ModelSpec
    data: Arrays

    def step(self, kernel: str) -> Callable[[], object]:
        """A function that computes loss and gradient of all trajectories once."""
        program = engines.engine("torch").bind(
            self.spec, [self.data], dtype="float32", device="cpu", kernel=kernel
        )
        theta = layout_of(self.spec).initial(np.random.default_rng(1)).astype(np.float32)
        count = self.data.trajectories
        batch = Batch(np.arange(count), np.zeros(count, np.int64), STEPS)
        return lambda: program.loss_and_gradient(theta, batch)


Row = Callable[[int], dict[str, Arm]]


def graph_of(nodes: int) -> Graph:
    """A random graph of mean degree 6, directed edges in both directions."""
    return Graph.from_networkx(nx.gnm_random_graph(nodes, 3 * nodes, seed=1), nodes=nodes)


def data_of(graphs: list[Graph], channels: int, trajectories: int) -> Arrays:
    """Random trajectories of ``channels`` features, on the graphs in turn."""
    rng = np.random.default_rng(0)
    nodes = max(graph.total_nodes for graph in graphs)
    x = rng.standard_normal((trajectories, STEPS + 1, nodes, channels)).astype(np.float32)
    of = np.arange(trajectories) % len(graphs)
    return Arrays(x, np.arange(STEPS + 1) * 0.05, Graph.union(graphs), of, None, None, None)


def types(graphs: int = 1, **options: object) -> Row:
    """Nodes of one type, and half of the nodes of each of two types; ``options`` of `ModelSpec`."""

    def arms(nodes: int) -> dict[str, Arm]:
        plain = ModelSpec(channels=2, coupling="superposed", hidden=32, **options)  # type: ignore[arg-type]
        two = plain.replace(
            node_types=("a", "b"), type_channels=(2, 2), type_controls=(0, 0),
            type_attributes=(0, 0),
        )  # fmt: skip
        data = data_of([graph_of(nodes)] * graphs, 2, TRAJECTORIES.get(nodes, 4))
        kinds = np.tile(np.repeat([0, 1], [nodes - nodes // 2, nodes // 2]), graphs)
        typed = Arrays(
            data.x, data.time, data.graph.with_types(kinds), data.graph_of, None, None, None
        )
        return {"one type": Arm(plain, data), "two types": Arm(two, typed)}

    return arms


ROWS: dict[str, Row] = {
    "types, emitted": types(messages="emitted", message=6),
    "types, pairwise": types(messages="pairwise", message=2),
    "types, emitted, a graph for each trajectory": types(64, messages="emitted", message=6),
    "types, pairwise, a graph for each trajectory": types(64, messages="pairwise", message=2),
}


def measure(arms: dict[str, Arm], kernel: str, rounds: int) -> dict[str, float]:
    """Milliseconds of CPU time of a step of each arm, medians of interleaved rounds."""
    steps = {name: arm.step(kernel) for name, arm in arms.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            start = time.process_time()
            step()
            if number:  # the first call compiles, and makes buffers
                times[name].append(1e3 * (time.process_time() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Measure all rows and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--kernels", nargs="+", default=["numba", "torch"])
    parser.add_argument("--rounds", type=int, default=40)
    options = parse(parser, nodes=[6], rounds=1, kernels=["torch"])
    torch.set_num_threads(1)
    found = []
    lines = [
        "| model | nodes | kernel | arm | ms | ratio |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    print("\n".join(lines))
    for name in options.rows:
        for nodes in options.nodes:
            arms = ROWS[name](nodes)
            for kernel in options.kernels:
                times = measure(arms, kernel, options.rounds)
                first = next(iter(times.values()))
                for arm, value in times.items():
                    ratio = value / first
                    found.append(
                        {
                            "row": name, "nodes": nodes, "kernel": kernel, "arm": arm,
                            "milliseconds": value, "ratio": ratio,
                        }
                    )  # fmt: skip
                    lines.append(
                        f"| {name} | {nodes} | {kernel} | {arm} | {value:.3g} | {ratio:.2f} |"
                    )
                    print(lines[-1], flush=True)
    (options.results / "heterogeneous.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.results / "heterogeneous.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
