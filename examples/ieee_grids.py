"""IEEE test grids of pandapower: learn how one grid swings after faults, and predict two others.

    pip install "pympnode[examples]"
    python examples/ieee_grids.py [--images docs/images] [--smoke]

Two minutes. The page "Power grids" of the documentation explains it. Prints the errors on the training
grid and on the two others, and how well the weights of the lines are found where they are not given;
writes ieee_grids_*.png. --smoke trains for a few updates.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import pandapower.networks
import xarray as xr
from matplotlib.ticker import FixedLocator, NullFormatter

import pympnode
from pympnode.networks.readers import PowerGrid, read_pandapower
from pympnode.networks.systems.swing import Swing
from pympnode.systems import Parameter

TRAINED, OTHERS = "case39", ("case118", "case30")
BASE = 10_000.0  # MVA; 1 per unit in all grids, so that weights are about 1
INERTIA = 0.05  # per unit s^2 at every node, 2 H over 2 pi 50 Hz: H = 7.9 s on this base
DAMPING = 0.5  # 1/s
ANGLE, RATE, LOSS = 0.5, 1.0, 0.02  # of a fault: rad, rad/s, per unit
DT, STEPS, TRAJECTORIES = 0.05, 60, 200


# ---- data ---------------------------------------------------------------------------------------


class FaultedGrid(Swing):
    """The swing equation after faults: at one node of each trajectory power is lost or comes in."""

    name = "faulted_grid"
    title = "swing equation of a power grid after a fault at one node"
    parameters: ClassVar[Mapping[str, Parameter]] = {
        **Swing.parameters,
        "loss": Parameter(LOSS / INERTIA, (), "1/s^2", "standard deviation of the change of power"),
    }

    def sample_parameters(
        self, rng: np.random.Generator, parameters: Mapping[str, Any], graph: pympnode.Graph
    ) -> dict[str, np.ndarray]:
        power = np.array(parameters["power"], dtype=float)
        power[rng.integers(graph.total_nodes)] += rng.normal(0.0, parameters["loss"])
        return {"power": power}


def read(case: str) -> PowerGrid:
    """A test grid by its name in pandapower."""
    return read_pandapower(getattr(pandapower.networks, case)(), base_mva=BASE)


def simulate(grid: PowerGrid, trajectories: int, seed: int, strength: float = 1.0) -> xr.Dataset:
    """Trajectories of ``grid`` from just after a fault: angles and rates are off their steady state at
    every node, and the power of one node has changed, each by ``strength`` times the usual."""
    physics = {"power": grid.power / INERTIA, "coupling": 1.0 / INERTIA}
    nodes = len(grid.labels)
    still = np.zeros((1, nodes, 2))
    rest = pympnode.simulate(
        "swing",
        topology=grid,
        initial=still,
        parameters=physics | {"damping": 2.0},
        dt=1.0,
        steps=60,
    )
    rng = np.random.default_rng([seed, nodes])
    kick = rng.normal(0.0, (ANGLE, RATE), (trajectories, nodes, 2))
    return pympnode.simulate(
        FaultedGrid(),
        topology=grid,
        initial=rest["state"].values[:, -1] + strength * kick,
        parameters=physics | {"damping": DAMPING, "loss": strength * LOSS / INERTIA},
        dt=DT,
        steps=STEPS,
        seed=seed,
    )


# ---- models -------------------------------------------------------------------------------------

MODEL: dict[str, Any] = dict(
    messages="pairwise", coupling="superposed", aggregation="sum", invariant="theta"
)


UPDATES = 1000  # the error does not fall much further after half of them


def train(
    ds: xr.Dataset,
    susceptances: str = "with",
    updates: int = UPDATES,
    seed: int = 0,
    circular: bool = False,
) -> pympnode.Result:
    """A model of the swing equation; ``susceptances``: "with" those of the lines, "without" them, or
    learned for each line, "susceptances". ``circular``: sine and cosine of angles are the inputs."""
    if susceptances not in ("with", "without", "susceptances"):
        raise ValueError(susceptances)
    more: dict[str, Any] = {"edge_weight": "learn"} if susceptances == "susceptances" else {}
    if circular:
        more["circular"] = ["theta"]
    data = ds if susceptances == "with" else without_weights(ds)
    return pympnode.train(data=data, updates=updates, seed=seed, progress=False, **MODEL, **more)


def without_weights(ds: xr.Dataset) -> xr.Dataset:
    """The same trajectories on lines whose susceptances are not known."""
    return ds.drop_vars("edge_weight")


def error(predicted: xr.Dataset, ds: xr.Dataset) -> float:
    """Root mean square error in units of the standard deviation of each feature, all times after 0."""
    truth = ds["state"]
    away = (predicted["state"] - truth).isel(time=slice(1, None))
    return float(np.sqrt(((away / truth.std(("trajectory", "time", "node"))) ** 2).mean()))


def persistence(ds: xr.Dataset) -> float:
    """The error of predicting the first state for all times."""
    first = ds.assign(state=ds["state"].isel(time=0).broadcast_like(ds["state"]))
    return error(first, ds)


def log_correlation(learned: pympnode.Graph, true: pympnode.Graph) -> float:
    """Pearson correlation of the logarithms of the weights of the same edges."""
    return float(np.corrcoef(np.log(learned.weight_or_ones), np.log(true.weight_or_ones))[0, 1])


# ---- pictures -----------------------------------------------------------------------------------


def layout(grid: PowerGrid) -> dict[int, np.ndarray]:
    """Places of nodes: no map of the test grids exists, so that neighbours are drawn close."""
    graph = nx.Graph(list(zip(grid.graph.sender.tolist(), grid.graph.receiver.tolist())))
    graph.add_nodes_from(range(len(grid.labels)))
    return nx.kamada_kawai_layout(graph)


def draw_grid(grid: PowerGrid, axis: plt.Axes) -> None:
    """Lines as wide as their susceptance; nodes coloured by their power."""
    place = layout(grid)
    graph = grid.graph
    width = np.sqrt(graph.weight_or_ones / graph.weight_or_ones.max())
    for a, b, w in zip(graph.sender.tolist(), graph.receiver.tolist(), width.tolist()):
        axis.plot(*np.transpose([place[a], place[b]]), color="0.5", linewidth=0.4 + 5 * w, zorder=1)
    xy = np.array([place[i] for i in range(len(grid.labels))])
    power = grid.power * grid.base_mva
    most = np.abs(power).max()
    dots = axis.scatter(*xy.T, c=power, cmap="RdBu_r", vmin=-most, vmax=most, s=70, zorder=2,
                        edgecolors="black", linewidths=0.6)  # fmt: skip
    plt.colorbar(dots, ax=axis, label="injected power (MW)", shrink=0.8)
    axis.set_axis_off()
    axis.set_aspect("equal")


def draw_rollouts(
    models: Mapping[str, pympnode.Model], tests: Mapping[str, xr.Dataset], path: Path
) -> None:
    """Rates of four nodes of each grid after a fault: the truth, and both models."""
    figure, axes = plt.subplots(1, len(tests), figsize=(13, 4.2), layout="constrained")
    for case, axis in zip(tests, axes, strict=True):
        ds = tests[case].isel(trajectory=[0])
        shown = np.linspace(0, ds.sizes["node"] - 1, 4).astype(int)
        rate = ds["state"].sel(feature="omega")[0]
        lines = {"simulated": (rate, dict(color="black", linewidth=3, alpha=0.25))}
        for (name, model), style in zip(models.items(), ("-", ":"), strict=True):
            inputs = ds if "without" not in name else without_weights(ds)
            predicted = model.rollout(inputs, check=False)["state"].sel(feature="omega")[0]
            lines[name] = (predicted, dict(linestyle=style, linewidth=1.3))
        for name, (values, style) in lines.items():
            for number, node in enumerate(shown):
                colour = {} if name == "simulated" else {"color": f"C{number}"}
                label = name if number == 0 else None
                axis.plot(ds["time"], values[:, node], label=label, **{**colour, **style})
        part = "held out" if case == TRAINED else "zero-shot"
        axis.set_title(f"{case}, {ds.sizes['node']} nodes, {part}", fontsize=10)
        axis.set_xlabel("time after the fault (s)")
        low, high = float(rate[:, shown].min()), float(rate[:, shown].max())
        axis.set_ylim(low - 0.3 * (high - low), high + 0.3 * (high - low))
    axes[0].set_ylabel("deviation of the frequency (rad/s)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    save(figure, path)


def draw_weights(learned: pympnode.Graph, grid: PowerGrid, path: Path) -> None:
    """Learned weights against susceptances, on logarithmic axes."""
    figure, axis = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
    true, found = grid.graph.weight_or_ones, learned.weight_or_ones
    scale = np.exp(np.mean(np.log(true / found)))
    axis.loglog(true, true, color="0.7", linewidth=1)
    axis.loglog(true, found * scale, "o", markersize=4, alpha=0.7)
    for one in (axis.xaxis, axis.yaxis):
        one.set_major_locator(FixedLocator([0.2, 0.5, 1, 2, 4]))
        one.set_major_formatter("{x:g}")
        one.set_minor_formatter(NullFormatter())
    axis.set_xlabel(f"susceptance, per unit of {grid.base_mva / 1000:g} GVA")
    axis.set_ylabel("learned weight, in one common scale")
    axis.set_title(f"{len(true)} edges, r = {log_correlation(learned, grid.graph):.6f}")
    save(figure, path)


def draw(
    model: pympnode.Model,
    without: pympnode.Model,
    learned: pympnode.Model,
    grid: PowerGrid,
    tests: Mapping[str, xr.Dataset],
    folder: Path,
) -> None:
    """All figures of the page: the training grid, rollouts on all grids, learned weights."""
    figure, axis = plt.subplots(figsize=(7.5, 5), layout="constrained")
    draw_grid(grid, axis)
    save(figure, folder / "ieee_grids_case39.png")
    models = {"model": model, "model without susceptances": without}
    draw_rollouts(models, tests, folder / "ieee_grids_rollouts.png")
    draw_weights(learned.graph, grid, folder / "ieee_grids_weights.png")


def save(figure: plt.Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    parser.add_argument("--smoke", action="store_true", help="a few updates")
    options = parser.parse_args()
    plt.switch_backend("Agg")
    size = dict(updates=6) if options.smoke else {}

    grids = {case: read(case) for case in (TRAINED, *OTHERS)}
    for case, grid in grids.items():
        print(case, grid)
    ds = simulate(grids[TRAINED], 8 if options.smoke else TRAJECTORIES, seed=0)
    tests = {case: simulate(grid, 5 if options.smoke else 50, 1) for case, grid in grids.items()}
    models = {}
    for how in ("with", "without", "susceptances"):
        began = time.process_time()
        models[how] = train(ds, how, **size).model
        print(f"{how:13} {time.process_time() - began:.0f} CPU s")
    for case, test in tests.items():
        given = error(models["with"].rollout(test, check=False), test)
        none = error(models["without"].rollout(without_weights(test), check=False), test)
        print(
            f"{case:8} error {given:.3f}, without susceptances {none:.3f}, "
            f"persistence {persistence(test):.3f}"
        )
    r = log_correlation(models["susceptances"].graph, grids[TRAINED].graph)
    print(f"learned weights of {TRAINED}: r = {r:.4f}")
    draw(
        models["with"],
        models["without"],
        models["susceptances"],
        grids[TRAINED],
        tests,
        options.images,
    )


if __name__ == "__main__":
    main()
