"""A training step (loss and gradient) of models whose nodes or edges differ, beside the same step without.

    python benchmarks/heterogeneous.py
    python benchmarks/heterogeneous.py --rows "types, emitted" --nodes 10

A row has two arms or more with the same numbers of nodes, edges, trajectories and widths of layers; the
first is what the others are divided by. float32, one thread, CPU time of this process: medians over
rounds in which every arm of a row runs once. Writes results/heterogeneous.json and heterogeneous.md.

Delays and edges that switch run in the kernel "eager" in place of "torch", which refuses them.

The kernel "torch_geometric" is the peer: an edge-function graph neural ODE with the same numbers of features,
nodes, edges and trajectories and two hidden layers of 32 (`peers.step_of`; torchdiffeq's rk4 on the same grid, autograd).
It stands beside messages of pairs, and has arms for two types (a function for each type of node and each pair of
types), codes and learned weights. It has none for delays and edges that switch: torchdiffeq solves no delays.

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
from dataclasses import dataclass, replace
from typing import Any

import networkx as nx
import numpy as np
import torch
from peers import MISSING, not_run, step_of, versions
from smoke import parse

from pympnode.graph import Graph
from pympnode.networks import engines
from pympnode.networks.engines.base import Batch
from pympnode.networks.schema import Arrays
from pympnode.networks.spec import ModelSpec
from pympnode.networks.weights import layout_of

STEPS = 10
DT, LONGEST = 0.05, 20  # steps of the longest delay
TRAJECTORIES = {10: 64, 100: 16}


@dataclass(frozen=True, eq=False)
class Arm:
    """A model and its data in z units; windows begin at time number ``start``."""

    spec: ModelSpec
    data: Arrays
    start: int = 0
    kernels: tuple[str, ...] = ("numba", "torch", "eager")

    def step(self, kernel: str) -> Callable[[], object]:
        """A function that computes loss and gradient of all trajectories once."""
        program = engines.engine("torch").bind(
            self.spec, [self.data], dtype="float32", device="cpu", kernel=kernel
        )
        theta = layout_of(self.spec).initial(np.random.default_rng(1)).astype(np.float32)
        count = self.data.trajectories
        batch = Batch(np.arange(count), np.full(count, self.start), STEPS)
        return lambda: program.loss_and_gradient(theta, batch)

    def peer(self) -> Callable[[], object] | None:
        """The same of the peer; None where it has no such model."""
        graph, spec = self.data.graph, self.spec
        one_graph = graph.total_nodes == self.data.x.shape[2]
        if spec.messages != "pairwise" or not one_graph or MISSING:
            return None
        if graph.delay is not None or self.data.edge_weight is not None:
            return None
        x = self.data.x[:, self.start : self.start + STEPS + 1]
        return step_of(
            x, graph, DT, types=graph.node_type if spec.node_types else None,
            more=spec.attributes + spec.codes, codes=spec.codes > 0, learned=spec.learned_edges > 0,
        )  # fmt: skip


PEER = "torch_geometric"
Row = Callable[[int], dict[str, Arm]]


def graph_of(nodes: int) -> Graph:
    """A random graph of mean degree 6, directed edges in both directions."""
    return Graph.from_networkx(nx.gnm_random_graph(nodes, 3 * nodes, seed=1), nodes=nodes)


def data_of(graphs: list[Graph], channels: int, trajectories: int, before: int = 0) -> Arrays:
    """Random trajectories of ``channels`` features, on the graphs in turn, with steps ``before``."""
    rng = np.random.default_rng(0)
    nodes = max(graph.total_nodes for graph in graphs)
    times = before + STEPS + 1
    x = rng.standard_normal((trajectories, times, nodes, channels)).astype(np.float32)
    of = np.arange(trajectories) % len(graphs)
    return Arrays(x, np.arange(times) * DT, Graph.union(graphs), of, None, None, None)


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


def past(**options: object) -> Row:
    """Messages without delay, with one of 4 steps, with one of 1 to 20 steps for each edge, and without
    delay over edges of which 7 of 10 are on in each interval."""

    def arms(nodes: int) -> dict[str, Arm]:
        spec = ModelSpec(channels=2, coupling="superposed", hidden=32, **options)  # type: ignore[arg-type]
        graph, rng = graph_of(nodes), np.random.default_rng(2)
        data = data_of([graph], 2, TRAJECTORIES.get(nodes, 4), LONGEST)
        on = (rng.random((len(data.time), graph.edges)) < 0.7).astype(np.float64)
        drawn = rng.uniform(DT, LONGEST * DT, graph.edges)
        changed: dict[str, Any] = {
            "no delay": {},
            "one delay": {"graph": graph.with_delay(4 * DT)},
            "a delay for each edge": {"graph": graph.with_delay(drawn)},
            "edges that switch": {"edge_weight": on},
        }
        kernels = ("numba", "eager")
        return {
            name: Arm(spec, replace(data, **changes), LONGEST, kernels)
            for name, changes in changed.items()
        }

    return arms


def codes(**options: object) -> Row:
    """Two measured attributes of each node, and two learned codes in their place."""

    def arms(nodes: int) -> dict[str, Arm]:
        plain = ModelSpec(channels=2, coupling="superposed", hidden=32, **options)  # type: ignore[arg-type]
        data = data_of([graph_of(nodes)], 2, TRAJECTORIES.get(nodes, 4))
        attribute = np.random.default_rng(2).standard_normal((nodes, 2)).astype(np.float32)
        given = Arrays(data.x, data.time, data.graph, data.graph_of, None, attribute, None)
        return {
            "two attributes": Arm(plain.replace(attributes=2), given),
            "two codes": Arm(plain.replace(codes=2, coded_nodes=nodes), data),
        }

    return arms


def learned_graph(**options: object) -> Row:
    """A graph of degree 4, and the weights of all pairs of its nodes."""

    def arms(nodes: int) -> dict[str, Arm]:
        plain = ModelSpec(channels=2, coupling="superposed", hidden=32, **options)  # type: ignore[arg-type]
        true = Graph.from_networkx(nx.random_regular_graph(4, nodes, seed=1), nodes=nodes)
        pairs = Graph.from_networkx(nx.complete_graph(nodes), nodes=nodes)
        given, all_pairs = (data_of([g], 2, 16) for g in (true, pairs))
        learned = plain.replace(learned_edges=pairs.edges)
        return {
            f"{true.edges} edges": Arm(plain, given),
            f"{pairs.edges} edges, learned weights": Arm(learned, all_pairs),
        }

    return arms


ROWS: dict[str, Row] = {
    "types, emitted": types(messages="emitted", message=6),
    "types, pairwise": types(messages="pairwise", message=2),
    "types, emitted, a graph for each trajectory": types(64, messages="emitted", message=6),
    "types, pairwise, a graph for each trajectory": types(64, messages="pairwise", message=2),
    "delays, emitted": past(messages="emitted", message=6),
    "delays, pairwise": past(messages="pairwise", message=2),
    "codes, emitted": codes(messages="emitted", message=6),
    "codes, pairwise": codes(messages="pairwise", message=2),
    "learned graph, emitted": learned_graph(messages="emitted", message=6),
    "learned graph, pairwise": learned_graph(messages="pairwise", message=2),
}
# Rows of other numbers of nodes than the others.
NODES = {"learned graph, emitted": [50], "learned graph, pairwise": [50]}


def measure(arms: dict[str, Arm], kernel: str, rounds: int) -> dict[str, float]:
    """Milliseconds of CPU time of a step of each arm, medians of interleaved rounds; without arms that
    the peer does not have."""
    made = {n: arm.peer() if kernel == PEER else arm.step(kernel) for n, arm in arms.items()}
    steps = {name: step for name, step in made.items() if step is not None}
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
    parser.add_argument("--kernels", nargs="+", default=["numba", "torch", PEER])
    parser.add_argument("--rounds", type=int, default=40)
    options = parse(parser, nodes=[6], rounds=1, kernels=["torch", PEER])
    torch.set_num_threads(1)
    file = options.results / "heterogeneous.json"
    # Rows that are not measured now stay as they are.
    found = json.loads(file.read_text()) if file.exists() else []
    print("\n".join(HEAD))
    for name in options.rows:
        for nodes in options.nodes if options.smoke else NODES.get(name, options.nodes):
            arms = ROWS[name](nodes)
            for kernel in options.kernels:
                if kernel != PEER and not all(kernel in arm.kernels for arm in arms.values()):
                    kernel = "eager"
                times = measure(arms, kernel, options.rounds)
                if not times:
                    continue
                first = next(iter(times.values()))
                key = {"row": name, "nodes": nodes, "kernel": kernel}
                found = [one for one in found if not key.items() <= one.items()]
                for arm, value in times.items():
                    found.append({**key, "arm": arm, "milliseconds": value, "ratio": value / first})
                    print(line(found[-1]), flush=True)
    found.sort(key=lambda one: list(ROWS).index(one["row"]))
    file.write_text(json.dumps(found, indent=1) + "\n")
    table = "\n".join([*HEAD, *map(line, found)])
    head = (
        "A training step, float32, CPU ms of one thread, medians; ratios are to the first arm of the same kernel. "
        f'"{PEER}" is the peer, an edge-function graph neural ODE of the same sizes on the same grid '
        f"({versions()}): beside messages of pairs on one graph, without delays and edges that switch.{not_run('It')}"
        f"{beside(found)}\n\n"
    )
    (options.results / "heterogeneous.md").write_text(head + table + "\n")


def beside(found: list[dict[str, Any]]) -> str:
    """Times of the peer over those of the compiled kernel, the least and the most."""
    times = {(r["row"], r["nodes"], r["arm"], r["kernel"]): r["milliseconds"] for r in found}
    ratios = [
        value / times[(*key, "numba")]
        for (*key, kernel), value in times.items()
        if kernel == PEER and (*key, "numba") in times
    ]
    if not ratios:
        return ""
    return (
        f" Its steps take {min(ratios):.2g} to {max(ratios):.2g} times those of the numba kernel."
    )


HEAD = ["| model | nodes | kernel | arm | ms | ratio |", "| --- | --- | --- | --- | --- | --- |"]


def line(one: dict[str, Any]) -> str:
    """The line of the table of one measurement."""
    return (
        f"| {one['row']} | {one['nodes']} | {one['kernel']} | {one['arm']} "
        f"| {one['milliseconds']:.3g} | {one['ratio']:.2f} |"
    )


if __name__ == "__main__":
    main()
