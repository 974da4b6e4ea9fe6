"""Graphs that are learned from trajectories alone, beside the true ones.

    python benchmarks/unknown_graphs.py
    python benchmarks/unknown_graphs.py --rows "Kuramoto, 10 nodes" --tasks "springs 5"

First table: one graph for all trajectories (``topology="learn"``): area under the ROC curve of the scores of
all pairs, false and missed directed edges of model.graph, and the error of rollouts of 30 new
trajectories (root mean square, z units) over that of the same training with the true graph. Second
table: the tasks of Neural Relational Inference, where each simulation has its own graph
(``topology="learn each"``): the accuracy over all ordered pairs of edge or no edge, on the simulations that
functions were fitted to and on others, beside the published accuracies. CPU seconds of this process,
one thread. Writes results/unknown_graphs.json and unknown_graphs.md.
"""

from __future__ import annotations

import os

# Before anything loads a thread pool.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import time
import warnings
from typing import Any

import numpy as np
import torch
from nri_tasks import PUBLISHED, SIMULATIONS, dataset
from numpy.typing import NDArray
from smoke import parse

import pympnode
from pympnode.graph import Graph

_DIRECTED = Graph.from_edges(
    [(i, (3 * i + j) % 12) for i in range(12) for j in (1, 4, 6) if (3 * i + j) % 12 != i],
    12,
    directed=True,
)
# System, keywords of `simulate`, trajectories.
ROWS: dict[str, tuple[str, dict[str, Any], int]] = {
    "Kuramoto, 10 nodes": ("kuramoto", dict(nodes=10), 50),
    "Kuramoto, 10 nodes, 8 trajectories": ("kuramoto", dict(nodes=10), 8),
    "Kuramoto, 10 nodes, 5 trajectories": ("kuramoto", dict(nodes=10), 5),
    "Kuramoto, 10 nodes, noise 0.05": ("kuramoto", dict(nodes=10, noise=0.05), 50),
    "gene regulation, 16 nodes": ("gene", dict(nodes=16), 150),
    "Kuramoto, 12 nodes, directed, weights 0.2 to 2": (
        "kuramoto", dict(nodes=12, topology=_DIRECTED, edge_weight=(0.2, 2.0)), 100,
    ),
    "Kuramoto, 50 nodes": ("kuramoto", dict(nodes=50, topology=("BA", {"k": 2})), 50),
}  # fmt: skip
ONE, EACH = "one graph", "a graph of each simulation"
TASKS = [f"{task} {nodes}" for task, nodes in PUBLISHED]


def area(scores: NDArray, edge: NDArray[np.bool_]) -> float:
    """Area under the receiver operating characteristic of (pair,) scores."""
    above, below = scores[edge][:, None], scores[~edge]
    return float(np.mean(above > below) + 0.5 * np.mean(above == below))


def one_graph(name: str, updates: int, test: int) -> dict[str, Any]:
    """A row of the first table."""
    system, keywords, trajectories = ROWS[name]
    graph_seed = 7
    ds = pympnode.simulate(
        system, **keywords, trajectories=trajectories, seed=1, graph_seed=graph_seed
    )
    clean = {k: v for k, v in keywords.items() if k != "noise"}
    new = pympnode.simulate(
        system, **clean, trajectories=test, seed=9, graph_seed=graph_seed, split=None
    )
    nodes = ds.sizes["node"]
    true = np.zeros((nodes, nodes), bool)
    true[ds.receiver, ds.sender] = True
    off = ~np.eye(nodes, dtype=bool)
    run = {"updates": updates, "progress": False}
    start = time.process_time()
    blind = pympnode.from_arrays(ds.state, topology="learn", split=list(ds.split.values))
    model = pympnode.train(data=blind, **run).model
    seconds = time.process_time() - start
    known = pympnode.train(data=ds, **run).model
    kept = np.zeros_like(true)
    kept[model.graph.receiver, model.graph.sender] = True
    errors = [
        float(pympnode.evaluate(one, data).rmse_z.sel(predictor="model"))
        for one, data in (
            (model, pympnode.from_arrays(new.state, topology="learn")), (known, new),
        )
    ]  # fmt: skip
    return {
        "row": name, "trajectories": trajectories, "edges": int(true.sum()),
        "area": area(model.edge_scores.values[off], true[off]),
        "false": int((kept & ~true).sum()), "missed": int((true & ~kept).sum()),
        "error": errors[0], "error_true_graph": errors[1], "ratio": errors[0] / errors[1],
        "seconds": seconds,
    }  # fmt: skip


def each_graph(task: str, train: int, test: int) -> dict[str, Any]:
    """A row of the second table."""
    name, nodes = task.split()[0], int(task.split()[1])
    ds, adjacency, bounces = dataset(name, nodes, train, test)
    start = time.process_time()
    model = pympnode.train(data=ds, updates=1, progress=False).model
    seconds = time.process_time() - start
    graph, kept = model.graph, np.zeros(adjacency.shape, bool)
    first = graph.node_offset[graph.edge_graph]
    kept[graph.edge_graph, graph.receiver - first, graph.sender - first] = True
    off = ~np.eye(nodes, dtype=bool)
    right = (kept == (adjacency > 0))[:, off]
    unsupervised, supervised = PUBLISHED[name, nodes]
    fitted = (ds.split == "train").values
    return {
        "task": name, "nodes": nodes, "simulations": train, "bounces": bounces,
        "accuracy": 100 * float(right[fitted].mean()),
        "accuracy_new": 100 * float(right[(ds.split == "test").values].mean()),
        "area": area(model.edge_scores.values[:, off].ravel(), (adjacency > 0)[:, off].ravel()),
        "published": unsupervised, "published_supervised": supervised, "seconds": seconds,
    }  # fmt: skip


def main() -> None:
    """Measure all rows and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--tasks", nargs="*", default=TASKS, choices=TASKS)
    parser.add_argument("--updates", type=int, default=500)
    parser.add_argument("--simulations", type=int, default=50)
    parser.add_argument("--new", type=int, default=50, help="simulations that are not fitted to")
    options = parse(
        parser, rows=["Kuramoto, 10 nodes, 5 trajectories"], tasks=["kuramoto 5"], updates=2,
        simulations=4, new=2,
    )  # fmt: skip
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    path = options.results / "unknown_graphs.json"
    record: dict[str, dict[str, Any]] = {ONE: {}, EACH: {}}
    if path.is_file():  # rows that are not run keep their results
        record = json.loads(path.read_text())

    def write() -> str:
        path.write_text(json.dumps(record, indent=1) + "\n")
        text = table(record)
        (options.results / "unknown_graphs.md").write_text(text)
        return text

    for task in options.tasks:
        record[EACH][task] = each_graph(task, options.simulations, options.new)
        print(task, record[EACH][task], flush=True)
        write()
    for name in options.rows:
        record[ONE][name] = one_graph(name, options.updates, min(30, options.new))
        print(name, record[ONE][name], flush=True)
        write()
    print(write())


def table(record: dict[str, dict[str, Any]]) -> str:
    """Both tables in Markdown."""
    lines = [
        "| data | trajectories | true edges | AUROC | false | missed | error / with the true graph | CPU s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in filter(record[ONE].__contains__, ROWS):
        found = record[ONE][name]
        lines.append(
            f"| {name} | {found['trajectories']} | {found['edges']} | {found['area']:.4f} | "
            f"{found['false']} | {found['missed']} | {found['ratio']:.2f} | {found['seconds']:.0f} |"
        )
    lines += [
        "",
        "| task | simulations | accuracy % | on other simulations | AUROC | published, unsupervised, "
        f"{SIMULATIONS:,} simulations | published, supervised | CPU s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for task in filter(record[EACH].__contains__, TASKS):
        found = record[EACH][task]
        lines.append(
            f"| {task} | {found['simulations']} | {found['accuracy']:.1f} | "
            f"{found['accuracy_new']:.1f} | {found['area']:.4f} | {found['published']} | "
            f"{found['published_supervised']} | {found['seconds']:.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
