"""`pympnode evaluate` and `pympnode rollout`."""

from __future__ import annotations

from typing import Any

import click

from . import options as o
from .output import print_json, table

WHERE = [click.option("--out", type=o.FILE, help="netCDF file to write.")]


@click.command()
@click.argument("model", type=o.FILE)
@click.argument("data", type=o.FILE, required=False)
@click.option("--system", type=str, help="Simulate a test set of this system instead of DATA.")
@click.option("--threshold", type=float, help="Error (z units) that ends the valid time; 0.4.")
@o.with_options(o.DATA, WHERE, o.CONFIG, o.JSON)
@click.pass_context
def evaluate(context: click.Context, as_json: bool, **_: Any) -> None:
    """Errors of MODEL (a file or a run folder) on DATA, beside simple baselines.

    \b
    Example:
      pympnode evaluate runs/kuramoto test.nc
      pympnode evaluate runs/kuramoto --system kuramoto --topology WS --trajectories 50 --seed 7
    """
    given = o.gather(context)
    from .. import _api

    model = _api.load(given.pop("model"))
    path, out, threshold = (given.pop(name, None) for name in ("data", "out", "threshold"))
    if path is not None:
        if given:
            raise click.UsageError(f"DATA is given, so {', '.join(sorted(given))} has no effect")
        ds = _api.as_dataset(path)
    elif "system" in given:
        ds = _api.simulate(**{"split": None, **o.data_keywords(given)})
    else:
        raise click.UsageError("give DATA, or --system to simulate a test set")
    extra = {} if threshold is None else {"threshold": threshold}
    scores = _api.evaluate(model, ds, **extra)
    if out is not None:
        from .. import storage

        storage.write_netcdf(scores, out)
    facts = _facts(scores)
    if as_json:
        print_json({"out": out, "trajectories": ds.sizes["trajectory"], "predictors": facts})
        return
    features = [str(f) for f in scores["feature"].values]
    head = ("predictor", "rmse (z)", *(f"rmse {f}" for f in features), "valid time", "loss")
    rows = []
    for name, row in facts.items():
        numbers = [row["rmse_z"], *row["rmse"].values(), row["valid_time"], row["loss"]]
        rows.append((name, *(f"{number:.4g}" for number in numbers)))
    table(head, rows)


@click.command()
@click.argument("model", type=o.FILE)
@click.argument("data", type=o.FILE)
@click.option("--steps", type=int, help="Time steps; those of DATA by default.")
@click.option("--dt", type=float, help="Length of a time step; that of DATA by default.")
@click.option("--topology", help="Another graph than that of DATA: BA, ..., or a file of edges.")
@click.option("--topology-option", multiple=True, metavar="NAME=VALUE", help="Such as k=3.")
@click.option("--graph-seed", type=int, help="Seed of that graph.")
@o.with_options(WHERE, o.CONFIG, o.JSON)
@click.pass_context
def rollout(context: click.Context, as_json: bool, **_: Any) -> None:
    """Predict with MODEL from the first states of DATA.

    \b
    Example:
      pympnode rollout runs/kuramoto test.nc --steps 200 --out predicted.nc
    """
    given = o.gather(context)
    out = given.pop("out", None)
    if out is None:
        raise click.UsageError("say where the prediction goes: --out FILE.nc")
    from .. import _api, storage

    model = _api.load(given.pop("model"))
    ds = model.rollout(_api.as_dataset(given.pop("data")), **o.data_keywords(given))
    storage.write_netcdf(ds, out)
    lost = int((~ds["finite"].values).sum())
    if as_json:
        print_json({"out": out, "sizes": dict(ds.sizes), "not_finite": lost})
    else:
        sizes = ", ".join(f"{name} {ds.sizes[name]}" for name in ("trajectory", "time", "node"))
        click.echo(f"{out}: {sizes}" + (f"; {lost} trajectories overflowed" if lost else ""))


def _facts(scores: Any) -> dict[str, dict[str, Any]]:
    import numpy as np

    found = {}
    for name in (str(p) for p in scores["predictor"].values):
        one = scores.sel(predictor=name)
        found[name] = {
            "rmse_z": float(one["rmse_z"]),
            "rmse": {str(f): float(v) for f, v in zip(one["feature"].values, one["rmse"].values)},
            "valid_time": float(np.median(one["valid_time"].values)),
            "loss": float(one["loss"]),
            "not_finite": int(one["not_finite"]),
        }
        if "observable_rmse" in one:
            seen = zip(one["observable"].values, one["observable_rmse"].values)
            found[name]["observable_rmse"] = {str(each): float(error) for each, error in seen}
    return found
