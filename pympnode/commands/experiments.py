"""`pympnode experiment list | show | run | table`."""

from __future__ import annotations

import sys
from typing import Any

import click

from . import options as o
from .output import print_json, table


def _names() -> tuple[str, ...]:
    from ..experiments.catalogue import names

    return names()


NAME = [click.argument("name", type=o.Name("experiment", _names))]
OUT = [click.option("--out", type=o.FILE, help="Folder of the cells; experiments/NAME.")]
LENGTH = [
    click.option("--budget", default="10m", show_default=True,
                 help='Training of each run: 20m, 600, "500 updates", "30 epochs".'),
    click.option("--seeds", type=int, default=3, show_default=True, help="Runs of each row."),
    click.option("--set", "settings", multiple=True, metavar="NAME=VALUE",
                 help="For all rows, such as train.preset=paper or data.trajectories=50."),
]  # fmt: skip


@click.group()
def experiment() -> None:
    """Published tables and figures: list them, run them, print the finished rows.

    NAME is one of `pympnode experiment list`, or a TOML file.

    \b
    Example:
      pympnode experiment list
      pympnode experiment show nbody_levels --budget 20m --seeds 3
      pympnode experiment run nbody_levels --budget 20m --seeds 3
      pympnode experiment table nbody_levels
    """


@experiment.command("list")
@o.with_options(o.JSON)
def list_command(as_json: bool) -> None:
    """List the experiments.

    \b
    Example:
      pympnode experiment list
    """
    from ..experiments.catalogue import described, names

    found = [described(name) for name in names()]
    if as_json:
        print_json([{"name": e.name, "title": e.title, "source": e.source} for e in found])
        return
    table(("name", "rows", "what"), [(e.name, str(len(e.rows)), e.title) for e in found])


@experiment.command("show")
@o.with_options(NAME, LENGTH, o.JSON)
def show_command(
    name: str, budget: str, seeds: int, settings: tuple[str, ...], as_json: bool
) -> None:
    """Show the rows of NAME, its source, and its cost at a budget.

    \b
    Example:
      pympnode experiment show nbody_levels --budget 20m --seeds 3
    """
    from .. import experiments
    from ..experiments.budget import Budget
    from ..experiments.cells import runs_of, total

    found = experiments.experiment(name, o.pairs(settings, "set"))
    length = Budget.of(budget)
    runs = runs_of(found, length, seeds)
    if as_json:
        print_json({
            "name": found.name, "title": found.title, "source": found.source, "note": found.note,
            "rows": [{"name": r.name, "data": dict(r.data), "train": dict(r.train),
                      "start": r.start, "start_data": r.start_data, "start_train": r.start_train}
                     for r in found.rows],
            "tests": {t.name: dict(t.data) for t in found.tests},
            "columns": list(found.columns), "figures": list(found.figures), "runs": len(runs), "total": total(found, length, seeds),
        })  # fmt: skip
        return
    click.echo(f"{found.name}: {found.title}\nsource: {found.source}\n")
    if found.note:
        click.echo(click.wrap_text(found.note, 92) + "\n")
    if found.start_data is not None and found.start_train is not None:
        click.echo(f"start: {_words({**found.start_data, **found.start_train})}")
        for row in found.rows:
            if row.start and (row.start_data, row.start_train) != (
                found.start_data,
                found.start_train,
            ):
                words = _words({**(row.start_data or {}), **(row.start_train or {})})
                click.echo(f"start of {row.name}: {words}")
    rows = [(r.name, r.start or "train", _words({**r.data, **r.train})) for r in found.rows]
    table(("row", "", "data and training"), rows)
    click.echo()
    table(("test", "data over those of the row"), [(t.name, _words(t.data)) for t in found.tests])
    click.echo(f"\ncolumns: {', '.join(found.columns)}")
    click.echo(f"at {length.in_words()} a run and {seeds} seeds: {total(found, length, seeds)}")


@experiment.command("run")
@click.option("--device", type=o.DEVICE, default="auto", show_default=True, help="auto, cpu, cuda.")
@click.option("--retry", is_flag=True, help="Run failed cells again.")
@click.option("--scheduler", metavar="ADDRESS", help="A Dask scheduler; its workers run the cells.")
@click.option("--workers", type=click.IntRange(1), help="Dask workers, started here for the run.")
@o.with_options(NAME, LENGTH, OUT, o.JSON)
def run_command(
    name: str, budget: str, seeds: int, settings: tuple[str, ...], out: str | None,
    device: str, retry: bool, scheduler: str | None, workers: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Train and evaluate the rows of NAME; the same command continues where it stopped.

    Ctrl-C keeps every finished cell and the state of the one that is training. The exit status is
    1 if every cell failed.

    \b
    Example:
      pympnode experiment run nbody_levels --budget 20m --seeds 3
      pympnode experiment run nbody_gravity --budget 24h --set train.preset=paper --device cuda
      pympnode experiment run nbody_levels --budget "500 updates" --workers 4
    """
    from .. import experiments
    from ..tasks import client_of

    try:
        with client_of(scheduler, workers) as client:
            ds = experiments.run(
                name, budget=budget, seeds=seeds, out=out, settings=o.pairs(settings, "set"),
                device=device, retry=retry, progress=not as_json and sys.stderr.isatty(),
                report=lambda line: click.echo(line, err=True), client=client,
            )  # fmt: skip
    except KeyboardInterrupt:
        click.echo("interrupted; the same command continues", err=True)
        raise
    _print(experiments, name, out, ds, as_json)
    if (ds["status"] == "failed").all():
        click.echo("every cell failed; --retry runs them again", err=True)
        raise SystemExit(1)


@experiment.command("table")
@o.with_options(NAME, OUT, o.JSON)
def table_command(name: str, out: str | None, as_json: bool) -> None:
    """Print the table of the finished cells of NAME, in Markdown.

    \b
    Example:
      pympnode experiment table nbody_levels
    """
    from .. import experiments

    ds = experiments.results(name, out=out) if as_json else None
    _print(experiments, name, out, ds, as_json)


def _print(experiments: Any, name: str, out: str | None, ds: Any, as_json: bool) -> None:
    if as_json:
        print_json(ds.to_dict())
    else:
        click.echo(experiments.table(name, out=out), nl=False)


def _words(values: Any) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
