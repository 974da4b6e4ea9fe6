"""`pympnode evaluate` and `pympnode rollout`."""

from __future__ import annotations

from typing import Any

import click

from . import options as o
from .output import print_json, table

WHERE = [
    click.option("--out", type=o.FILE, help="netCDF file to write."), *o.PARENTS, *o.FORCE,
]  # fmt: skip


@click.command()
@click.argument("model", type=o.FILE)
@click.argument("data", type=o.FILE, required=False)
@click.option("--system", type=str, help="Simulate a test set of this system instead of DATA.")
@click.option(
    "--threshold", type=float, show_default="0.4", help="Error (z units) that ends the valid time."
)
@click.option(
    "--horizon",
    "horizons",
    type=int,
    multiple=True,
    show_default="20 and 200",
    help="Steps at which errors of particles are taken; may be repeated.",
)
@click.option("--ignore-weights", is_flag=True, help="Leave out the weights of edges.")
@o.with_options(o.DATA, o.PARTICLES, WHERE, o.SET, o.CONFIG, o.JSON)
@click.pass_context
def evaluate(context: click.Context, as_json: bool, **_: Any) -> None:
    """Errors of MODEL (a file or a run folder) on DATA, beside simple baselines.

    \b
    Example:
      pympnode evaluate runs/kuramoto test.nc
      pympnode evaluate runs/kuramoto --system kuramoto --topology WS --trajectories 50 --seed 7
      pympnode evaluate runs/gravity --system gravity --particles 1000 --trajectories 10 --json
    """
    given = o.gather(context)
    o.check_target(context)
    from .. import _api, halves
    from ..datasets.reading import as_dataset

    model: Any = _api.load(given.pop("model"))
    path, out = (given.pop(name, None) for name in ("data", "out"))
    words = {
        name: given.pop(name)
        for name in ("threshold", "horizons", "ignore_weights")
        if name in given
    }
    if path is not None:
        if given:
            raise click.UsageError(f"DATA is given, so {', '.join(sorted(given))} has no effect")
        ds = as_dataset(path)
    elif "system" in given:
        asked = {"split": None, **o.data_keywords(given)}
        half = halves.half_of_model(model)
        asked = half.like_training_data(model, asked)
        ds = _api.simulate(**asked)
    else:
        raise click.UsageError("give DATA, or --system to simulate a test set")
    scores = _api.evaluate(model, ds, **words)
    if out is not None:
        from ..files import netcdf

        netcdf.write_netcdf(scores, out)
    particles = halves.half_of_evaluation(scores).has_horizons
    facts = _particle_facts(scores) if particles else _facts(scores)
    if as_json:
        print_json({"out": out, "trajectories": ds.sizes["trajectory"], "predictors": facts})
    else:
        table(*(_particle_rows(facts) if particles else _rows(facts, scores)))
        if "coverage" in scores:
            state, reading = (100 * scores["coverage"].mean(("time", "feature"))).values
            click.echo(
                f"the 90 % interval of states covers {state:.0f} %, of readings {reading:.0f} %"
            )


@click.command()
@click.argument("model", type=o.FILE)
@click.argument("data", type=o.FILE)
@click.option("--steps", type=int, show_default="of DATA", help="Time steps.")
@click.option("--dt", type=float, show_default="of DATA", help="Length of a time step.")
@click.option("--topology", help="Another graph than that of DATA: BA, ..., or a file of edges.")
@click.option("--topology-option", multiple=True, metavar="NAME=VALUE", help="Such as k=3.")
@click.option("--graph-seed", type=int, help="Seed of that graph.")
@click.option("--ignore-weights", is_flag=True, help="Leave out the weights of edges.")
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
    o.check_target(context)
    from .. import _api, halves
    from ..datasets.reading import as_dataset
    from ..files import netcdf

    model: Any = _api.load(given.pop("model"))
    words = o.data_keywords(given)
    data = as_dataset(words.pop("data"))
    unused = sorted(words.keys() - set(halves.half_of_model(model).rollout_options))
    if unused:
        flags = ", ".join("--" + name.replace("_", "-") for name in unused)
        raise click.UsageError(
            f"{flags} has no effect on a model of particles: it has one time step, {model.dt:g}, "
            "and builds its graph from the positions"
        )
    ds = model.rollout(data, **words)
    netcdf.write_netcdf(ds, out)
    nonfinite = int((~ds["finite"].values).sum())
    if as_json:
        print_json({"out": out, "sizes": dict(ds.sizes), "not_finite": nonfinite})
    else:
        bodies = [n for n in ds.sizes if n in ("node", "particle") or str(n).startswith("node_")]
        sizes = ", ".join(f"{name} {ds.sizes[name]}" for name in ("trajectory", "time", *bodies))
        click.echo(
            f"{out}: {sizes}" + (f"; {nonfinite} trajectories overflowed" if nonfinite else "")
        )


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
        if "rmse_z_type" in one:
            of_types = zip(one["node_type"].values, one["rmse_z_type"].values)
            found[name]["rmse_z_type"] = {str(each): float(error) for each, error in of_types}
        if "observable_rmse" in one:
            errors = zip(one["observable"].values, one["observable_rmse"].values)
            found[name]["observable_rmse"] = {str(each): float(error) for each, error in errors}
    if "coverage" in scores:
        for score in ("coverage", "crps", "sharpness"):
            mean = scores[score].mean("time")
            found["model"][score] = {
                str(target): {str(f): float(v) for f, v in zip(mean["feature"].values, row.values)}
                for target, row in zip(mean["target"].values, mean)
            }
    return found


def _rows(facts: dict[str, dict[str, Any]], scores: Any) -> tuple[Any, Any]:
    """Head and rows of the printed table for networks."""
    features = [str(f) for f in scores["feature"].values]
    types = [str(t) for t in scores["node_type"].values] if "node_type" in scores else []
    head = (
        "predictor", "rmse (z)", *(f"rmse (z) {t}" for t in types), *(f"rmse {f}" for f in features),
        "valid time", "loss",
    )  # fmt: skip
    rows = []
    for name, row in facts.items():
        of_types = row.get("rmse_z_type", {}).values()
        numbers = [row["rmse_z"], *of_types, *row["rmse"].values(), row["valid_time"], row["loss"]]
        rows.append((name, *(f"{number:.4g}" for number in numbers)))
    return head, rows


def _particle_facts(scores: Any) -> dict[str, dict[str, Any]]:
    """Each error by predictor and steps."""
    names = [str(n) for n, v in scores.data_vars.items() if v.dims == ("predictor", "horizon")]
    found: dict[str, dict[str, Any]] = {}
    for predictor in (str(p) for p in scores["predictor"].values):
        for steps in scores["horizon"].values.tolist():
            one = scores.sel(predictor=predictor, horizon=steps)
            values = {name: float(one[name]) for name in names}
            values["not_finite"] = int(values["not_finite"])
            found.setdefault(predictor, {})[str(steps)] = values
    return found


def _particle_rows(facts: dict[str, dict[str, Any]]) -> tuple[Any, Any]:
    """Head and rows of the printed table for particles; blank where an error needs unknown forces."""
    names = (
        "rmse_state", "rmse_published", "energy_error_per_particle", "momentum_error", "not_finite",
    )  # fmt: skip
    rows = [
        (predictor, steps, *(f"{values[name]:.4g}" if name in values else "" for name in names))
        for predictor, by_steps in facts.items()
        for steps, values in by_steps.items()
    ]
    return ("predictor", "steps", *names), rows
