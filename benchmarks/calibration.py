"""Coverage, CRPS and sharpness of the intervals of ensembles on trajectories that were held out.

    python benchmarks/calibration.py

Five members each on FitzHugh-Nagumo, Kuramoto with measurement noise of 5 % of the standard deviation of each
feature, and gene regulation, in short runs. 200 fresh trajectories are predicted from readings and scored
against readings and against the truth without noise; coverage of the 90 % interval is the mean over
nodes, features, times and trajectories. "members": the normal distribution with the spread of the members;
"calibrated": that of the model that `train` returns. Writes benchmarks/results/calibration.{json,md,png}.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from typing import Any

import numpy as np
from smoke import parse

import pympnode

SYSTEMS = {"fitzhugh_nagumo": 0.0, "kuramoto": 0.05, "gene": 0.0}  # noise, in standard deviations


def measured(system: str, noise: float, options: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """The scores of one system, and what is drawn of it."""
    began = time.process_time()
    size: dict[str, Any] = dict(topology="BA", nodes=10)
    if options.steps:
        size["steps"] = options.steps
    std = pympnode.simulate(system, **size, trajectories=50, seed=7).state.std(
        ("trajectory", "time", "node")
    )
    noises = noise * std.values if noise else 0.0
    data = pympnode.simulate(
        system, **size, trajectories=options.trajectories, seed=0, noise=noises
    )
    result = pympnode.train(
        data=data, members=options.members, updates=options.updates, progress=False
    )
    model = result.model
    # The same trajectories with and without noise; both are predicted from readings.
    test = dict(**size, trajectories=options.test, seed=1_000)
    readings = pympnode.simulate(system, **test, noise=noises)
    truth = pympnode.simulate(system, **test)
    started = truth.state.copy()
    started[{"time": 0}] = readings.state.isel(time=0)
    truth = truth.assign(state=started)
    calibration = model.calibration
    row: dict[str, Any] = {
        "system": system,
        "noise": np.broadcast_to(noises, len(model.features)).tolist(),
        "noise_estimated": calibration.noise.tolist(),
        "members_left_out": list(model.left_out),
        "calibrated_on": calibration.trajectories,
        "power": calibration.power.tolist(),
        "updates": result.updates,
    }
    raw = dataclasses.replace(model, calibration=None)
    for target, ds in (("reading", readings), ("state", truth)):
        for name, one in (("members", raw), ("calibrated", model)):
            scores = pympnode.evaluate(one, ds)
            error = scores.sel(predictor="model")
            of = scores.sel(target=target)
            by_time = of.coverage.mean("feature").dropna("time")
            row[f"{target}, {name}"] = {
                "coverage": float(by_time.mean()),
                "coverage_least": float(by_time.min()),
                "coverage_most": float(by_time.max()),
                "coverage_by_feature": of.coverage.mean("time").values.tolist(),
                "coverage_by_time": by_time.values.tolist(),
                "crps": float((of.crps / std.values).mean()),
                "crps_members": float((scores.crps_members / std.values).mean()),
                "width": float((of.sharpness / std.values).mean()),
                "rmse": float((error.rmse / std.values).mean()),
            }
    row["cpu_seconds"] = time.process_time() - began
    return row, (model.rollout(readings), truth, readings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument("--trajectories", type=int, default=500)
    parser.add_argument("--test", type=int, default=200)
    parser.add_argument("--steps", type=int, default=0, help="intervals; 0 for those of the system")
    options = parse(parser, members=2, updates=4, trajectories=16, test=8, steps=10)
    rows, drawn = [], []
    for system, noise in SYSTEMS.items():
        row, picture = measured(system, noise, options)
        rows.append(row)
        drawn.append(picture)
        print(
            json.dumps({k: v for k, v in row.items() if k != "coverage_by_time"})[:400], flush=True
        )
    text = table(rows, options)
    (options.results / "calibration.json").write_text(json.dumps(rows, indent=1) + "\n")
    (options.results / "calibration.md").write_text(text)
    draw(rows, drawn, options)
    print(text)


def draw(rows: list[dict[str, Any]], drawn: list[Any], options: argparse.Namespace) -> None:
    """Intervals of one node of each system, and coverage over the horizon."""
    from pympnode.plotting import style

    axes = style.new_grid(2, len(rows), 3.6 * len(rows), 5.6)
    for row, (rollout, truth, readings), (ax, below) in zip(rows, drawn, axes.T):
        one = dict(trajectory=0, node=0, feature=0)
        time = rollout.time.values
        for of_readings, alpha in ((True, 0.15), (False, 0.35)):
            lower, upper = pympnode.interval(rollout, readings=of_readings).isel(one)
            words = "a reading" if of_readings else "the state"
            if of_readings and not any(row["noise"]):
                continue
            ax.fill_between(
                time, lower, upper, color=style.MODEL, alpha=alpha, linewidth=0,
                label=f"90 % interval of {words}",
            )  # fmt: skip
        middle = rollout.state.mean("member").isel(one)
        ax.plot(time, middle, color=style.MODEL, linewidth=1.3, label="predicted (mean)")
        ax.plot(time[1:], truth.state.isel(one)[1:], color=style.TRUTH, linewidth=1.3, label="true")
        if any(row["noise"]):
            ax.plot(
                time,
                readings.state.isel(one),
                ".",
                color=style.TRUTH,
                markersize=4,
                label="readings",
            )
        ax.set_title(row["system"].replace("_", "-"), fontsize="medium")
        ax.set_ylabel(style.label(str(rollout.feature.values[0]), str(rollout.unit.values[0])))
        below.axhspan(0.85, 0.95, color="0.9", linewidth=0, label="85 to 95 %")
        for name, colour in (("members", style.PALETTE[1]), ("calibrated", style.MODEL)):
            covers = row[f"state, {name}"]["coverage_by_time"]
            below.plot(time[1:], covers, color=colour, label=f"{name}, of the state")
            if any(row["noise"]):
                covers = row[f"reading, {name}"]["coverage_by_time"]
                below.plot(time[1:], covers, "--", color=colour, label=f"{name}, of readings")
        below.set_ylim(0, 1)
        below.set_ylabel("coverage")
        below.set_xlabel(style.label("time", str(rollout.time.attrs.get("units", "1"))))
        style.plain(ax)
        style.plain(below)
    # The second system has noise, and all the labels.
    handles = [one for ax in axes[:, 1] for one in zip(*ax.get_legend_handles_labels())]
    style.legend_above(axes[0, 0].figure, *zip(*handles))
    axes[0, 0].figure.savefig(options.results / "calibration.png", dpi=110)


def table(rows: list[dict[str, Any]], options: argparse.Namespace) -> str:
    """The table of the page."""
    lines = [
        f"BA(10), {options.members} members, {options.updates} updates, {options.trajectories} trajectories of which "
        f"{rows[0]['calibrated_on']} calibrate; {options.test} held out. CRPS, widths and errors in standard "
        "deviations of the feature; coverage in per cent, in brackets the least and the most over time.",
        "",
        "| system | scored against | 90 % interval of the members covers | calibrated covers | CRPS members | "
        "CRPS normal with their spread | CRPS calibrated | width members | width calibrated | RMSE |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        noisy = any(row["noise"])
        targets = {"state": "truth"} | ({"reading": "noisy readings"} if noisy else {})
        for target, words in targets.items():
            raw, found = row[f"{target}, members"], row[f"{target}, calibrated"]
            covers = [
                f"{100 * one['coverage']:.0f} ({100 * one['coverage_least']:.0f} to "
                f"{100 * one['coverage_most']:.0f})"
                for one in (raw, found)
            ]
            numbers = [
                raw["crps_members"], raw["crps"], found["crps"], raw["width"], found["width"], found["rmse"],
            ]  # fmt: skip
            cells = [row["system"], words, *covers, *(f"{n:.4f}" for n in numbers)]
            lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for row in rows:
        if any(row["noise"]):
            known = ", ".join(f"{n:.4g}" for n in row["noise"])
            found = ", ".join(f"{n:.4g}" for n in row["noise_estimated"])
            lines.append(f"Noise of {row['system']}: {known}; estimated {found}.")
    powers = [f"{r['system']}: {', '.join(f'{p:g}' for p in r['power'])}" for r in rows]
    lines.append(f"Power of the variance over the members, by feature: {'; '.join(powers)}.")
    left = [f"{r['system']}: {r['members_left_out']}" for r in rows if r["members_left_out"]]
    lines.append(f"Members left out: {'; '.join(left) or 'none'}.")
    lines.append(f"CPU time: {sum(r['cpu_seconds'] for r in rows):.0f} s.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
