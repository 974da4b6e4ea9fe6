"""`pympnode simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import options as o
from .output import print_json

PARTICLES = [
    *o.PARTICLES,
    click.option("--start", type=o.FILE, show_default="random", help="random, plummer, or a dataset of particles."),
    click.option("--integrator", type=o.choice("block", "global"), show_default="block",
                 help="Time steps of gravity and coulomb: of each particle, or one for all."),
    click.option("--dtype", type=o.choice(*o.DTYPES), show_default="float64",
                 help="As particles are stored."),
    click.option("--path", type=o.FILE, help="Folder for parts of particles, instead of --out."),
]  # fmt: skip
SOLVING = [
    click.option(
        "--tolerance", type=float, show_default="1e-8", help="Of the adaptive integrator."
    ),
    click.option(
        "--engine", type=o.choice(*o.ENGINES), show_default="auto", help="What integrates."
    ),
    click.option("--out", type=o.FILE, help="netCDF file to write."),
]


@click.command()
@o.with_options(o.SYSTEM, o.DATA, PARTICLES, SOLVING, o.PARENTS, o.FORCE, o.SET, o.CONFIG, o.JSON)
@click.pass_context
def simulate(context: click.Context, as_json: bool, **_: Any) -> None:
    """Simulate a SYSTEM from random initial states and write a dataset.

    \b
    Example:
      pympnode simulate kuramoto --topology BA --topology-option k=3 --nodes 20 \\
          --trajectories 100 --out kuramoto.nc
      pympnode simulate gravity --particles 1000 --set workers=8 --path data/gravity
    """
    given = o.gather(context)
    out, path = given.pop("out", None), given.get("path")
    if (out is None) is (path is None):
        raise click.UsageError(
            "say where the dataset goes: --out FILE.nc, or --path FOLDER for parts of particles"
        )
    if "system" not in given:
        raise click.UsageError("name a system: pympnode simulate kuramoto (see pympnode systems)")
    o.check_target(context)
    from .. import _api
    from ..datasets.reading import as_dataset
    from ..files import netcdf

    words = o.data_keywords(given)
    if "start" in words and Path(words["start"]).exists():
        words["start"] = as_dataset(words["start"])
    ds = _api.simulate(**words)
    if out is not None:
        netcdf.write_netcdf(ds, out)
    if as_json:
        print_json({"out": out or path, "system": given["system"], "sizes": dict(ds.sizes)})
    else:
        sizes = ", ".join(f"{name} {size}" for name, size in ds.sizes.items())
        click.echo(f"{out or path}: {given['system']}, {sizes}")
