"""Train the models that come with the package, measure them on fresh data, and write them with their cards.

    python benchmarks/pretrained.py                       # all, into pympnode/pretrained_models
    python benchmarks/pretrained.py --models kuramoto

Each is the default of `pympnode.train` with seed 0. A card has the errors of the model and of the baselines
of `pympnode.evaluate` on trajectories that were not used for any choice: of the graph of training, and of
other graphs or sizes. Writes results/pretrained.json and pretrained.md too.
"""

from __future__ import annotations

import os

# Before anything loads a thread pool.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w
import torch
import xarray as xr
from smoke import parse

import pympnode
from pympnode.pretrained_models import FOLDER

TESTS = 50  # fresh trajectories of a network
FLIGHTS = 5  # fresh trajectories of particles


@dataclass(frozen=True)
class Made:
    """A model: how it is trained, where it is tested and what it cannot do."""

    title: str
    data: dict[str, Any]
    limits: str
    train: dict[str, Any] = field(default_factory=dict)
    others: dict[str, dict[str, Any]] = field(default_factory=dict)


MODELS = {
    "kuramoto": Made(
        "Kuramoto oscillators, three phases per node, on the published BA graph of ten nodes",
        dict(system="kuramoto", topology="BA", trajectories=1000),
        "The published coupling and frequencies. The graph may have other nodes and edges; "
        "degrees beyond those of training are extrapolated.",
        others={
            "WS, 20 nodes": dict(system="kuramoto", topology="WS", nodes=20),
            "BA, 50 nodes": dict(system="kuramoto", topology="BA", nodes=50),
        },
    ),
    "gene": Made(
        "Gene dynamics (Michaelis-Menten regulation) on a BA graph of 16 nodes",
        dict(system="gene", topology="BA", trajectories=1000),
        "The published exponents. States and degrees beyond those of training are extrapolated: on BA graphs of "
        "64 nodes the largest degree is.",
        others={
            "WS, 64 nodes": dict(system="gene", topology="WS", nodes=64),
            "BA, 64 nodes": dict(system="gene", topology="BA", nodes=64),
        },
    ),
    "lorenz": Made(
        "Three Lorenz attractors coupled all to all, medium coupling (Frobenius norm 1)",
        dict(system="lorenz", nodes=3, trajectories=1000, parameters={"coupling": "medium"}),
        "Medium coupling. Chaotic: errors grow to the size of the attractor after the horizon of training.",
        others={"10 nodes": dict(system="lorenz", nodes=10, parameters={"coupling": "medium"})},
    ),
    "gravity": Made(
        "A hundred particles under softened gravity in a periodic box",
        dict(system="gravity", particles=100, trajectories=100, steps=100),
        "Central forces of equal masses with the published softening, at the density of training; steps of 0.01.",
        others={
            "20 particles": dict(system="gravity", particles=20),
            "1,000 particles": dict(system="gravity", particles=1000),
        },
    ),
    "quadrotors": Made(
        "Three quadrotors that carry a load on cables through a door",
        dict(system="quadrotors", trajectories=200),
        "Taut cables of 2.2 m and thrusts like those of its controller; thrusts of the future must be given. Over whole flights of six it is worse than persistence: tune it.",
        others={"6 quadrotors": dict(system="quadrotors", nodes=6)},
    ),
}


def errors(model: Any, data: dict[str, Any]) -> list[dict[str, Any]]:
    """The errors of a model and of its baselines on fresh trajectories, one row per measure."""
    particles = data["system"] == "gravity"
    plain = {name: value for name, value in data.items() if name not in ("trajectories", "steps")}
    size = dict(trajectories=FLIGHTS, steps=200) if particles else dict(trajectories=TESTS)
    found = pympnode.evaluate(model, pympnode.simulate(**plain, **size, seed=12345))
    if not particles:
        return [{"measure": "rmse_z", **_by_predictor(found.rmse_z)}]
    return [
        {
            "measure": f"rmse_position, {horizon} steps",
            **_by_predictor(found.rmse_position.sel(horizon=horizon)),
        }
        for horizon in found.horizon.values
    ]


def _by_predictor(values: xr.DataArray) -> dict[str, float]:
    return {
        str(name): float(f"{values.sel(predictor=name):.3g}") for name in values.predictor.values
    }


def made(name: str, what: Made, folder: Path, small: dict[str, Any]) -> dict[str, Any]:
    """Train a model, write it and its card to ``folder``, and return the card."""
    began = time.process_time()
    given = {**what.data, **({"trajectories": 12} if small else {})}
    result = pympnode.train(**given, **what.train, **small, seed=0, progress=False)
    seconds = time.process_time() - began
    others = dict(list(what.others.items())[:1]) if small else what.others
    card: dict[str, Any] = {
        "title": what.title,
        "limits": what.limits,
        "commit": commit(),
        "pympnode": pympnode.__version__,
        "data": what.data,
        "training": {
            "preset": "fast",
            "seed": 0,
            "updates": result.updates,
            "status": result.status,
            "cpu_seconds": round(seconds, 1),
            "weights": int(result.model.theta.size),
        },
        "errors": [
            {"of": where, **row}
            for where, data in {"held out": what.data, **others}.items()
            for row in errors(result.model, data)
        ],
    }
    result.model.save(folder / f"{name}.nc")
    text = "# Written by benchmarks/pretrained.py.\n" + tomli_w.dumps(card)
    (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return card


def commit() -> str:
    """The commit of this checkout, with "+" where files differ from it."""
    words = ["git", "-C", str(Path(__file__).parent)]
    head = subprocess.run(
        [*words, "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    changes = subprocess.run([*words, "diff", "--quiet", "HEAD"], check=False)
    return (head.stdout.strip() or "unknown") + "+" * (changes.returncode != 0)


def table(cards: dict[str, dict[str, Any]], folder: Path) -> str:
    rows = [
        "| model | file | trained, CPU s | tested on | measure | error | baselines |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, card in cards.items():
        size = (folder / f"{name}.nc").stat().st_size
        for number, row in enumerate(card["errors"]):
            baselines = ", ".join(
                f"{key.replace('_', ' ')} {value:.3g}"
                for key, value in row.items()
                if key not in ("of", "measure", "model")
            )
            start = (
                f"`{name}` | {size / 1000:.0f} kB | {card['training']['cpu_seconds']:.0f}"
                if number == 0
                else " | | "
            )
            rows.append(
                f"| {start} | {row['of']} | {row['measure']} | {row['model']:.3g} | {baselines} |"
            )
    return "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    options = parse(parser, models=["kuramoto", "gravity"])
    torch.set_num_threads(1)
    folder = options.results if options.smoke else FOLDER
    small = dict(epochs=1, hidden=8) if options.smoke else {}
    path = options.results / "pretrained.json"
    cards = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name in options.models:
        few = dict(small)
        if MODELS[name].data["system"] == "gravity":
            few.pop("hidden", None)
        cards[name] = made(name, MODELS[name], folder, few)
        print(f"{name}: {cards[name]['training']}", flush=True)
        ordered = {key: cards[key] for key in MODELS if key in cards}
        path.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
        text = f"One thread; `python benchmarks/pretrained.py`.\n\n{table(ordered, folder)}"
        (options.results / "pretrained.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
