"""Three Lorenz attractors to ten: zero-shot, fine-tuned for 10 epochs, from scratch for 400.

    python benchmarks/finetune.py                # three seeds, about 10 minutes
    python benchmarks/finetune.py --seeds 1

At the couplings "default" (Frobenius norm 0.01) and "medium" (1), with the messages of the fast preset
and with messages="zero" (a neural ODE for each attractor) beside it; fine-tuning and scratch see the
same 50 trajectories of ten attractors. The uncoupled simulator shows how much of the score owes to the
coupling at all. Errors on 300 fresh trajectories. Writes benchmarks/results/finetune.{json,md}.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from smoke import parse

import pympnode

TEST_SEED = 20_250_201
ROWS = ("zero-shot", "fine-tuned, 10 epochs", "from scratch, 10 epochs", "from scratch, 400 epochs")


# Epochs of a short and of a long run, and trajectories to train, to tune and to test with.
SIZES = dict(short=10, long=400, parent=None, tuned=50, test=300)
SMALL = dict(short=1, long=2, parent=8, tuned=8, test=2)


def run(coupling: str, messages: str | None, seed: int, size: dict[str, Any]) -> dict[str, Any]:
    """All rows of one coupling, one kind of messages and one seed."""
    physics = dict(system="lorenz", parameters={"coupling": coupling})
    options: dict[str, Any] = dict(seed=seed, progress=False)
    if messages is not None:
        options |= dict(messages=messages, coupling="mixed")
    few = dict(nodes=10, trajectories=size["tuned"])
    test = pympnode.simulate(
        **physics, nodes=10, trajectories=size["test"], seed=TEST_SEED, split=None
    )
    start = time.process_time()
    first = (
        {} if size["parent"] is None else dict(trajectories=size["parent"], epochs=size["short"])
    )
    parent = pympnode.train(**physics, nodes=3, **first, **options)
    models = {"zero-shot": parent.model}
    tuned = dict(seed=seed, progress=False)
    models[ROWS[1]] = pympnode.finetune(
        parent, **physics, **few, **tuned, epochs=size["short"]
    ).model
    models[ROWS[2]] = pympnode.train(**physics, **few, **options, epochs=size["short"]).model
    models[ROWS[3]] = pympnode.train(**physics, **few, **options, epochs=size["long"]).model
    out: dict[str, Any] = {
        "coupling": coupling,
        "messages": parent.model.spec.messages,
        "seed": seed,
        "cpu_seconds": time.process_time() - start,
        "loss": {},
        "rmse_z": {},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pympnode.PympnodeWarning)
        for title, model in models.items():
            score = pympnode.evaluate(model, test)
            for name in ("loss", "rmse_z"):
                out[name][title] = float(score[name].sel(predictor="model"))
                out[name]["uncoupled simulator"] = float(score[name].sel(predictor="uncoupled"))
    print(json.dumps(out), flush=True)
    return out


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: geometric means over seeds, and the seeds in which tuning beats 400 epochs."""
    titles = (*ROWS, "uncoupled simulator")
    lines = [
        f"| coupling | messages | {' | '.join(titles)} | tuned beats 400 epochs |",
        "|---" * (len(titles) + 3) + "|",
    ]
    for coupling, messages in dict.fromkeys((r["coupling"], r["messages"]) for r in rows):
        mine = [r for r in rows if (r["coupling"], r["messages"]) == (coupling, messages)]
        means = [float(np.exp(np.mean(np.log([r["loss"][t] for r in mine])))) for t in titles]
        wins = sum(r["loss"][ROWS[1]] < r["loss"][ROWS[3]] for r in mine)
        cells = " | ".join(f"{value:.3g}" for value in means)
        lines.append(f"| {coupling} | {messages} | {cells} | {wins} of {len(mine)} seeds |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="path of both tables, no suffix")
    options = parse(parser, seeds=1)
    out = options.out or options.results / "finetune"
    rows = [
        run(coupling, messages, seed, SMALL if options.smoke else SIZES)
        for coupling in ("default", "medium")
        for messages in (None, "zero")
        for seed in range(options.seeds)
    ]
    text = (
        "Lorenz3 to Lorenz10 with 50 trajectories: training loss (Huber, z units) on 300 fresh "
        f"trajectories, geometric mean of {options.seeds} seeds.\n\n{table(rows)}\n"
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    out.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
