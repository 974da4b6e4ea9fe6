"""Wrote the files of this folder, with pympnode 0.1.0 at commit cf2bf8d.

They stand for what users of 0.1 have on their disks, and are never written again: later versions
must read them (``tests/test_golden_v01.py``). To repeat it with the code of that commit:

    python make.py FOLDER

- ``network_data.nc``: controlled Kuramoto oscillators on two graphs, with NaN for missing states.
- ``particle_data.nc``: gravity, 12 particles in a periodic box.
- ``kuramoto_fast.nc``: a network model of the preset "fast", float32.
- ``kuramoto_controlled.nc``: a network model with controls, float64, trained on ``network_data.nc``.
- ``hierarchical_deltagn.nc``: a particle model, float32; ``hogn.nc``: HOGN of pairs, float64.
- ``network_run``, ``particle_run``: run folders that were interrupted before their end (by Ctrl-C).
- ``expected.json``: rollouts and losses of the models, and how the two runs end without an interrupt.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

import pympnode

FAST: dict[str, Any] = {"device": "cpu", "progress": False}
NETWORK: dict[str, Any] = {**FAST, "engine": "torch", "kernel": "eager"}
# The calls of the two runs; the test repeats them.
NETWORK_RUN = {**NETWORK, "missing": "mask", "dtype": "float64", "epochs": 60, "batch_size": 4}
PARTICLE_RUN = {**FAST, "kernel": "eager", "dtype": "float64", "epochs": 60, "batch_size": 3}


def interrupted(train: Callable[[Path], Any], folder: Path) -> None:
    """``train`` in the run folder, with Ctrl-C after a first epoch and before the end."""
    for wait in (0.1, 0.2, 0.05, 0.4, 0.02):
        shutil.rmtree(folder, ignore_errors=True)
        before = signal.getsignal(signal.SIGINT)

        def send(wait: float = wait, before: Any = before) -> None:
            # The trainer has its own handler while it trains.
            while signal.getsignal(signal.SIGINT) is before:
                time.sleep(0.001)
            time.sleep(wait)
            if signal.getsignal(signal.SIGINT) is not before:
                os.kill(os.getpid(), signal.SIGINT)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            train(folder)
        except KeyboardInterrupt:
            pass
        sender.join()
        status = pympnode.load(folder).about["status"]
        reached = sorted(path.name for path in (folder / "checkpoints").iterdir())
        print(folder.name, status, reached)
        if status == "interrupted" and reached[-1] != "epoch-000000.nc":
            return
    raise SystemExit("no run was interrupted between its first epoch and its end")


def numbers(ds: Any, *names: str) -> dict[str, Any]:
    """Variables at the last time as lists of numbers: (trajectory, node or particle, component)."""
    last = ds.isel(time=-1)
    return {name: np.asarray(last[name].values, dtype=np.float64).tolist() for name in names}


def losses(errors: Any) -> dict[str, Any]:
    """What an evaluation says of the model: all its variables over the predictor "model"."""
    chosen = errors.sel(predictor="model")
    return {
        str(name): np.asarray(values, dtype=np.float64).tolist()
        for name, values in chosen.data_vars.items()
        if values.dtype.kind == "f" and values.size <= 12
    }


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    expected: dict[str, Any] = {"version": pympnode.__version__}

    size = dict(nodes=4, topology="ER", graphs=2, graph_seed=1, trajectories=10, steps=6)
    ds = pympnode.simulate("kuramoto_controlled", **size)
    x = ds["state"].values
    x[:, 1:][np.random.default_rng(0).uniform(size=x[:, 1:].shape) < 0.1] = np.nan
    data = out / "network_data.nc"
    ds.to_netcdf(data)
    gravity = pympnode.simulate("gravity", particles=12, trajectories=6, steps=5)
    particle_data = out / "particle_data.nc"
    gravity.to_netcdf(particle_data)

    fast = pympnode.train(
        "kuramoto", nodes=5, topology="BA", trajectories=20, steps=8, updates=12, **NETWORK
    ).model
    fast.save(out / "kuramoto_fast.nc")
    ahead = fast.rollout(x[:3, 0], topology="ring", steps=6, check=False)
    expected["kuramoto_fast"] = numbers(ahead, "state", "message")

    controlled = pympnode.train(
        data=data,
        missing="mask",
        hidden=8,
        message_size=2,
        epochs=10,
        batch_size=4,
        dtype="float64",
        **NETWORK,
    ).model
    controlled.save(out / "kuramoto_controlled.nc")
    expected["kuramoto_controlled"] = {
        **numbers(controlled.rollout(ds, check=False), "state"),
        "errors": losses(pympnode.evaluate(controlled, data)),
    }

    widths = dict(edge_width=10, node_width=8, batch_size=3, updates=20)
    delta = pympnode.train(data=particle_data, **widths, **FAST).model
    delta.save(out / "hierarchical_deltagn.nc")
    hogn = pympnode.train(data=particle_data, model="hogn", dtype="float64", **widths, **FAST).model
    hogn.save(out / "hogn.nc")
    for name, model in (("hierarchical_deltagn", delta), ("hogn", hogn)):
        expected[name] = {
            **numbers(model.rollout(particle_data, check=False), "position", "velocity"),
            "errors": losses(pympnode.evaluate(model, particle_data, horizons=[5])),
        }

    def network_run(folder: Path | None) -> Any:
        return pympnode.finetune(
            out / "kuramoto_controlled.nc", data=data, run=folder, **NETWORK_RUN
        )

    def particle_run(folder: Path | None) -> Any:
        return pympnode.finetune(out / "hogn.nc", data=particle_data, run=folder, **PARTICLE_RUN)

    with tempfile.TemporaryDirectory() as spare:
        for train in (network_run, particle_run):
            train(Path(spare) / train.__name__)  # compiles what there is to compile
    for train in (network_run, particle_run):
        interrupted(train, out / train.__name__)
        whole = train(None)
        expected[train.__name__] = {
            "updates": whole.updates,
            "best_loss": whole.best_loss,
            "validation_loss": whole.history.validation_loss.values.tolist(),
        }
    (out / "expected.json").write_text(json.dumps(expected) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
