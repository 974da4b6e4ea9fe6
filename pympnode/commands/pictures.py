"""`pympnode plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import options as o
from .output import print_json

LAYOUTS = ("spring", "kamada_kawai", "circular", "spectral", "grid")

# Kind -> (function, files it takes, its options).
KINDS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "prediction": ("prediction", "ROLLOUT [DATA]", ("trajectory",)),
    "parity": ("parity", "ROLLOUT DATA", ()),
    "phase-portrait": ("phase_portrait", "ROLLOUT [DATA]", ("trajectory", "features")),
    "message-norms": ("message_norms", "ROLLOUT", ("trajectory",)),
    "training-curves": ("training_curves", "RUN or HISTORY", ()),
    "error-over-time": ("error_over_time", "EVALUATION", ("feature",)),
    "error-by-type": ("error_by_type", "EVALUATION", ()),
    "observables": ("observables", "EVALUATION", ("trajectory",)),
    "error-by-degree": ("error_by_degree", "ROLLOUT DATA", ("feature",)),
    "comparison": ("comparison", "EVALUATION ...", ()),
    "graph": ("graph_state", "DATA", ("trajectory", "feature", "time", "times", "layout")),
    "grid": ("grid_state", "DATA", ("trajectory", "feature", "times")),
    "quadrotors": ("quadrotor_paths", "ROLLOUT [DATA]", ("trajectory", "times")),
    "quadrotor-forces": ("quadrotor_forces", "ROLLOUT [DATA]", ("trajectory",)),
    "quadrotor-animation": ("animate_quadrotors", "ROLLOUT [DATA]", ("trajectory",)),
    "particles": ("particle_trajectories", "ROLLOUT [DATA]", ("trajectory", "quantile")),
    "conservation": ("conservation", "ROLLOUT [DATA]", ("trajectory",)),
    "cells": ("hierarchy_of", "PARTICLES", ("trajectory", "time", "particle")),
    "particle-animation": ("animate_particles", "PARTICLES", ("trajectory", "quantile")),
    "animation": ("animate", "DATA", ("trajectory", "feature", "layout")),
}


class Kind(click.Choice):
    """A kind of picture, also by the name of the function that draws it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        found = str(value).replace("_", "-")
        by_function = {function.replace("_", "-"): kind for kind, (function, *_) in KINDS.items()}
        return super().convert(
            found if found in KINDS else by_function.get(found, found), param, ctx
        )


@click.command()
@click.argument("kind", type=Kind(list(KINDS)), metavar="KIND")
@click.argument("files", nargs=-1, required=True, type=o.FILE)
@click.option("--trajectory", type=int, help="Trajectory to draw, from 0.")
@click.option("--feature", multiple=True, help="Feature to draw; may be repeated.")
@click.option("--time", multiple=True, type=float, help="Time to draw; may be repeated.")
@click.option("--particle", type=int, help="Particle whose cells are drawn, from 0.")
@click.option(
    "--layout", type=o.choice(*LAYOUTS), show_default="spring", help="Where nodes are drawn."
)
@click.option(
    "--quantile",
    type=float,
    show_default="0.9",
    help="Share of particles that the picture fits where others go far; 1 for all.",
)
@click.option(
    "--figsize",
    type=(float, float),
    metavar="WIDTH HEIGHT",
    help="Size of the picture in inches; 3.4 2.6 for a column of a paper.",
)
@click.option("--dpi", type=int, default=150, show_default=True, help="Pixels an inch.")
@click.option(
    "--out",
    type=o.FILE,
    help="Picture to write: .png, .pdf, .svg; .gif, .html, .mp4, .webm (with ffmpeg) to animate. "
    "One that is there is replaced.",
)
@o.with_options(o.PARENTS, o.JSON)
@click.pass_context
def plot(
    context: click.Context,
    kind: str,
    files: tuple[str, ...],
    trajectory: int | None,
    feature: tuple[str, ...],
    time: tuple[float, ...],
    particle: int | None,
    layout: str | None,
    quantile: float | None,
    figsize: tuple[float, float] | None,
    dpi: int,
    out: str | None,
    parents: bool,
    as_json: bool,
) -> None:
    """Draw a picture of KIND from FILES and write it.

    \b
    KIND and its FILES:
      prediction, phase-portrait            ROLLOUT [DATA], DATA the truth
      parity, error-by-degree               ROLLOUT DATA
      message-norms                         ROLLOUT
      training-curves                       RUN or HISTORY
      error-over-time, error-by-type,
      observables                           EVALUATION
      comparison                            EVALUATION ..., each FILE or NAME=FILE
      graph, grid, animation                DATA
      quadrotors, quadrotor-forces,
      quadrotor-animation,
      particles, conservation               ROLLOUT [DATA]
      cells, particle-animation             DATA of particles

    \b
    Example:
      pympnode plot prediction predicted.nc test.nc --out prediction.png
      pympnode plot graph test.nc --time 0 --layout circular --out graph.png
      pympnode plot particles predicted.nc test.nc --out paths.png
    """
    if out is None:
        raise click.UsageError("say where the picture goes: --out PICTURE.png")
    o.check_target(context, replaces=True)
    function, wanted, takes = KINDS[kind]
    given: dict[str, Any] = {
        "trajectory": trajectory,
        "particle": particle,
        "layout": layout,
        "quantile": quantile,
    }
    if "features" in takes:
        given["features"] = list(feature) or None
    else:
        given["feature"] = _only("--feature", feature)
    if "times" in takes and (len(time) > 1 or "time" not in takes):
        given["times"] = list(time) or None
    else:
        given["time"] = _only("--time", time)
    words = {name: value for name, value in given.items() if value is not None}
    for name in words:
        if name not in takes:
            raise click.UsageError(f"--{name.rstrip('s')} has no effect on {kind}")
    words_of = wanted.replace("RUN or ", "").split()
    if figsize is not None:
        words["figsize"] = figsize
    least = sum(1 for word in words_of if word[0].isalpha())
    if len(files) < least or (len(files) > len(words_of) and words_of[-1] != "..."):
        raise click.UsageError(f"{kind} takes {wanted}, and there are {len(files)} files")
    import matplotlib

    matplotlib.use("agg")
    if function.startswith("animate"):
        from ..plotting.animation import writer_of

        writer_of(Path(out))  # before anything is drawn
    from .. import plotting
    from ..halves import half_of_evaluation

    inputs = _inputs(kind, files)
    if kind == "error-over-time" and half_of_evaluation(inputs[0]).has_horizons:
        function = "particle_error_over_time"
        if "feature" in words:
            raise click.UsageError("--feature has no effect on an evaluation of particles")
    if "ROLLOUT" in wanted and kind != "message-norms":
        words |= _in_order(kind, inputs)
        inputs = []
    drawn = getattr(plotting, function)(*inputs, **words)
    _save(drawn, Path(out), dpi)
    if as_json:
        print_json({"out": out, "kind": kind})
    else:
        click.echo(out)


def _in_order(kind: str, inputs: list[Any]) -> dict[str, Any]:
    """The datasets by the names of the arguments, also of the order of version 0.1: the truth first."""
    from ..plotting.order import is_prediction

    if len(inputs) == 2 and is_prediction(inputs[1]) and not is_prediction(inputs[0]):
        inputs = inputs[::-1]
        if kind not in ("particles", "conservation"):
            click.echo(
                f"warning: {kind} takes the rollout before the data; version 0.3 takes no other order",
                err=True,
            )
    return dict(zip(("predicted", "truth"), inputs))


def _only(option: str, values: tuple[Any, ...]) -> Any:
    if len(values) > 1:
        raise click.UsageError(f"{option} is given once here")
    return values[0] if values else None


def _inputs(kind: str, files: tuple[str, ...]) -> list[Any]:
    from ..datasets.reading import as_dataset
    from ..files import netcdf

    if kind == "training-curves":
        return [netcdf.read_netcdf(netcdf.inside_run(files[0], "history.nc"))]
    if kind == "comparison":
        named = {}
        for text in files:
            name, equals, path = text.partition("=")
            named[name if equals else Path(text).stem] = netcdf.read_netcdf(path or text)
        return [named]
    return [as_dataset(path) for path in files]


def _save(drawn: Any, out: Path, dpi: int) -> None:
    from ..files.writing import make_folder, writing

    make_folder(out.parent)
    with writing(out):
        _draw_to(drawn, out, dpi)


def _draw_to(drawn: Any, out: Path, dpi: int) -> None:
    if hasattr(drawn, "to_jshtml"):
        drawn.save(out, dpi=min(dpi, 100))
        return
    import numpy as np

    figure = np.ravel(np.asarray(drawn, dtype=object))[0].figure
    try:
        figure.savefig(out, dpi=dpi)
    except ValueError as error:
        raise click.UsageError(f"cannot write {out.name!r}: {error}") from error
