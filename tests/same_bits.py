"""Digests of tiny runs, to show that a change of the code's structure changes no number.

    python tests/same_bits.py write FILE.json [RUN ...]
    python tests/same_bits.py compare FILE.json [RUN ...]

Every run trains a small model through the public functions and yields SHA-256 digests of the data,
the final weights, the history (without ``seconds``), a rollout and an evaluation. ``compare`` runs
again, prints every difference and exits with 1 if there is one. Digests are equal on one machine and
one installation only: another processor or another torch rounds differently, which is why a file
also records what it was made with. Not collected by pytest.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# Sums over several threads round otherwise. And the tree that holds this file is what is compared,
# not a pympnode that is installed.
os.environ.update(dict.fromkeys(["OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"], "1"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import xarray as xr

import pympnode

RUNS: dict[str, Callable[[Path], dict[str, Any]]] = {}
# Version 0.1 has no other optimiser, and no keyword for it.
_SOAP = "optimiser" in inspect.signature(pympnode.train).parameters
ADAM: dict[str, Any] = {"optimiser": "adam"} if _SOAP else {}
NET: dict[str, Any] = {
    "progress": False,
    "device": "cpu",
    "engine": "torch",
    "batch_size": 6,
    **ADAM,
    **({"matching": 0} if _SOAP else {}),
}
PARTICLE: dict[str, Any] = {
    **ADAM,
    "progress": False,
    "device": "cpu",
    "edge_width": 12,
    "node_width": 10,
    "batch_size": 3,
}
SIZE: dict[str, Any] = {"nodes": 5, "topology": "BA", "trajectories": 16, "steps": 12}


def run(function: Callable[[Path], dict[str, Any]]) -> Callable[[Path], dict[str, Any]]:
    """Adds a run under the name of its function."""
    RUNS[function.__name__] = function
    return function


# ---- digests ----------------------------------------------------------------------------------


def digest(values: Mapping[Any, Any]) -> str:
    """SHA-256 of named arrays: names, dtypes, shapes and bytes."""
    total = hashlib.sha256()
    for name in sorted(values, key=str):
        array = np.asarray(values[name])
        if array.dtype.kind in "OUS":
            array = array.astype("U")
            content = "\0".join(array.ravel().tolist()).encode()
            total.update(f"{name} text {array.shape}".encode() + content)
        else:
            total.update(f"{name} {array.dtype.str} {array.shape}".encode())
            total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


# Kernels of particles by their earlier names, which older files hold.
_KERNELS = {"compiled": "numba", "chunked": "torch", "recompute": "numba"}


def of_dataset(ds: xr.Dataset) -> str:
    """The digest of all variables and coordinates of a dataset but ``seconds`` and the node numbers,
    which are 0, 1, 2, ... and which older versions did not write."""
    left_out = ("seconds", "node_number")
    return digest({name: ds[name].values for name in ds.variables if name not in left_out})


def facts(
    result: Any, start: xr.Dataset, *data: xr.Dataset, evaluate: bool = True, **rollout: Any
) -> dict[str, Any]:
    """What is compared of one run; the model rolls out from ``start``."""
    out = {
        "data": [of_dataset(ds) for ds in (data or (start,))],
        "weights": digest(result.model.weights),
        "history": of_dataset(result.history),
        "rollout": of_dataset(result.model.rollout(start, **rollout)),
        "kernel": result.kernel,
        "status": result.status,
        "updates": int(result.updates),
        "best_loss": float(result.best_loss).hex(),
    }
    if evaluate:
        out["evaluation"] = of_dataset(pympnode.evaluate(result, start))
    return out


def interrupted_then_resumed(folder: Path, train: Callable[[Path], Any]) -> Any:
    """The result of ``train(folder)`` after an interrupt in its middle.

    The trainer replaces the handler of Ctrl-C while it trains: SIGINT is sent a moment later.
    """
    for wait in (0.3, 0.15, 0.05, 0.6, 0.0):
        here = folder / f"after-{wait}"
        before = signal.getsignal(signal.SIGINT)

        def send(wait: float = wait, before: Any = before) -> None:
            end = time.monotonic() + 60
            while signal.getsignal(signal.SIGINT) is before and time.monotonic() < end:
                time.sleep(0.001)
            time.sleep(wait)
            if signal.getsignal(signal.SIGINT) is not before:
                os.kill(os.getpid(), signal.SIGINT)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            train(here)
        except KeyboardInterrupt:
            pass
        sender.join()
        history = here / "history.nc"
        if history.exists() and pympnode.load(here).about["status"] == "interrupted":
            with xr.open_dataset(history) as ds:
                epochs = ds.sizes["epoch"]
            if epochs > 0:
                return train(here)
    raise SystemExit("no run was interrupted after an epoch and before its end")


# ---- networks ---------------------------------------------------------------------------------


@run
def kuramoto_fast_numba_f32(_: Path) -> dict[str, Any]:
    result = pympnode.train("kuramoto", **SIZE, epochs=5, kernel="numba", **NET)
    test = result.test_set(5)
    return facts(result, test)


@run
def kuramoto_fast_auto_heterogeneous_f64(_: Path) -> dict[str, Any]:
    ds = pympnode.simulate("kuramoto", **SIZE, parameters={"frequency": "heterogeneous"}, seed=3)
    return facts(pympnode.train(data=ds, epochs=4, dtype="float64", seed=3, **NET), ds)


@run
def kuramoto_paper_numba_f64(_: Path) -> dict[str, Any]:
    ds = pympnode.simulate("kuramoto", **SIZE, noise=0.01)
    options = dict(preset="paper", epochs=4, kernel="numba", dtype="float64")
    return facts(pympnode.train(data=ds, **options, **NET), ds)


@run
def several_blocks_and_tiles_numba_f32(_: Path) -> dict[str, Any]:
    size = dict(nodes=20, topology="WS", trajectories=150, steps=30)
    ds = pympnode.simulate("kuramoto", **size)
    options = dict(epochs=6, kernel="numba", batch_size=64)
    return facts(pympnode.train(data=ds, **{**NET, **options}), ds)


@run
def lorenz_fast_torch_f64(_: Path) -> dict[str, Any]:
    ds = pympnode.simulate("lorenz", nodes=3, trajectories=16, steps=12)
    options = dict(epochs=4, kernel="torch", dtype="float64", hidden=16)
    return facts(pympnode.train(data=ds, **options, **NET), ds)


@run
def gene_paper_torch_f32(_: Path) -> dict[str, Any]:
    ds = pympnode.simulate("gene", **SIZE)
    return facts(pympnode.train(data=ds, preset="paper", epochs=3, kernel="torch", **NET), ds)


@run
def heat_several_graphs_eager_f64(_: Path) -> dict[str, Any]:
    ds = pympnode.simulate("heat", **{**SIZE, "topology": "ER"}, graphs=3, graph_seed=5)
    options = dict(epochs=3, kernel="eager", dtype="float64", hidden=12, messages="state")
    options |= dict(coupling="superposed", first_message="linear", solver="tsit5", substeps=2)
    return facts(pympnode.train(data=ds, **options, **NET), ds)


@run
def controls_numba_f64(_: Path) -> dict[str, Any]:
    size = {**SIZE, "topology": "ring"}
    ds = pympnode.simulate("kuramoto_controlled", **size)
    result = pympnode.train(data=ds, epochs=4, kernel="numba", dtype="float64", **NET)
    out = facts(result, ds)
    other = result.model.rollout(ds, control=0.5 * ds.control.values, topology="path")
    return {**out, "rollout_of_other_controls": of_dataset(other)}


@run
def mask_numba_f64(_: Path) -> dict[str, Any]:
    clean = pympnode.simulate("kuramoto", **SIZE)
    x = clean.state.values.copy()
    x[:, 1:][np.random.default_rng(1).uniform(size=x[:, 1:].shape) < 0.2] = np.nan
    times = np.array([0, 1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15]) * 0.05
    ds = pympnode.from_arrays(x, time=times, topology="BA", split=["train"] * 12 + ["test"] * 4)
    options = dict(missing="mask", epochs=3, kernel="numba", dtype="float64", hidden=16)
    result = pympnode.train(data=ds, **options, **NET)
    return facts(result, ds)


@run
def ensemble_of_two_numba_f64(_: Path) -> dict[str, Any]:
    ds = pympnode.simulate("kuramoto", **SIZE)
    options = dict(members=2, epochs=3, kernel="numba", dtype="float64", hidden=16)
    return facts(pympnode.train(data=ds, **options, **NET), ds)


@run
def finetuned_lorenz_numba_f64(_: Path) -> dict[str, Any]:
    options: dict[str, Any] = {"kernel": "numba", "dtype": "float64", **NET}
    few = pympnode.simulate("lorenz", nodes=3, trajectories=12, steps=8)
    more = pympnode.simulate("lorenz", nodes=5, topology="ring", trajectories=8, steps=8, seed=1)
    start = pympnode.train(data=few, hidden=16, epochs=3, **options)
    kept = facts(pympnode.finetune(start, data=more, epochs=3, **options), more, few, more)
    refit = pympnode.finetune(start, data=more, epochs=2, normalisation="refit", **options)
    return {**kept, "weights_refit": digest(refit.model.weights)}


@run
def l2s_eager_f64(_: Path) -> dict[str, Any]:
    ds = pympnode.simulate("kuramoto", **SIZE)
    options = dict(model="l2s", epochs=2, kernel="eager", dtype="float64", hidden=12)
    return facts(pympnode.train(data=ds, **options, **NET), ds)


@run
def node_family_auto_f64(_: Path) -> dict[str, Any]:
    ds = pympnode.simulate("coupled_pendulum", nodes=3, trajectories=12, steps=8)
    options = dict(model="node", epochs=3, dtype="float64", hidden=12)
    return facts(pympnode.train(data=ds, **options, **NET), ds)


@run
def sizes_mixed_torch_f64(_: Path) -> dict[str, Any]:
    a = pympnode.simulate("kuramoto", **SIZE)
    b = pympnode.simulate("kuramoto", nodes=8, topology="WS", trajectories=10, steps=9, seed=2)
    options = dict(epochs=3, kernel="torch", dtype="float64", hidden=12, messages="self")
    options |= dict(coupling="mixed", first_message="mlp", aggregation="sum")
    return facts(pympnode.train(data=[a, b], **options, **NET), b, a, b)


@run
def resumed_eager_f64(folder: Path) -> dict[str, Any]:
    ds = pympnode.simulate("kuramoto", **{**SIZE, "trajectories": 10})

    def train(here: Path | None) -> Any:
        options = dict(epochs=30, kernel="eager", dtype="float64", hidden=8, batch_size=3)
        return pympnode.train(data=ds, run=here, **{**NET, **options})

    whole = facts(train(None), ds)
    resumed = facts(interrupted_then_resumed(folder, train), ds)
    stored = digest(pympnode.load(sorted(folder.glob("*/model.nc"))[-1]).weights)
    return {**whole, **{f"resumed_{name}": value for name, value in resumed.items()}} | {
        "resumed_stored_weights": stored
    }


@run
def learned_beside_simulated_nodes_f64(_: Path) -> dict[str, Any]:
    ds = pympnode.simulate("kuramoto", **{**SIZE, "topology": "ring"})
    result = pympnode.train(data=ds, epochs=2, kernel="eager", dtype="float64", hidden=8, **NET)
    node = result.model.as_node("kuramoto")
    mixed = pympnode.couple([node, "kuramoto", node, "kuramoto", "kuramoto"], "ring")
    return {**facts(result, ds), "mixed_rollout": of_dataset(mixed.rollout(ds.isel(time=[0, 1])))}


# ---- particles --------------------------------------------------------------------------------


def gravity(particles: int = 12, **options: Any) -> xr.Dataset:
    return pympnode.simulate(
        "gravity", particles=particles, **{"trajectories": 8, "steps": 6, **options}
    )


@run
def hierarchical_deltagn_fast_compiled_f32(_: Path) -> dict[str, Any]:
    options = dict(particles=24, trajectories=8, steps=6, updates=12, kernel="compiled")
    result = pympnode.train("gravity", model="hierarchical_deltagn", **options, **PARTICLE)
    return facts(result, result.test_set(2))


@run
def hierarchical_deltagn_paper_eager_f64(_: Path) -> dict[str, Any]:
    ds = gravity(20)
    options = dict(preset="paper", updates=5, kernel="eager", dtype="float64")
    return facts(pympnode.train(data=ds, behaviour="published", **options, **PARTICLE), ds)


@run
def hierarchical_deltagn_fast_compiled_f64(_: Path) -> dict[str, Any]:
    ds = gravity(20, dims=3)
    options: dict[str, Any] = dict(updates=6, kernel="compiled", dtype="float64", micro_batch=2)
    options["model"] = "hierarchical_deltagn"
    return facts(pympnode.train(data=ds, **options, **PARTICLE), ds)


@run
def many_particles_compiled_f32(_: Path) -> dict[str, Any]:
    ds = gravity(150, trajectories=3, steps=4)
    return facts(pympnode.train(data=ds, updates=4, batch_size=2, progress=False), ds)


@run
def deltagn_coulomb_chunked_f64(_: Path) -> dict[str, Any]:
    ds = pympnode.simulate("coulomb", particles=8, trajectories=8, steps=6)
    options = dict(model="deltagn", updates=8, kernel="chunked", dtype="float64")
    return facts(pympnode.train(data=ds, **options, **PARTICLE), ds)


@run
def hogn_of_pairs_leapfrog_f64(_: Path) -> dict[str, Any]:
    ds = gravity(8, integrator="global")
    options = dict(model="hogn", updates=8, dtype="float64", augment=True)
    return facts(pympnode.train(data=ds, **options, **PARTICLE), ds)


@run
def hierarchical_hogn_paper_f32(_: Path) -> dict[str, Any]:
    ds = gravity(16)
    options = dict(model="hierarchical_hogn", preset="paper", updates=3, global_width=8)
    return facts(pympnode.train(data=ds, **options, **PARTICLE), ds, steps=2, evaluate=False)


@run
def nearest_deltagn_chunked_f32(_: Path) -> dict[str, Any]:
    ds = gravity(16, seed=4)
    options = dict(model="nearest_deltagn", neighbours=5, updates=8, kernel="chunked")
    return facts(pympnode.train(data=ds, **options, **PARTICLE), ds)


@run
def deltagn_recompute_bf16(_: Path) -> dict[str, Any]:
    ds = gravity(12)
    options = dict(model="deltagn", updates=6, kernel="recompute", precision="bf16")
    return facts(pympnode.train(data=ds, **options, **PARTICLE), ds)


@run
def particles_finetuned_on_sizes_mixed_f64(_: Path) -> dict[str, Any]:
    a, b = gravity(12), gravity(20, seed=1)
    options: dict[str, Any] = {"dtype": "float64", "kernel": "compiled", "progress": False}
    start = pympnode.train(
        data=a, model="hierarchical_deltagn", updates=6, **{**PARTICLE, **options}
    )
    tuned = pympnode.finetune(start, data=[a, b], updates=6, batch_size=3, **options)
    return facts(tuned, b, a, b)


@run
def particles_resumed_eager_f64(folder: Path) -> dict[str, Any]:
    ds = gravity(12, trajectories=4, steps=3)

    def train(here: Path | None) -> Any:
        options = dict(model="deltagn", epochs=60, kernel="eager", dtype="float64")
        return pympnode.train(data=ds, run=here, **options, **PARTICLE)

    whole = facts(train(None), ds)
    resumed = facts(interrupted_then_resumed(folder, train), ds)
    return {**whole, **{f"resumed_{name}": value for name, value in resumed.items()}}


# ---- the command line -------------------------------------------------------------------------


def measured(names: list[str]) -> dict[str, Any]:
    """The facts of the runs of those names."""
    found = {}
    for name in names:
        began = time.process_time()
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found[name] = RUNS[name](Path(folder))
            again = {k: v for k, v in found[name].items() if k.startswith("resumed_")}
            for key, value in again.items():
                whole = found[name].get(key.removeprefix("resumed_"), value)
                if value != whole:
                    raise SystemExit(f"{name}: {key} is not that of the uninterrupted run")
        print(f"{time.process_time() - began:6.1f} s  {name}", file=sys.stderr, flush=True)
    return found


def versions() -> dict[str, str]:
    """What rounding depends on."""
    import numba
    import torch

    return {
        "numpy": np.__version__,
        "numba": numba.__version__,
        "torch": torch.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("write", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("runs", nargs="*", metavar="RUN", help=", ".join(RUNS))
    given = parser.parse_args()
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # of a job in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    unknown = sorted(set(given.runs) - set(RUNS))
    if unknown:
        parser.error(f"no such run: {', '.join(unknown)}")
    if given.action == "write":
        text = {"made_with": versions(), "runs": measured(given.runs or list(RUNS))}
        given.file.write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")
        return 0
    stored = json.loads(given.file.read_text(encoding="utf-8"))
    if stored["made_with"] != versions():
        print(f"made with {stored['made_with']}, here {versions()}: bits may differ for that alone")
    before, now = stored["runs"], measured(given.runs or list(RUNS))
    differences = 0
    for name in now if given.runs else sorted({*before, *now}):
        a, b = before.get(name, {}), now.get(name, {})
        for key in sorted({*a, *b}):
            old, new = (_KERNELS.get(one.get(key), one.get(key)) if key == "kernel" else one.get(key)
                        for one in (a, b))  # fmt: skip
            if old != new:
                differences += 1
                print(f"{name}: {key} was {a.get(key)}, is {b.get(key)}")
    print(f"{len(now)} runs, {differences} differences")
    return 1 if differences else 0


if __name__ == "__main__":
    raise SystemExit(main())
