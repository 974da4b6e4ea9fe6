"""`pympnode sweep`."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from . import options as o
from .output import print_json, table

CELLS = [
    click.option("--grid", multiple=True, metavar="NAME=VALUES",
                 help="A keyword of train and its values: hidden=16,32; may be repeated."),
    click.option("--halving", type=int, help="3: the best third goes on to 3 times the epochs, ..."),
    click.option("--rungs", type=int, help="The most lengths, the first included."),
    click.option("--retry", is_flag=True, help="Train failed cells again."),
    click.option("--scheduler", metavar="ADDRESS", help="A Dask scheduler; its workers run the cells."),
    click.option("--workers", type=click.IntRange(1), help="Dask workers, started here for the call."),
    click.option("--start", type=o.FILE, help="A model that all cells continue from."),
]  # fmt: skip


@click.command()
@o.with_options(
    o.SYSTEM, o.DATA, o.PARTICLES, CELLS, o.MODEL, o.PARTICLE_MODEL, o.TRAINING, o.SET, o.CONFIG,
    o.JSON,
)  # fmt: skip
@click.pass_context
def sweep(context: click.Context, as_json: bool, **_: Any) -> None:
    """Train SYSTEM, or given --data, for every combination of --grid; the folder is --run.

    The same command goes on where it stopped. The exit status is 1 if every cell failed.

    \b
    Example:
      pympnode sweep kuramoto --grid hidden=16,32 --grid learning_rate=0.003,0.01 \\
          --epochs 2 --halving 2 --run sweeps/kuramoto --workers 4
    """
    from ..experiments.sweeping import sweep as run_sweep
    from ..tasks import client_of

    words = o.data_keywords(o.gather(context))
    texts = words.pop("grid", ())
    if not texts or "run" not in words:
        raise click.UsageError("give --grid hidden=16,32 and the folder of the sweep, --run DIR")
    grid = {name: _values(text) for name, text in o.pairs(texts, "grid").items()}
    progress = words.pop("progress", "auto")
    files = words.pop("data", ())
    words["data"] = list(files) or None
    words["progress"] = progress == "on" or (
        progress == "auto" and not as_json and sys.stderr.isatty()
    )
    scheduler, workers = words.pop("scheduler", None), words.pop("workers", None)
    try:
        with client_of(scheduler, workers) as client:
            ds = run_sweep(
                grid, **words, client=client, report=lambda line: click.echo(line, err=True)
            )
    except KeyboardInterrupt:
        click.echo("interrupted; the same command goes on", err=True)
        raise
    cells = ds.stack(all_cells=list(grid), create_index=False).sortby("validation_loss")
    if as_json:
        print_json(ds.to_dict())
    else:
        head = (*grid, "validation loss", "status", "updates", "folder")
        rows = [
            (*(str(c[name].item()) for name in grid), f"{c.validation_loss.item():.4g}",
             str(c.status.item()), str(c.updates.item()), str(c.folder.item()))
            for _, c in cells.groupby("all_cells")
        ]  # fmt: skip
        table(head, rows)
    if (ds["status"] == "failed").all():
        raise SystemExit(1)


def _values(value: Any) -> list[Any]:
    """The values of a keyword: a list, one value, or a text of several with commas."""
    if isinstance(value, list):
        return value
    if not isinstance(value, str):
        return [value]
    found: list[Any] = []
    for text in value.split(","):
        try:
            found.append(json.loads(text))
        except ValueError:
            found.append(text)
    return found
