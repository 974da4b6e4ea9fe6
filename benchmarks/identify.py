"""Equations of trained models: true terms, coefficients, and errors of rollouts of network, equations and truth.

    python benchmarks/identify.py
    python benchmarks/identify.py --systems heat
    python benchmarks/identify.py --peers-only        # keeps the other stored numbers

"whole": for Kuramoto and gene the models that come with the package, for heat the default of `pympnode.train` with
seed 0. "short": pairwise messages, 250 updates on 100 trajectories with 2 % noise, of which the equations are
found at states without noise. Each is tested on fresh trajectories of the graph of training and of another one. "truth" is the true system at other
tolerances of its solver (1e-4 instead of the default): the part of an error that is the solver's. "pysindy" is the peer: its STLSQ on the true terms alone and the same
training data, without a network (`peers.TrueLibrary`), which bounds what an identification reaches. Needs pysindy.
Writes results/identify.json and identify.md.
"""

from __future__ import annotations

import os

# Before anything loads a thread pool.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import time
from typing import Any

import numpy as np
import torch
import xarray as xr
from peers import TrueLibrary, versions
from smoke import parse

import pympnode
from pympnode.networks import schema

TESTS = 50  # fresh trajectories
UPDATES = 250  # of a short training
NOISE = 0.02  # of the standard deviation of the states
WAVE = "sin(phase_{0}_j - phase_{0}_i)"
# system -> part, term, and the true coefficient of each feature
TRUE: dict[str, dict[str, dict[tuple[str, str], Any]]] = {
    "kuramoto": {
        f"phase_{n}": {("node", ""): "frequency", ("pair", WAVE.format(n)): "coupling"}
        for n in (1, 2, 3)
    },
    "gene": {
        "expression": {
            ("node", "expression_i"): "-decay",
            ("pair", "expression_j^2/(1 + expression_j^2)"): "coupling",
        }
    },
    "heat": {"temperature": {("pair", "(temperature_j - temperature_i)"): "diffusivity"}},
}
TRAININGS = ("whole", "short")
OTHER = {"kuramoto": "WS", "gene": "WS", "heat": "WS"}


def truth(system: str, ds: xr.Dataset) -> dict[str, dict[tuple[str, str], float]]:
    """The true coefficients by feature and term, with the parameters of the data."""
    out: dict[str, dict[tuple[str, str], float]] = {}
    parameters = schema.parameters_of(ds)
    for number, (feature, terms) in enumerate(TRUE[system].items()):
        out[feature] = {}
        for term, name in terms.items():
            value = np.asarray(parameters[name.lstrip("-")], dtype=np.float64)
            value = value if value.ndim == 0 else value[number]
            out[feature][term] = float(value) * (-1 if name.startswith("-") else 1)
    return out


def error(found: xr.Dataset, ds: xr.Dataset, scale: np.ndarray) -> float:
    """Root mean square over features, nodes, times 1.. and trajectories, in z units of the model."""
    difference = (found.state.values - ds.state.values)[:, 1:] / scale
    return float(np.sqrt(np.mean(difference**2)))


def simulated(system: Any, ds: xr.Dataset, **options: Any) -> xr.Dataset:
    graph, _ = schema.graphs_of(ds)
    return pympnode.simulate(
        system,
        topology=graph,
        initial=ds.state.values[:, 0],
        steps=ds.sizes["time"] - 1,
        dt=float(ds.time[1] - ds.time[0]),
        **options,
    )


def data_of(system: str, training: str, small: dict[str, Any]) -> dict[str, Any]:
    """Keywords of the data that a model of a row is trained on."""
    if training == "short":
        clean = pympnode.simulate(system, topology="BA", trajectories=10, seed=1)
        noise = NOISE * float(clean.state.std())
        return dict(topology="BA", trajectories=12 if small else 100, noise=noise)
    return dict(topology="BA", trajectories=12 if small else 1000)


def trained(system: str, training: str, small: dict[str, Any]) -> Any:
    """The model of a row."""
    data = data_of(system, training, small)
    if training == "short":
        form = dict(messages="pairwise", coupling="superposed", aggregation="sum")
        size = small or dict(updates=UPDATES)
        return pympnode.train(system, **data, **form, **size, seed=0, progress=False).model
    if system == "heat":
        return pympnode.train("heat", **data, **small, seed=0, progress=False).model
    return pympnode.pretrained(system)


def tests_of(system: str, tests: int) -> list[xr.Dataset]:
    """Fresh trajectories of the graph of training and of another one."""
    parameters = schema.parameters_of(
        pympnode.simulate(system, topology="BA", trajectories=30, seed=4321)
    )
    # The default diffusivity of heat depends on the graph; a model and its equations have that of training.
    return [
        pympnode.simulate(
            system, topology=topology, trajectories=tests, seed=12345, parameters=parameters
        )
        for topology in ("BA", OTHER[system])
    ]


def peer(system: str, training: str, tests: int, small: dict[str, Any]) -> dict[str, Any]:
    """Errors of pysindy with the true terms on the same training data, and its CPU seconds."""
    ds = pympnode.simulate(system, **data_of(system, training, small), seed=0)
    x = ds.state.values[ds.split.values == "train"]
    graph, dt = schema.graphs_of(ds)[0], float(ds.time[1] - ds.time[0])
    TrueLibrary(x[:2], graph, dt, system, noisy=training == "short")  # what a first call loads
    began = time.process_time()
    library = TrueLibrary(x, graph, dt, system, noisy=training == "short")
    seconds = time.process_time() - began
    found = []
    for ds in tests_of(system, tests):
        truth = ds.state
        states = library.rollout(
            truth.values[:, 0], schema.graphs_of(ds)[0], dt, truth.sizes["time"] - 1
        )
        found.append(error(ds.assign(state=(truth.dims, states)), ds, x.std((0, 1, 2))))
    return {"errors": found, "cpu_seconds": round(seconds, 2), "libraries": versions("pysindy")}


def measured(system: str, training: str, tests: int, small: dict[str, Any]) -> dict[str, Any]:
    model = trained(system, training, small)
    data = pympnode.simulate(system, topology="BA", trajectories=30, seed=4321)
    began = time.process_time()
    found = pympnode.identify(model, data)
    seconds = time.process_time() - began
    wanted, parameters = truth(system, data), schema.parameters_of(data)
    got: dict[str, dict[tuple[str, str], float]] = {feature: {} for feature in wanted}
    for term in found.terms:
        got[term.feature][term.part, term.text] = term.coefficient
    true = [(f, t) for f in wanted for t in wanted[f]]
    worst = [abs(got[f][t] - wanted[f][t]) / abs(wanted[f][t]) for f, t in true if t in got[f]]
    rows = []
    scale = np.asarray(model.state_scale.scale)
    for topology, ds in zip(("BA", OTHER[system]), tests_of(system, tests)):
        rows.append(
            {
                "of": f"{topology}, {ds.sizes['node']} nodes",
                "network": error(model.rollout(ds, check=False), ds, scale),
                "identified": error(simulated(found.system, ds), ds, scale),
                "truth": error(
                    simulated(system, ds, parameters=parameters, tolerance=1e-4), ds, scale
                ),
            }
        )
    return {
        "text": found.text,
        "latex": found.latex,
        "terms": len(found.terms),
        "true_terms": len(true),
        "true_found": len(worst),
        "coefficient_error": max(worst, default=float("nan")),
        "field_error": max(found.field_error.values()),
        "pair_error": None if found.pair_error is None else max(found.pair_error.values()),
        "cpu_seconds": round(seconds, 1),
        "class": f"{model.spec.messages}, {model.spec.coupling}",
        "errors": rows,
        "peer": peer(system, training, tests, small),
    }


def table(found: dict[str, Any]) -> str:
    rows = [
        "| system | training | messages | terms found | true terms among them | largest relative error of a coefficient | tested on "
        "| network | identified | pysindy, true terms | truth, coarser solver | CPU s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for key, one in found.items():
        system, training = key.split(", ")
        for number, row in enumerate(one["errors"]):
            start = (
                f"{system} | {training} | {one['class']} | {one['terms']} | {one['true_found']} of "
                f"{one['true_terms']} | {one['coefficient_error']:.1e}"
                if number == 0
                else " | | | | | "
            )
            rows.append(
                f"| {start} | {row['of']} | {row['network']:.2e} | {row['identified']:.2e} "
                f"| {one['peer']['errors'][number]:.2e} | {row['truth']:.1e} | {one['cpu_seconds'] if number == 0 else ''} |"
            )
    lines = [
        line for key, one in found.items() if "whole" in key for line in one["text"].split("\n")
    ]
    better = [
        key
        for key, one in found.items()
        if one["peer"]["errors"][0] < one["errors"][0]["identified"]
    ]
    first = next(iter(found.values()))["peer"]["libraries"]
    head = (
        f"Peer: {first} with the true terms alone and the same training data, smoothed where these are noisy, "
        "without a network. It has the smaller error on the graph of training in: "
        f"{'; '.join(better) or 'no row'}.\n\n"
    )
    return head + "\n".join(rows) + "\n\n```text\n" + "\n".join(lines) + "\n```\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--systems", nargs="+", default=list(TRUE), choices=list(TRUE))
    parser.add_argument("--tests", type=int, default=TESTS)
    parser.add_argument("--peers-only", action="store_true", help="keep the other stored numbers")
    options = parse(parser, systems=["gene", "heat"], tests=2)
    try:
        import pysindy  # noqa: F401
    except ImportError:
        print("pysindy is not installed: pip install 'pympnode[identify]'")
        return
    torch.set_num_threads(1)
    small = dict(epochs=1, hidden=8) if options.smoke else {}
    path = options.results / "identify.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for key in (f"{system}, {training}" for system in options.systems for training in TRAININGS):
        if options.peers_only:
            found[key]["peer"] = peer(*key.split(", "), options.tests, small)
        else:
            found[key] = measured(*key.split(", "), options.tests, small)
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    order = [f"{system}, {training}" for system in TRUE for training in TRAININGS]
    found = {key: found[key] for key in order if key in found}
    text = table(found)
    (options.results / "identify.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
