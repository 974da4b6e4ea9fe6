"""Models fine-tuned to another network on 50 trajectories: before, after, and trained on 1,000 there.

    python benchmarks/finetune.py                       # two seeds, about 25 CPU minutes
    python benchmarks/finetune.py --only L1 K --seeds 2 3    # adds to the rows that are stored
    python benchmarks/finetune.py --models FOLDER       # keep trained models there, and use them again
    python benchmarks/finetune.py --fill                # "trained on 1,000" of the rows that are stored

Sources and the rows "trained on 1,000" are the preset "fast" as it is shipped. "tuned" is
`pympnode.finetune(start, ..., trajectories=50)` and nothing else; "published recipe" is the same with
preset="paper" (Adam at 1e-3, whole trajectories), for as many updates as the table says. Losses are the
training loss (Huber, z units of the source, summed over features and times) on 300 fresh trajectories;
"validation" is tuned over zero-shot on the 15 validation trajectories of the 50. "trained on 1,000" is
one model a case, of seed 0, in the z units of the row's start (gene, whose updates on 64 nodes are the
dearest, is trained for 400 updates and tuned for 150: `--updates 150`). What was not run says so.
One thread, CPU seconds. Writes benchmarks/results/finetune.{json,md} after each case.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from smoke import parse

import pympnode

TEST_SEED = 20_250_201
SOURCES: dict[str, dict[str, Any]] = {
    "lorenz": dict(system="lorenz", nodes=3),
    "kuramoto": dict(system="kuramoto", nodes=10, topology="BA"),
    "kuramoto_er": dict(system="kuramoto", nodes=10, topology="ER"),
    "gene": dict(system="gene", nodes=16, topology="BA"),
}
# Title, source, target.
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "K": ("Kuramoto10, BA to ER", "kuramoto", dict(system="kuramoto", nodes=10, topology="ER")),
    "R": ("Kuramoto10, ER to BA", "kuramoto_er", dict(system="kuramoto", nodes=10, topology="BA")),
    "L1": (
        "Lorenz3 at coupling .01 to Lorenz10 at 1",
        "lorenz",
        dict(system="lorenz", nodes=10, parameters={"coupling": "medium"}),
    ),
    "G": ("gene, 4x4 to 8x8", "gene", dict(system="gene", nodes=64, topology="BA")),
    "L5": (
        "Lorenz3 at coupling .01 to Lorenz10 at 5",
        "lorenz",
        dict(system="lorenz", nodes=10, parameters={"coupling": "high"}),
    ),
    "L.01": ("Lorenz3 to Lorenz10, both at .01", "lorenz", dict(system="lorenz", nodes=10)),
}
SIZES: dict[str, Any] = dict(
    source={},
    tuned=dict(trajectories=50),
    published=200,
    reference=dict(trajectories=1000),
    test=300,
)
SMALL: dict[str, Any] = dict(
    source=dict(trajectories=8, updates=2),
    tuned=dict(trajectories=8, updates=2),
    published=2,
    reference=dict(trajectories=8, updates=2),
    test=2,
)


def cpu(call: Callable[[], Any]) -> tuple[Any, float]:
    """What ``call`` returns, and the CPU seconds it took."""
    begin = time.process_time()
    return call(), time.process_time() - begin


def loss(model: Any, ds: Any) -> float:
    """The training loss of a model on a dataset."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pympnode.PympnodeWarning)
        return float(pympnode.evaluate(model, ds).loss.sel(predictor="model"))


def trained(name: str, folder: Path | None, **options: Any) -> Any:
    """A trained model: that in ``folder``, if it has one of the name."""
    path = None if folder is None else folder / f"{name}.nc"
    if path is not None and path.exists():
        return pympnode.load(path)
    model = pympnode.train(**options, progress=False).model
    if path is not None:
        model.save(path)
    return model


def reference_of(key: str, size: dict[str, Any], folder: Path | None) -> Any:
    """The model of a case that is trained on 1,000 trajectories of the target."""
    length = {"updates": 400} if key == "G" else {}
    more = {**CASES[key][2], **length, **size["reference"], "seed": 0}
    return trained(f"ref-{key}-0", folder, **more)


def fill(
    rows: list[dict[str, Any]], keys: list[str], size: dict[str, Any], folder: Path | None
) -> Iterator[None]:
    """Set "reference" of the rows that lack it, a case at a time."""
    for key in keys:
        title, source, target = CASES[key]
        lacking = [r for r in rows if r["case"] == title and r["reference"] is None]
        if not lacking:
            continue
        reference = reference_of(key, size, folder)
        test = pympnode.simulate(**target, trajectories=size["test"], seed=TEST_SEED, split=None)
        for row in lacking:
            # The z units of a start follow its data alone: two updates have those of the whole run.
            made = {**SOURCES[source], **size["source"], "seed": row["seed"], "updates": 2}
            units = pympnode.train(**made, progress=False).model
            row["reference"] = loss_in_units_of(units, reference, test)
            print(title, row["seed"], row["reference"], flush=True)
        yield


def run(
    key: str,
    seed: int,
    size: dict[str, Any],
    folder: Path | None,
    with_published: bool,
    with_reference: bool,
) -> dict[str, Any]:
    """One case with one seed."""
    title, source, target = CASES[key]
    start = trained(f"src-{source}-{seed}", folder, **SOURCES[source], **size["source"], seed=seed)
    test = pympnode.simulate(**target, trajectories=size["test"], seed=TEST_SEED, split=None)
    few = pympnode.simulate(**target, trajectories=size["tuned"]["trajectories"], seed=seed)
    held_out = few.isel(trajectory=(few["split"] == "validation").values)
    more = {name: value for name, value in size["tuned"].items() if name != "trajectories"}
    options: dict[str, Any] = dict(data=few, seed=seed, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pympnode.PympnodeWarning)
        tuned, tuned_cpu = cpu(lambda: pympnode.finetune(start, **options, **more))
        print(key, seed, "tuned", tuned.updates, f"{tuned_cpu:.0f} CPU s", flush=True)
        published = reference = None
        published_cpu = 0.0
        if with_published:
            paper = dict(preset="paper", updates=size["published"])
            published, published_cpu = cpu(lambda: pympnode.finetune(start, **options, **paper))
        if with_reference:
            reference = reference_of(key, size, folder)
    out = {
        "case": title,
        "messages": start.spec.messages,
        "seed": seed,
        "zero_shot": loss(start, test),
        "tuned": loss(tuned.model, test),
        "tuned_updates": tuned.updates,
        "tuned_cpu": tuned_cpu,
        "kept_start": bool(tuned.best_epoch == 0),
        "validation_ratio": loss(tuned.model, held_out) / loss(start, held_out),
        "published": None if published is None else loss(published.model, test),
        "published_updates": 0 if published is None else published.updates,
        "published_cpu": published_cpu,
        # In the units of the source, as the others: a model of its own scale would have another loss.
        "reference": None if reference is None else loss_in_units_of(start, reference, test),
    }
    print(json.dumps(out), flush=True)
    return out


def loss_in_units_of(start: Any, model: Any, ds: Any) -> float:
    """The loss of ``model`` with the errors in the z units of ``start``."""
    import numpy as np

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pympnode.PympnodeWarning)
        predicted = model.rollout(ds).state.values
    size = np.abs(predicted - ds.state.values)[:, 1:] / start.state_scale.scale_of(None)
    huber = np.where(size < 1, 0.5 * size**2, size - 0.5)
    return float(huber.sum() / (size.shape[0] * size.shape[2]))


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, a line per case and seed."""
    lines = [
        "| case | messages | seed | zero-shot | tuned | tuned / zero-shot | the same, validation | published recipe | trained on 1,000 | updates | CPU s |",
        "|---" * 11 + "|",
    ]
    for row in rows:
        published, reference = (
            "not run" if row[name] is None else f"{row[name]:.3g}"
            for name in ("published", "reference")
        )
        ratio = f"{row['tuned'] / row['zero_shot']:.3f}" + " (start kept)" * row["kept_start"]
        lines.append(
            f"| {row['case']} | {row['messages']} | {row['seed']} | {row['zero_shot']:.3g} "
            f"| {row['tuned']:.3g} | {ratio} | {row['validation_ratio']:.3f} "
            f"| {published} | {reference} "
            f"| {row['tuned_updates']}, {row['published_updates']} "
            f"| {row['tuned_cpu']:.0f}, {row['published_cpu']:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--models", type=Path, help="folder of trained models, kept and used again")
    parser.add_argument("--updates", type=int, help="of tuned models; the package's by default")
    parser.add_argument(
        "--no-published", action="store_true", help="leave the published recipe out"
    )
    parser.add_argument(
        "--no-reference", action="store_true", help='leave "trained on 1,000" empty'
    )
    parser.add_argument(
        "--fill", action="store_true", help='only compute "trained on 1,000" where rows lack it'
    )
    options = parse(parser, seeds=[0], only=["K", "L1"])
    torch.set_num_threads(1)
    out = options.results / "finetune"
    out.parent.mkdir(parents=True, exist_ok=True)
    path = out.with_suffix(".json")
    rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    titles = [title for title, *_ in CASES.values()]
    size = SMALL if options.smoke else SIZES
    if options.updates:
        size = {**size, "tuned": {**size["tuned"], "updates": options.updates}}

    def store() -> str:
        rows.sort(key=lambda row: (titles.index(row["case"]), row["seed"]))
        text = (
            "Fine-tuned on 50 trajectories of another network: training loss (Huber, z units of the "
            "source) on 300 fresh trajectories of it. Updates and CPU seconds: tuned, published "
            f"recipe.\n\n{table(rows)}\n"
        )
        path.write_text(json.dumps(rows, indent=1) + "\n")
        out.with_suffix(".md").write_text(text)
        return text

    if options.fill:
        for _ in fill(rows, options.only, size, options.models):
            store()
        print(store())
        return
    for seed in options.seeds:
        for key in options.only:
            rests = not options.no_published, not options.no_reference
            new = run(key, seed, size, options.models, *rests)
            for old in rows:
                # What this call leaves out does not depend on the recipe of the tuned model.
                if (old["case"], old["seed"]) == (new["case"], new["seed"]):
                    new |= {
                        name: old[name]
                        for of in ("published", "reference")
                        if new[of] is None
                        for name in old
                        if name.startswith(of)
                    }
            rows[:] = [r for r in rows if (r["case"], r["seed"]) != (new["case"], new["seed"])]
            rows.append(new)
            store()
    print(store())


if __name__ == "__main__":
    main()
