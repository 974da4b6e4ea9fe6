"""A connectome and fMRI: does a model predict better with the weights of the connectome?

    python benchmarks/connectome.py [--updates 150] [--seeds 0]

Seven subjects, 80 regions (`examples/connectome.py`); the first 70 % of each recording train, the rest is
the test: root mean square error in standard deviations, 1, 3, 5 and 10 volumes ahead. Rows: persistence;
autoregressions, of each region alone (AR) and of all on all (VAR), fitted by least squares on one and on
three volumes and iterated; VAR from the regions of the largest weights alone, of the connectome and of
shuffled ones; the model with three volumes in its state on the connectome, on the same
weights between other regions, and on equal weights. Then weights that are learned from recordings alone
(``topology="learn"``) against the matrix, from the fMRI and from a simulation of neurolib on the same
connectome: the rank correlation over all pairs, and the area under the ROC curve of the tenth of the pairs
with the largest weights. Writes results/connectome.json, results/connectome.md and
docs/images/connectome.png. Needs the extra `examples`.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr
from smoke import parse

import pympnode

_HERE = Path(__file__).parent
sys.path.insert(0, str(_HERE.parent / "examples"))

import connectome as data

AHEAD = (1, 3, 5, 10)
MODEL: dict[str, Any] = dict(messages="emitted", aggregation="sum", node_codes=4)
SIMULATED = 100  # trajectories
STRONGEST = 16  # regions that a sparse autoregression takes
SHUFFLES = 10


def autoregression(
    train: NDArray, test: NDArray, lags: int, together: bool, sources: NDArray | None = None
) -> list[float]:
    """Errors of linear predictions from ``lags`` volumes, of each region from all (``together``) or
    from itself with the same coefficients for all. ``sources`` (to, from): the regions that each is
    predicted from beside itself; None: all."""
    regions = train.shape[2]

    def lagged(x: NDArray) -> NDArray:
        """(subject, time, lag, region) of the volumes before each that has them all."""
        count = x.shape[1] - lags
        return np.stack([x[:, lags - 1 - k :][:, :count] for k in range(lags)], 2)

    def inputs(past: NDArray) -> NDArray:
        return (
            past.reshape(-1, lags * regions) if together else past.swapaxes(2, 3).reshape(-1, lags)
        )

    past, later = lagged(train), train[:, lags:]
    target = later.reshape(-1, regions) if together else later.reshape(-1)
    if sources is None:
        matrix = np.linalg.lstsq(inputs(past), target, rcond=None)[0]
    else:
        matrix, every = np.zeros((lags * regions, regions)), inputs(past)
        for region, few in enumerate(sources | np.eye(regions, dtype=bool)):
            used = np.tile(few, lags)
            found = np.linalg.lstsq(every[:, used], target[:, region], rcond=None)[0]
            matrix[used, region] = found
    # The starts that the windows of the models have.
    count = test.shape[1] - data.LAGS + 1 - AHEAD[-1]
    begin = data.LAGS - lags
    past = lagged(test)[:, begin : begin + count]
    found = []
    for ahead in range(1, AHEAD[-1] + 1):
        next_ = (inputs(past) @ matrix).reshape(past.shape[0], count, regions)
        past = np.concatenate([next_[:, :, None], past[:, :, :-1]], 2)
        if ahead in AHEAD:
            first = data.LAGS - 1 + ahead
            found.append(float(np.sqrt(((next_ - test[:, first : first + count]) ** 2).mean())))
    return found


def strongest(weights: NDArray, number: int) -> NDArray:
    """Whether a region (to, from) is among those of the largest weights into a region."""
    rank = np.argsort(np.argsort(-weights, 1), 1)
    return (rank < number) & (weights > 0)


def persistence(test: NDArray) -> list[float]:
    """Errors of predicting the present volume."""
    count = test.shape[1] - data.LAGS + 1 - AHEAD[-1]
    now = test[:, data.LAGS - 1 :][:, :count]
    later = [test[:, data.LAGS - 1 + ahead :][:, :count] for ahead in AHEAD]
    return [float(np.sqrt(((now - one) ** 2).mean())) for one in later]


def model_errors(
    train: NDArray, test: NDArray, weights: NDArray, seed: int, updates: int
) -> tuple[list[float], float]:
    """Errors of a model on a graph with these weights (to, from), and its CPU seconds."""
    begin = time.process_time()
    model = pympnode.train(
        data=data.dataset(train, weights), updates=updates, seed=seed, progress=False, **MODEL
    ).model
    seconds = time.process_time() - begin
    ds = data.dataset(test, weights, every=1)
    ahead = model.rollout(ds, check=False).state.values[..., 0] - ds.state.values[..., 0]
    return [float(np.sqrt((ahead[:, h] ** 2).mean())) for h in AHEAD], seconds


def agreement(scores: NDArray, weights: NDArray) -> tuple[float, float]:
    """Rank correlation over all pairs, and area under the ROC curve of the strongest tenth."""
    off = ~np.eye(len(weights), dtype=bool)
    score, weight = scores[off], weights[off]
    strong = weight >= np.quantile(weight, 0.9)
    rank = rankdata(score)
    above = rank[strong].sum() - strong.sum() * (strong.sum() + 1) / 2
    return float(spearmanr(score, weight)[0]), float(above / (strong.sum() * (~strong).sum()))


def learned(ds: Any, updates: int) -> tuple[NDArray, float]:
    """Scores (to, from) of all pairs, learned from trajectories alone, and CPU seconds."""
    begin = time.process_time()
    model = pympnode.train(
        data=ds, topology="learn", updates=updates, messages="emitted", aggregation="sum",
        progress=False,
    ).model  # fmt: skip
    return np.asarray(model.edge_scores.values, float), time.process_time() - begin


def measure(
    seeds: list[int], updates: int, smoke: bool
) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """All rows, and the matrices of the picture."""
    weights = data.connectome()
    train, test = data.recordings()
    if smoke:
        train, test, weights = train[:2, :40, :6], test[:2, :30, :6], weights[:6, :6]
    regions = len(weights)
    rows: dict[str, Any] = {"persistence": {"errors": [persistence(test)]}}
    for name, together in (("AR", False), ("VAR", True)):
        for lags in (1, data.LAGS):
            rows[f"{name}({lags})"] = {"errors": [autoregression(train, test, lags, together)]}
    for name, graphs in (
        ("connectome", [weights]),
        ("shuffled connectome", [data.shuffled(weights, seed) for seed in range(SHUFFLES)]),
    ):
        errors = [
            autoregression(train, test, data.LAGS, True, strongest(one, STRONGEST))
            for one in graphs
        ]
        rows[f"VAR({data.LAGS}) of {STRONGEST} regions, {name}"] = {"errors": errors}
    equal = (np.ones_like(weights) - np.eye(regions)) / (regions - 1)
    for name, graph in (
        ("model, connectome", lambda seed: weights),
        ("model, shuffled connectome", lambda seed: data.shuffled(weights, seed)),
        ("model, equal weights", lambda seed: equal),
    ):
        found = [model_errors(train, test, graph(seed), seed, updates) for seed in seeds]
        rows[name] = {"errors": [e for e, _ in found], "cpu_s": [s for _, s in found]}
        print(name, rows[name], flush=True)
    scores, agreements = {"connectome": weights}, {}
    fc = np.mean([np.corrcoef(one.T) for one in train], 0)
    scores["correlation of the fMRI"] = fc
    agreements["correlation of the fMRI"] = [*agreement(fc, weights), 0.0]
    for name, ds in (
        ("learned from the fMRI", data.dataset(train, "learn")),
        ("learned from the simulation", data.simulated(weights, 6 if smoke else SIMULATED)),
    ):
        scores[name], seconds = learned(ds, 2 if smoke else 100)
        agreements[name] = [*agreement(scores[name], weights), seconds]
        print(name, agreements[name], flush=True)
    return {"ahead": AHEAD, "updates": updates, "seeds": seeds, "rows": rows,
            "agreement": agreements}, scores  # fmt: skip


def table(found: dict[str, Any]) -> list[str]:
    """The results as tables of markdown."""
    lines = [
        f"Test error in standard deviations, mean (range over {SHUFFLES} shuffles of sparse VAR, and "
        f"over {len(found['seeds'])} seeds of models); {found['updates']} updates.",
        "",
        "| volumes ahead | " + " | ".join(map(str, found["ahead"])) + " | CPU s |",
        "|---" * (len(found["ahead"]) + 2) + "|",
    ]
    for name, row in found["rows"].items():
        errors = np.array(row["errors"])
        cells = [
            f"{e.mean():.3f}" + (f" ({e.min():.3f} to {e.max():.3f})" if len(e) > 1 else "")
            for e in errors.T
        ]
        seconds = f"{np.mean(row['cpu_s']):.0f}" if "cpu_s" in row else ""
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {seconds} |")
    lines += [
        "",
        "| scores of pairs, against the matrix | rank correlation | AUROC of the strongest tenth | CPU s |",
        "|---|---|---|---|",
    ]
    for name, (rank, area, seconds) in found["agreement"].items():
        lines.append(f"| {name} | {rank:.3f} | {area:.3f} | {seconds:.0f} |")
    return lines


def draw(found: dict[str, Any], scores: dict[str, NDArray], path: Path) -> None:
    """The matrices, and the errors of the rows."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(14, 3.8), layout="constrained",
                                width_ratios=[1, 1, 1, 1.25])  # fmt: skip
    shown = ("connectome", "learned from the simulation", "learned from the fMRI")
    for ax, name in zip(axes, shown):
        matrix = scores[name].copy()
        np.fill_diagonal(matrix, 0.0)
        # Left before right hemisphere: regions alternate between them in the data.
        order = np.r_[0 : len(matrix) : 2, 1 : len(matrix) : 2]
        rank = rankdata(matrix).reshape(matrix.shape) / matrix.size
        ax.imshow(rank[order][:, order], cmap="magma", vmin=0.5)
        ax.set(xticks=[], yticks=[], xlabel="from region", title=name)
        if name != "connectome":
            ax.set_xlabel(f"rank correlation {found['agreement'][name][0]:.2f}")
    axes[0].set_ylabel("to region")
    styles = {
        "AR(1)": ("0.6", ":"), "VAR(1)": ("0.2", "--"), "model, connectome": ("C3", "-"),
        "model, shuffled connectome": ("C0", "-"), "model, equal weights": ("C2", "-"),
    }  # fmt: skip
    place = np.arange(len(found["ahead"]))
    first = np.mean(found["rows"]["AR(1)"]["errors"], 0)
    for name, (colour, line) in styles.items():
        mean = np.mean(found["rows"][name]["errors"], 0) / first
        axes[3].plot(place, mean, line, marker="o", ms=4, color=colour, label=name)
    axes[3].set_xticks(place, found["ahead"])
    axes[3].set(xlabel="volumes ahead", ylabel="error / error of AR(1)", title="prediction of fMRI")
    axes[3].legend(frameon=False, fontsize=8, loc=(0.12, 0.62))
    axes[3].spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=150)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parse(parser, updates=2)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found, scores = measure(options.seeds, options.updates, options.smoke)
    lines = table(found)
    print("\n".join(lines))
    (options.results / "connectome.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.results / "connectome.md").write_text("\n".join(lines) + "\n")
    images = options.results if options.smoke else _HERE.parent / "docs" / "images"
    draw(found, scores, images / "connectome.png")


if __name__ == "__main__":
    main()
