"""The solar system: forces and masses learned from the ephemeris DE421, on years after those of training.

    python benchmarks/solar_system.py [--seeds 0 1 2] [--peers-only]

Trains the default model of the package (`examples/solar_system.py` makes the data) on windows of 30
days from 1970 to 2000, with the masses of the ephemeris and with masses that are learned, and scores
rollouts of 30 and of 365 days that start from 2000 to 2008: the root mean square distance from the
ephemeris, over starts and bodies. Beside it two peers with the same windows, the masses of the ephemeris and
the mean CPU time of the models with masses given (`peers`): a network of central forces in plain torch and an
interaction network in torch_geometric, both with leapfrog steps and with errors in units of each body's own
velocity changes. --peers-only measures these and keeps the other stored rows. Beside them free flight and Newton's law by leapfrog steps, one and four
a day. Then the law: f r^2 / G between the Sun and a body at distances that training has seen, and the
acceleration of a body against its own mass. With the Moon as a body of its own: the same, with masses
given. Writes results/solar_system.json, results/solar_system.md and docs/images/solar_system.png.
Needs the extra `examples`.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import dataclasses
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from peers import MISSING, InteractionRival, RadialRival, not_run, verdict, versions
from smoke import parse

import pympnode

_HERE = Path(__file__).parent
sys.path.insert(0, str(_HERE.parent / "examples"))

import solar_system as data

HORIZONS = (30, 365)
PEERS = {
    "equivariant network in plain torch, masses given": RadialRival,
    "interaction network in torch_geometric, masses given": InteractionRival,
}
WITH_MOON = (*data.BODIES[:3], "Earth", "Moon", *data.BODIES[4:])


def trained(train: xr.Dataset, seed: int, updates: int | None, **options: Any) -> tuple[Any, float]:
    """A model of the default call and its CPU seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the law is taken for a product of masses
        begin = time.process_time()
        model = pympnode.train(
            data=train, seed=seed, progress=False, updates=updates, **options
        ).model
    return model, time.process_time() - begin


def distances(found: np.ndarray, test: xr.Dataset) -> np.ndarray:
    """Root mean square distances (body,) from the ephemeris at the last time, in au."""
    apart = found - test.position.values[:, -1]
    return np.sqrt((apart**2).sum(-1).mean(0))


def scores(model: Any, tests: dict[int, xr.Dataset]) -> dict[int, np.ndarray]:
    """`distances` of a model at each horizon."""
    return {
        days: distances(model.rollout(test, check=False).position.values[:, -1], test)
        for days, test in tests.items()
    }


def newton(tests: dict[int, xr.Dataset], kicks: int) -> dict[int, np.ndarray]:
    """`distances` of Newton's law by leapfrog steps (drift, kick, drift), ``kicks`` a day."""
    found = {}
    for days, test in tests.items():
        x, v = test.position.values[:, 0].copy(), test.velocity.values[:, 0].copy()
        mass, short = test.mass.values[0], 1 / kicks
        for _ in range(days * kicks):
            x += 0.5 * short * v
            apart = x[:, None, :, :] - x[:, :, None, :]
            cube = (apart**2).sum(-1) ** 1.5 + np.eye(len(mass))
            v += short * data.G * np.einsum("tijk,tij->tik", apart, mass / cube)
            x += 0.5 * short * v
        found[days] = distances(x, test)
    return found


def accelerations(model: Any, distance: np.ndarray, small: float) -> np.ndarray:
    """Acceleration (distance,) of a body of mass ``small`` towards the Sun, in au / day^2: the
    velocity change of a step of one kick from rest, whose force is that at the given distance."""
    program = dataclasses.replace(model, spec=model.spec.replace(kicks=1)).bind(dtype="float64")
    x = np.zeros((len(distance), 2, 3))
    x[:, 1, 0] = distance
    mass = np.tile([1.0, small], (len(distance), 1))
    batch = program.batch(x, np.zeros_like(x), mass, None, box())
    with torch.no_grad():
        change = program.velocity_change(
            program.weights(model.theta), batch, program.graph(batch), training=False
        )
    return -change.numpy().reshape(x.shape)[:, 1, 0]


def box() -> Any:
    """Open space."""
    from pympnode.particles.graphs.box import Box

    return Box()


def law(model: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """Distances in au, f r^2 / G of a light body at each, and the largest relative change of its
    acceleration when its mass is that of Jupiter."""
    distance = np.geomspace(0.4, 30, 60)
    light, heavy = (accelerations(model, distance, mass) for mass in (1e-9, 9.5e-4))
    return distance, light * distance**2 / data.G, float(np.abs(heavy / light - 1).max())


def peer_rows(
    train: xr.Dataset, tests: dict[int, xr.Dataset], seeds: list[int], seconds: float
) -> dict[str, Any]:
    """Rows of the peers, each trained for ``seconds``."""
    given = train.position.values, train.velocity.values, None, 1.0
    more: dict[str, Any] = dict(source=train.mass.values, length=10.0, relative=True, batch=32)
    rows: dict[str, Any] = {}
    for name, kind in PEERS.items():
        if kind is InteractionRival and MISSING:
            print(not_run(name))
            continue
        kind(*given, 0.01, **more)  # what is loaded at a first call is no part of a run
        found, spent = [], []
        for seed in seeds:
            begin = time.process_time()
            rival = kind(*given, seconds, seed=seed, **more)
            spent.append(time.process_time() - begin)
            found.append(
                {
                    days: distances(rival.rollout(test).position.values[:, -1], test)
                    for days, test in tests.items()
                }
            )
        rms = {
            str(days): [float(np.sqrt((one[days] ** 2).mean())) for one in found] for days in tests
        }
        by_body = {str(days): found[0][days].tolist() for days in tests}
        rows[name] = {"rms": rms, "by_body": by_body, "cpu_s": spent, "seeds": list(seeds)}
        rows[name]["libraries"] = versions("torch", "torch_geometric")
    return rows


def measure(seeds: list[int], smoke: bool) -> dict[str, Any]:
    """All rows."""
    updates = 20 if smoke else None
    span = (1999, 2000) if smoke else data.TRAIN
    every = 1000 if smoke else 90
    horizons = HORIZONS[:1] if smoke else HORIZONS
    tests = {days: data.windows(data.TEST, days, every=every) for days in horizons}
    train = data.windows(span)
    rows: dict[str, Any] = {}

    def keep(name: str, found: list[dict[int, np.ndarray]], seconds: list[float], **more: Any):
        rows[name] = {
            "rms": {
                str(days): [float(np.sqrt((one[days] ** 2).mean())) for one in found]
                for days in horizons
            },
            "by_body": {str(days): found[0][days].tolist() for days in horizons},
            "cpu_s": seconds,
            **more,
        }

    free = {
        days: distances(test.position.values[:, 0] + days * test.velocity.values[:, 0], test)
        for days, test in tests.items()
    }
    keep("free flight", [free], [])
    for kicks in (1, 4):
        keep(f"Newton, leapfrog, {kicks} a day", [newton(tests, kicks)], [])
    runs = [trained(train, seed, updates) for seed in seeds]
    laws = [law(model) for model, _ in runs]
    keep(
        "masses given", [scores(m, tests) for m, _ in runs], [s for _, s in runs],
        distance=laws[0][0].tolist(), law=[one[1].tolist() for one in laws],
        own_mass=[one[2] for one in laws],
    )  # fmt: skip
    rows |= peer_rows(train, tests, seeds, float(np.mean(rows["masses given"]["cpu_s"])))
    # The masses of the dataset are 1 for all: none but that of the Sun is read.
    unknown = train.assign(mass=(train.mass.dims, np.ones_like(train.mass.values)))
    runs = [trained(unknown, seed, updates, mass="learned", fixed_mass="Sun") for seed in seeds]
    keep(
        "masses learned", [scores(m, tests) for m, _ in runs], [s for _, s in runs],
        masses=[(m.learned_mass / data.masses()).tolist() for m, _ in runs],
    )  # fmt: skip
    moon = {d: data.windows(data.TEST, d, every=every, bodies=WITH_MOON) for d in horizons}
    model, seconds = trained(data.windows(span, bodies=WITH_MOON), seeds[0], updates)
    keep("masses given, with the Moon", [scores(model, moon)], [seconds], bodies=WITH_MOON)
    keep("Newton, leapfrog, 4 a day, with the Moon", [newton(moon, 4)], [], bodies=WITH_MOON)
    return {"bodies": data.BODIES, "seeds": seeds, "starts": len(tests[horizons[0]].trajectory),
            "windows": len(train.trajectory), "rows": rows}  # fmt: skip


def _range(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.2g}" if f"{low:.2g}" == f"{high:.2g}" else f"{low:.2g} to {high:.2g}"


def table(found: dict[str, Any]) -> list[str]:
    """The results as tables of markdown."""
    horizons = list(next(iter(found["rows"].values()))["rms"])
    lines = [
        "| | " + " | ".join(f"RMS distance at {d} days (au)" for d in horizons) + " | CPU s |",
        "|---" * (len(horizons) + 2) + "|",
    ]
    for name, row in found["rows"].items():
        cells = [_range(row["rms"][d]) for d in horizons]
        seconds = f"{min(row['cpu_s']):.0f} to {max(row['cpu_s']):.0f}" if row["cpu_s"] else ""
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {seconds} |")
    given = found["rows"]["masses given"]
    distance, ratio = np.array(given["distance"]), np.array(given["law"])
    lines += ["", "| masses given | smallest | largest |", "|---|---|---|"]
    for low, high in ((0.4, 5.0), (5.0, 30.0)):
        here = ratio[:, (distance >= low) & (distance <= high)]
        lines.append(f"| f r^2 / G, {low:g} to {high:g} au | {here.min():.5f} | {here.max():.5f} |")
    own = given["own_mass"]
    lines.append(f"| effect of its own mass on an acceleration | {min(own):.1e} | {max(own):.1e} |")
    lines += ["", "| learned mass / mass of the ephemeris | smallest | largest |", "|---|---|---|"]
    masses = np.array(found["rows"]["masses learned"]["masses"])
    for name, low, high in zip(found["bodies"], masses.min(0), masses.max(0)):
        lines.append(f"| {name} | {low:.4g} | {high:.4g} |")
    return lines


def beside(rows: dict[str, Any]) -> str:
    """What the peers are, and at which horizons one has a smaller error than the models with masses given."""
    there = [name for name in PEERS if name in rows]
    if not there:
        return not_run("Peers").strip()
    text = (
        f"Peers ({rows[there[0]]['libraries']}; Adam, leapfrog steps of a day, errors in units of each body's own "
        f"velocity changes; {len(rows[there[0]]['seeds'])} seed(s)): the same windows, the masses of the ephemeris as "
        "factors of messages, and the mean CPU time of the models with masses given."
    )
    means = {
        name: {f"{days} days": float(np.mean(of)) for days, of in rows[name]["rms"].items()}
        for name in ("free flight", "masses given", *there)
    }
    for name in there:
        short = name.partition(",")[0]
        text += verdict(short, means[name], "the models", means["masses given"])
        text += verdict(short, means[name], "free flight", means["free flight"])
    return text + not_run("The interaction network")


def draw(found: dict[str, Any], path: Path) -> None:
    """The law, the masses, and the distances by body."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows, bodies = found["rows"], list(found["bodies"])
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11.5, 3.9), layout="constrained")
    given = rows["masses given"]
    for number, one in enumerate(given["law"]):
        label = "learned, one line a seed" if number == 0 else None
        left.semilogx(given["distance"], one, color="C0", lw=1.2, label=label)
    left.axhline(1, color="0.5", ls=":", label="Newton")
    left.axvspan(0.4, 5, color="0.93", zorder=0)
    left.set_ylim(0.99, 1.01)
    left.set_xticks([0.5, 1, 2, 5, 10, 30], ["0.5", "1", "2", "5", "10", "30"])
    left.set_xticks([], minor=True)
    left.set(xlabel="distance (au)", ylabel=r"force $\times$ r$^2$ / G", title="the law")
    left.legend(frameon=False, loc="lower left")
    true = data.masses()
    masses = np.array(rows["masses learned"]["masses"]) * true
    keep = slice(1, None)
    span = [true[keep].min() / 5, true.max() * 0.01]
    middle.loglog(span, span, color="0.5", ls=":")
    for one in masses:
        middle.loglog(true[keep], one[keep], "o", color="C1", ms=6, alpha=0.6)
    for name, x, y in zip(bodies[1:], true[1:], masses[0, 1:]):
        heavy = name in ("Jupiter", "Saturn", "Neptune", "Earth and Moon")
        middle.annotate(
            name.replace("Earth and Moon", "Earth + Moon"), (x, y), xytext=(-7 if heavy else 7, -3),
            textcoords="offset points", ha="right" if heavy else "left", fontsize=8,
        )  # fmt: skip
    middle.set_xlim(span[0], span[1])
    middle.set(xlabel="mass of the ephemeris (Suns)", ylabel="learned mass (Suns)",
               title="masses, from the orbits alone")  # fmt: skip
    last = list(given["rms"])[-1]
    names = {
        "free flight": "0.6", "Newton, leapfrog, 4 a day": "0.3", "masses given": "C0",
        "masses learned": "C1",
    }  # fmt: skip
    place = np.arange(len(bodies))
    for name, colour in names.items():
        style = "--" if name.startswith(("free", "Newton")) else "-"
        right.semilogy(
            place, rows[name]["by_body"][last], f"o{style}", color=colour, ms=4, label=name
        )
    right.set_xticks(place, [b.replace("Earth and Moon", "Earth + Moon") for b in bodies],
                     rotation=60, ha="right", fontsize=8)  # fmt: skip
    right.set(ylabel="distance from the ephemeris (au)", title=f"{last} days on, 2000 to 2008")
    right.legend(frameon=False, fontsize=8)
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--peers-only", action="store_true", help="keep the other stored rows")
    given = parse(parser, seeds=[0])
    torch.set_num_threads(1)
    if given.peers_only:
        found = json.loads((given.results / "solar_system.json").read_text())
        tests = {days: data.windows(data.TEST, days, every=90) for days in HORIZONS}
        seconds = float(np.mean(found["rows"]["masses given"]["cpu_s"]))
        new = peer_rows(data.windows(data.TRAIN), tests, given.seeds, seconds)
        # Peers stand before the models whose masses are learned.
        old = {name: row for name, row in found["rows"].items() if name not in PEERS}
        first = list(old).index("masses given") + 1
        items = list(old.items())
        found["rows"] = dict([*items[:first], *new.items(), *items[first:]])
    else:
        found = measure(given.seeds, given.smoke)
    lines = [beside(found["rows"]), "", *table(found)]
    print("\n".join(lines))
    (given.results / "solar_system.json").write_text(json.dumps(found, indent=1) + "\n")
    (given.results / "solar_system.md").write_text("\n".join(lines) + "\n")
    pictures = given.results if given.smoke else _HERE.parent / "docs" / "images"
    if not given.peers_only:
        draw(found, pictures / "solar_system.png")


if __name__ == "__main__":
    main()
