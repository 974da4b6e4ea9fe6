"""`pympnode train` and `pympnode finetune`."""

from __future__ import annotations

import logging
import sys
from typing import Any

import click

from . import options as o
from .output import print_json

OPTIONS = [
    *o.SYSTEM, *o.DATA, *o.PARTICLES, *o.MODEL, *o.PARTICLE_MODEL, *o.TRAINING, *o.ONE_RUN, *o.SET,
]  # fmt: skip
START = [click.option("--start", type=o.FILE, help="A model to continue from (see finetune).")]


@click.command()
@o.with_options(OPTIONS, o.PARENTS, o.FORCE, START, o.CONFIG, o.JSON)
@click.pass_context
def train(context: click.Context, as_json: bool, **_: Any) -> None:
    """Train a simulator of SYSTEM, or of given --data.

    With --run DIR the run can be stopped at any time (Ctrl-C) and continued by the same command;
    DIR holds model.nc, history.nc, checkpoints and the configuration.

    \b
    Example:
      pympnode train kuramoto --topology BA --epochs 40 --run runs/kuramoto
      pympnode train gravity --particles 100 --time-budget 3m --run runs/gravity
      pympnode train gravity --levels 3 --set update=direct --set micro_batch=4 --run runs/direct
    """
    _train(context, as_json)


@click.command()
@click.argument("start", type=o.FILE)
@o.with_options(OPTIONS, o.PARENTS, o.FORCE, o.CONFIG, o.JSON)
@click.pass_context
def finetune(context: click.Context, as_json: bool, **_: Any) -> None:
    """Train on from the model START, on its own system by default.

    \b
    Example:
      pympnode finetune lorenz3.nc --nodes 10 --trajectories 50 --epochs 10 --out lorenz10.nc
      pympnode finetune runs/gravity --particles 1000 --time-budget 3m --run runs/gravity1000
    """
    _train(context, as_json)


def _show_lines() -> None:
    """Write the lines of the log that stand for a bar where there is no terminal to stderr."""
    lines = logging.getLogger("pympnode.training.progress")
    if not lines.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        lines.addHandler(handler)
    lines.setLevel(logging.INFO)


def _train(context: click.Context, as_json: bool) -> None:
    given = o.gather(context)
    out = given.pop("out", None)
    run = given.get("run")
    if out is None and run is None:
        raise click.UsageError("say where the model goes: --run DIR, or --out MODEL.nc")
    # The same call continues a run, and ends by writing the same file.
    o.check_target(context, replaces=run is not None)
    progress = given.pop("progress", "auto")
    words = o.data_keywords(given)
    files = list(words.pop("data", ()))
    start = words.pop("start", None)
    if start is None and "system" not in words and not files:
        raise click.UsageError("name a system or data: pympnode train kuramoto, or --data FILE.nc")
    from .. import _api

    if files:
        words["data"] = files
    words["progress"] = progress == "on" or (progress == "auto" and not as_json)
    if words["progress"] and not sys.stderr.isatty():
        _show_lines()
    try:
        result = _api.finetune(start, **words) if start else _api.train(**words)
    except KeyboardInterrupt:
        if run is not None:
            click.echo(f"interrupted; the same command continues the run in {run}", err=True)
        raise
    from ..training.processes import is_first

    if not is_first():  # of the processes of torchrun one writes
        return
    if out is not None:
        result.model.save(out)
    facts = {
        "status": result.status,
        "reason": result.reason,
        "best_loss": result.best_loss,
        "best_epoch": result.best_epoch,
        "epochs": result.history.sizes["epoch"],
        "updates": result.updates,
        "seconds": result.seconds,
        "engine": result.engine,
        "kernel": result.kernel,
        "device": result.device,
        "loaded": list(result.restored_tensors),
        "model": out if out is not None else f"{run}/model.nc",
        "run": run,
    }
    lost = out is None and result.save_error is not None
    if lost:
        facts["model"] = None
    if as_json:
        print_json(facts)
    else:
        click.echo(repr(result))
        if not lost:
            click.echo(f"{'saved':<12} {facts['model']}")
    if out is None and result.save_error is not None:
        raise result.save_error
