"""When do learned networks generalise? Size, degree heterogeneity, clustering, fixed points, missing nodes.

    python benchmarks/generalisation.py                        # one seed, about four minutes of CPU
    python benchmarks/generalisation.py --systems SIS MM --seeds 3

The questions of M. Laber, T. Eliassi-Rad, B. Klein, "When do neural ordinary differential equations
generalize on complex networks?" (arXiv 2602.08980): five dynamics of the form of B. Barzel, A.-L.
Barabasi, "Universality in network dynamics" (Nature Physics 9, 2013), dx_i/dt = F(x_i) + sum_j A_ij
G(x_i) H(x_j), learned on one S1 graph of 64 nodes and used on others. The names of the dynamics, the S1
model, the training size and the axes are the paper's, from its abstract and summaries; the laws are our
reading of the names, and parameters, values along the axes, the way nodes are hidden and the number of runs
are ours, as is the largest size (1024; the paper has 8192).

Rows: today's default; the published class (messages that are ODE states, three components, mean over
neighbours) and the same with sums, both with today's optimiser; an edge-function graph neural ODE in
torch_geometric and torchdiffeq (`peers`); and where nodes are hidden the true equations on the others.
Rivals have the CPU time of the default, or eight seconds where that is more. Errors are mean absolute errors
over nodes and times in standard deviations of the training data. Writes
benchmarks/results/generalisation.{json,md,png}.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import importlib
import json
import platform
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers import MISSING, Rival, edge_ode
from smoke import parse

import pympnode
from pympnode.graph import Graph

DT, STEPS, LONG = 0.1, 50, 200
DEGREE = 6.0
TRAINED = {"nodes": 64, "gamma": 4.0, "beta": 2.0}
# Axis -> its values; everything else as in TRAINED, unless the name of the axis says otherwise.
AXES: dict[str, tuple[float, ...]] = {
    "nodes": (64, 256, 1024),
    "nodes, gamma 2.5": (64, 256, 1024),
    "gamma": (2.1, 2.5, 3.0, 4.0, 8.0),
    "beta": (1.1, 2.0, 4.0, 20.0),
    "missing": (0.0, 0.1, 0.25, 0.5),
}
TITLES = {
    "nodes": "nodes",
    "nodes, gamma 2.5": r"nodes, at $\gamma$ = 2.5",
    "gamma": r"$\gamma$ (small: heterogeneous)",
    "beta": r"$\beta$ (large: clustered)",
    "missing": "share of hidden nodes",
}
PUBLISHED: dict[str, Any] = {
    "messages": "state", "message_size": 3, "coupling": "mixed", "aggregation": "mean",
    "first_message": "zero",
}  # fmt: skip
RIVAL, TRUE = "edge GNN ODE", "true equations"
STYLES = {"persistence": "o--", TRUE: ":"}
ARMS: dict[str, dict[str, Any]] = {
    "default": {},
    "published class": PUBLISHED,
    "published class, sums": {**PUBLISHED, "aggregation": "sum"},
}


def s1_graph(
    nodes: int, gamma: float, beta: float, rng: np.random.Generator, degree: float = DEGREE
) -> Graph:
    """A random graph of the S1 model (Serrano, Krioukov, Boguna, Phys. Rev. Lett. 100, 078701, 2008).

    Nodes have uniform angles on a circle of circumference ``nodes`` and hidden degrees kappa of density
    kappa^-gamma (gamma > 2), cut at kappa_0 nodes^(1 / (gamma - 1)), the expected largest of as many
    draws. A pair at distance d is joined with probability 1 / (1 + (d / (mu kappa_i kappa_j))^beta), beta
    > 1. mu is found by bisection such that the expected mean degree is ``degree``: graphs then differ
    in what was asked alone, where the limit for many nodes leaves small heterogeneous graphs too sparse.
    """
    # The inverse of the distribution function of a power law that is cut.
    low = nodes**-1.0
    kappa = (1.0 - rng.random(nodes) * (1.0 - low)) ** (-1.0 / (gamma - 1.0))
    angle = rng.random(nodes)
    first, second = np.triu_indices(nodes, 1)
    apart = np.abs(angle[first] - angle[second])
    ratio = nodes * np.minimum(apart, 1.0 - apart) / (kappa[first] * kappa[second])
    log_ratio = np.log(np.maximum(ratio, 1e-300))

    def chance(log_mu: float) -> NDArray:
        return 1.0 / (1.0 + np.exp(np.clip(beta * (log_ratio - log_mu), -500, 500)))

    least, most = -30.0, 30.0
    for _ in range(50):
        middle = (least + most) / 2
        if 2.0 * chance(middle).sum() / nodes < degree:
            least = middle
        else:
            most = middle
    joined = rng.random(len(first)) < chance(most)
    return Graph.from_edges(np.stack([first[joined], second[joined]], axis=1), nodes)


def induced(graph: Graph, kept: NDArray[np.intp]) -> Graph:
    """The graph of the nodes ``kept``, in that order, and of the edges between them."""
    number = np.full(graph.total_nodes, -1)
    number[kept] = np.arange(len(kept))
    ends = number[np.stack([graph.sender, graph.receiver], axis=1)]
    return Graph.from_edges(ends[(ends >= 0).all(axis=1)], len(kept), directed=True)


def _neighbours(h: Callable[[NDArray], NDArray]) -> Callable[[Any, NDArray], NDArray]:
    return lambda graph, x: graph.sum_neighbours(h(x))


def _field(
    own: Callable[[NDArray], NDArray], g: Any, h: Any, rate: float
) -> Callable[..., NDArray]:
    """dx_i/dt = own(x_i) + rate g(x_i) sum_j h(x_j)."""
    total = _neighbours(h)

    def field(t: float, x: NDArray, u: Any, graph: Any, parameters: Any) -> NDArray:
        return own(x) + rate * g(x) * total(graph, x)

    return field


def _one(x: NDArray) -> NDArray:
    return np.ones_like(x)


# Equation, field, range of starts. MAK: mass-action kinetics. MM: Michaelis-Menten. BD: birth and death. ND: neuronal
# activity as in E. Laurence et al., "Spectral dimension reduction of complex dynamical networks",
# Phys. Rev. X 9 (2019). Rates and exponents are ours.
DYNAMICS: dict[str, tuple[str, Callable[..., NDArray], tuple[float, float]]] = {
    "SIS": (
        "-x + 0.3 (1 - x) sum x_j",
        _field(lambda x: -x, lambda x: 1 - x, lambda x: x, 0.3), (0.0, 1.0),
    ),
    "MAK": (
        "1 - x - 0.2 x sum x_j",
        _field(lambda x: 1 - x, lambda x: -x, lambda x: x, 0.2), (0.0, 2.0),
    ),
    "MM": (
        "-x + sum x_j^2 / (1 + x_j^2)",
        _field(lambda x: -x, _one, lambda x: x * x / (1 + x * x), 1.0), (0.0, 10.0),
    ),
    "ND": (
        "-x + sum 1 / (1 + exp(3 - x_j))",
        _field(lambda x: -x, _one, lambda x: 1 / (1 + np.exp(3 - x)), 1.0), (0.0, 10.0),
    ),
    "BD": (
        "-x^2 + 0.3 sum x_j",
        _field(lambda x: -x * x, _one, lambda x: x, 0.3), (0.0, 5.0),
    ),
}  # fmt: skip


def system_of(key: str) -> Any:
    """The `pympnode.own_system` of a key of `DYNAMICS`."""
    _, field, start = DYNAMICS[key]
    return pympnode.own_system(f"{key} dynamics", field, ["x"], start=start, dt=DT, steps=STEPS)


def cases(seed: int, graphs: int, axes: dict[str, tuple[float, ...]]) -> list[dict[str, Any]]:
    """Test graphs: axis, value, graph, the nodes that are observed, and the number of the graph."""
    found = []
    for number, axis in enumerate(axes):
        for place, value in enumerate(axes[axis]):
            for index in range(graphs):
                rng = np.random.default_rng([seed, number, place, index, 2602])
                wanted = dict(TRAINED)
                if axis.startswith("nodes"):
                    wanted["nodes"] = int(value)
                    wanted["gamma"] = 2.5 if "2.5" in axis else wanted["gamma"]
                elif axis in ("gamma", "beta"):
                    wanted[axis] = value
                graph = s1_graph(**wanted, rng=rng)  # type: ignore[arg-type]
                nodes = int(wanted["nodes"])
                lost = round(nodes * value) if axis == "missing" else 0
                kept = np.sort(rng.permutation(nodes)[lost:])
                found.append({"axis": axis, "value": value, "graph": graph, "kept": kept})
    return found


def solve(key: str, x0: NDArray, graph: Graph, steps: int, substeps: int = 4) -> NDArray:
    """States (trajectory, time, node, 1) of the true equations on ``graph`` by the Runge-Kutta method."""
    field, h, x, states = DYNAMICS[key][1], DT / substeps, x0, [x0]
    for _ in range(steps):
        for _ in range(substeps):
            k1 = field(0.0, x, None, graph, {})
            k2 = field(0.0, x + h / 2 * k1, None, graph, {})
            k3 = field(0.0, x + h / 2 * k2, None, graph, {})
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + field(0.0, x + h * k3, None, graph, {}))
        states.append(x)
    return np.stack(states, axis=1)


def deviation(predicted: NDArray, truth: NDArray, scale: float) -> float:
    """Mean absolute error in units of ``scale``; infinite where a prediction is not finite."""
    error = np.abs(predicted - truth).mean() / scale
    return float(error) if np.isfinite(error) else float("inf")


def compare(key: str, seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows of one system and seed."""
    system = system_of(key)
    graph = s1_graph(**TRAINED, rng=np.random.default_rng([seed, 64]))  # type: ignore[arg-type]
    ds = pympnode.simulate(
        system, topology=graph, trajectories=options.trajectories, steps=STEPS, dt=DT, seed=seed
    )
    scale = float(ds.state.values.std())
    tests = []
    for case in cases(seed, options.graphs, options.axes):
        truth = pympnode.simulate(
            system, topology=case["graph"], trajectories=options.test, steps=STEPS, dt=DT,
            seed=900 + seed, split=None,
        ).state.values  # fmt: skip
        kept = case["kept"]
        tests.append((case, truth[:, :, kept], induced(case["graph"], kept)))
    ends = []
    for gamma in options.gammas:
        rng = np.random.default_rng([seed, int(10 * gamma), 7])
        other = s1_graph(**{**TRAINED, "gamma": gamma}, rng=rng)  # type: ignore[arg-type]
        truth = pympnode.simulate(
            system, topology=other, trajectories=options.test, steps=options.long, dt=DT,
            seed=950 + seed, split=None,
        ).state.values  # fmt: skip
        ends.append((gamma, truth, other))
    rows: list[dict[str, Any]] = []

    def score(
        who: str, seconds: float, updates: int, rollout: Any, *, hidden: bool = False
    ) -> None:
        """Append the errors of a rollout, of hidden nodes alone if ``hidden``."""
        common = {"system": key, "seed": seed, "who": who, "cpu": seconds, "updates": updates}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for case, truth, seen in tests:
                if hidden and case["axis"] != "missing":
                    continue
                got = rollout(truth[:, 0], seen, STEPS)
                error = deviation(got[:, 1:], truth[:, 1:], scale)
                rows.append({**common, "axis": case["axis"], "value": case["value"], "mae": error})
            for gamma, truth, other in () if hidden else ends:
                got = rollout(truth[:, 0], other, options.long)
                error = deviation(got[:, -1], truth[:, -1], scale)
                # What the model still moves in the last unit of time, and what the system does.
                moves = deviation(got[:, -1], got[:, -11], scale)
                still = deviation(truth[:, -1], truth[:, -11], scale)
                rows.append(
                    {**common, "axis": "fixed point", "value": gamma, "mae": error, "moves": moves,
                     "true_moves": still}
                )  # fmt: skip
        held = [row["mae"] for row in rows if row["who"] == who and row["axis"] == "nodes"][:1]
        print(key, seed, who, f"{seconds:.1f} s, {updates} updates, {held}", flush=True)

    def of_model(model: Any) -> Any:
        return lambda x0, on, steps: (
            model.rollout(x0, steps=steps, dt=DT, topology=on, check=False).state.values
        )

    common: dict[str, Any] = dict(data=ds, seed=seed, progress=False)
    seconds = options.seconds
    for who, keywords in ARMS.items():
        if who not in options.arms:
            continue
        default, count = who == "default", options.updates
        # The first run compiles, the second tells what an update of a rival costs.
        for few in (2,) if default else (2, options.probe):
            start = time.process_time()
            pympnode.train(**common, **keywords, updates=few)
            took = time.process_time() - start
            count = options.updates if default else few
        # A second time where the length that this gives took much less than was given.
        for _ in range(2):
            if not default:
                count = max(int(count * seconds / took), 2)
            start = time.process_time()
            result = pympnode.train(**common, **keywords, updates=count)
            took = time.process_time() - start
            if default or took > 0.6 * seconds:
                break
        if default:
            seconds = max(seconds, took)
        score(who, took, result.updates, of_model(result.model))
    if not MISSING and RIVAL in options.arms:
        start = time.process_time()
        train = ds.state.values[ds.split.values == "train"]
        # Eight trajectories of 64 nodes an update: with 32 it makes a few dozen updates in its time.
        rival = Rival(train, graph, DT, seconds, seed=seed, batch=8)
        # Hubs are stiff: two steps an interval.
        score(
            RIVAL, time.process_time() - start, rival.updates,
            lambda x0, on, steps: rival.rollout(x0, on, DT / 2, 2 * steps)[:, ::2],
        )  # fmt: skip
    score(
        "persistence", 0.0, 0,
        lambda x0, on, steps: np.repeat(x0[:, None], steps + 1, axis=1),
    )  # fmt: skip
    # A bound: who has the law and not the hidden nodes. On whole graphs it is exact.
    score(TRUE, 0.0, 0, lambda x0, on, steps: solve(key, x0, on, steps), hidden=True)
    return rows


def middle(values: list[float]) -> float:
    """Median: one graph with a hub beyond the others does not decide a row."""
    return float(np.median(values)) if values else float("nan")


def _pick(rows: list[dict[str, Any]], key: str = "mae", **wanted: Any) -> list[float]:
    return [row[key] for row in rows if all(row.get(k) == v for k, v in wanted.items())]


def tables(rows: list[dict[str, Any]]) -> str:
    """Markdown: errors at the ends of each axis, then fixed points."""
    systems = list(dict.fromkeys(row["system"] for row in rows))
    arms = list(dict.fromkeys(row["who"] for row in rows))
    axes = [a for a in dict.fromkeys(row["axis"] for row in rows) if a != "fixed point"]
    columns = [(a, v) for a in axes for v in sorted({r["value"] for r in rows if r["axis"] == a})]
    head = [f"{a.replace(', gamma 2.5', ' (gamma 2.5)')} {v:g}" for a, v in columns]
    lines = ["| dynamics | who | CPU s | updates | " + " | ".join(head) + " |"]
    lines.append("|---|---|---|---|" + "---|" * len(columns))
    for system in systems:
        for who in arms:
            cpu = np.mean(_pick(rows, "cpu", system=system, who=who))
            updates = np.mean(_pick(rows, "updates", system=system, who=who))
            cells = [
                f"{middle(found):.2g}" if found else ""
                for a, v in columns
                for found in [_pick(rows, system=system, who=who, axis=a, value=v)]
            ]
            lines.append(
                f"| {system} | {who} | {cpu:.1f} | {updates:.0f} | " + " | ".join(cells) + " |"
            )
    ends = sorted({r["value"] for r in rows if r["axis"] == "fixed point"}, reverse=True)
    lines += [
        "",
        "Fixed points: error of the state at the end of a long rollout / motion in its last unit of time.",
        "",
    ]
    lines.append("| dynamics | who | " + " | ".join(f"gamma {v:g}" for v in ends) + " |")
    lines.append("|---|---|" + "---|" * len(ends))
    for system in systems:
        for who in arms:
            if who == TRUE:
                continue
            of = {"system": system, "who": who, "axis": "fixed point"}
            cells = [
                f"{middle(_pick(rows, **of, value=v)):.2g} / {middle(_pick(rows, 'moves', **of, value=v)):.1g}"
                for v in ends
            ]
            lines.append(f"| {system} | {who} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]], path: Any) -> None:
    """Errors (median, and the range over graphs and seeds) against each axis, one row of panels a system."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    systems = list(dict.fromkeys(row["system"] for row in rows))
    axes = [a for a in dict.fromkeys(row["axis"] for row in rows) if a != "fixed point"]
    arms = list(dict.fromkeys(row["who"] for row in rows))
    colours = dict(zip(arms, ("#0072b2", "#d55e00", "#e69f00", "#009e73"), strict=False))
    colours |= {"persistence": "0.6", TRUE: "black"}
    top = 30.0  # larger errors, and rollouts that are not finite, stand at the edge
    figure, panels = plt.subplots(
        len(systems), len(axes), figsize=(2.7 * len(axes), 2.0 * len(systems) + 0.9),
        sharex="col", sharey="row", squeeze=False, layout="constrained",
    )  # fmt: skip
    for line, system in zip(panels, systems, strict=True):
        for panel, axis in zip(line, axes, strict=True):
            values = sorted({row["value"] for row in rows if row["axis"] == axis})
            for who in arms:
                of = [_pick(rows, system=system, who=who, axis=axis, value=v) for v in values]
                if not all(of):
                    continue
                # The true equations on a whole graph: the tolerance of a solver, off the scale.
                cut = [np.minimum(np.where(np.array(v) > 1e-6, v, np.nan), top) for v in of]
                panel.plot(
                    values, [np.median(c) for c in cut], STYLES.get(who, "o-"),
                    color=colours[who], ms=3, lw=1.3, label=who,
                )  # fmt: skip
                panel.fill_between(
                    values, [c.min() for c in cut], [c.max() for c in cut], color=colours[who],
                    alpha=0.15, lw=0,
                )  # fmt: skip
            panel.set_yscale("log")
            if axis.startswith("nodes"):
                panel.set_xscale("log", base=2)
            elif axis in ("beta", "gamma"):
                panel.set_xscale("log")
            if axis != "missing":
                panel.set_xticks(values, [f"{v:g}" for v in values])
                panel.minorticks_off()
                panel.axvline(TRAINED[axis.split(",")[0]], color="0.8", lw=0.8, zorder=0)
            panel.grid(axis="y", color="0.92")
        line[0].set_ylabel(f"{system}\nmean absolute error / std")
    for panel, axis in zip(panels[-1], axes, strict=True):
        panel.set_xlabel(TITLES[axis])
    handles, labels = panels[0, -1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    arms = [*ARMS, RIVAL]
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--systems", nargs="+", choices=DYNAMICS, default=list(DYNAMICS))
    parser.add_argument("--arms", nargs="+", choices=arms, default=arms)
    parser.add_argument("--trajectories", type=int, default=100)
    parser.add_argument("--updates", type=int, default=150, help="of the default")
    parser.add_argument(
        "--seconds",
        type=float,
        default=8.0,
        help="CPU time of the others, more if the default takes more",
    )
    parser.add_argument("--graphs", type=int, default=1, help="test graphs per value and seed")
    parser.add_argument("--test", type=int, default=2, help="trajectories on each test graph")
    options = parse(
        parser, seeds=1, systems=["SIS"], trajectories=8, updates=3, seconds=0.1, graphs=1, test=2,
        arms=["default", "published class", RIVAL],
    )  # fmt: skip
    options.axes = {"gamma": (2.5, 4.0), "missing": (0.0, 0.5)} if options.smoke else AXES
    options.gammas, options.long = (4.0, 2.1), 30 if options.smoke else LONG
    options.probe = 3 if options.smoke else 60
    if MISSING:
        print(f"left out, not installed: {', '.join(MISSING)} (pip install pympnode[bench])")
    else:  # imports take two seconds, which are no part of the rival's time
        edge_ode(2, 1, 1.0)
        importlib.import_module("torchdiffeq")
    rows: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        for key in options.systems:
            rows += compare(key, seed, options)
            store(rows, options)  # what is there stays, should the run be ended
    print(options.results.joinpath("generalisation.md").read_text())


def store(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Write the rows as JSON, tables and a figure."""
    systems = list(dict.fromkeys(row["system"] for row in rows))
    seeds = {key: len({row["seed"] for row in rows if row["system"] == key}) for key in systems}
    rival = "" if not MISSING else f" {RIVAL} was not run: {', '.join(MISSING)} not installed."
    header = (
        f"Trained on one S1 graph of 64 nodes (gamma 4, beta 2, mean degree 6), {options.trajectories} "
        f"trajectories of {STEPS} steps; used on others. Mean absolute error in standard deviations of "
        f"the training data, median over seeds ({', '.join(f'{k}: {n}' for k, n in seeds.items())}) and "
        f"{options.graphs} graph{'s' * (options.graphs > 1)} per value and seed. The default made "
        f"{options.updates} updates; the others had its CPU time, or {options.seconds:g} s where that is "
        f"more. One thread, {platform.machine()}, "
        f"pympnode {pympnode.__version__}, {time.process_time():.0f} CPU s in all.{rival}\n\n"
    )
    out = options.results / "generalisation"
    out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    picture = f"![errors along each axis]({out.name}.png)"
    out.with_suffix(".md").write_text(f"{header}{tables(rows)}\n\n{picture}\n")
    draw(rows, out.with_suffix(".png"))


if __name__ == "__main__":
    main()
