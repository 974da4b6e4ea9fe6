"""`pympnode simulate`."""

from __future__ import annotations

from typing import Any

import click

from . import options as o
from .output import print_json

PARTICLES = [
    click.option("--particles", type=int, help="Number of particles (gravity, coulomb)."),
    click.option("--dims", type=int, help="2 or 3 (gravity, coulomb)."),
]
SOLVING = [
    click.option("--tolerance", type=float, help="Of the adaptive integrator; 1e-8 by default."),
    click.option("--engine", help="auto, torch or julia."),
    click.option("--out", type=o.FILE, help="netCDF file to write."),
]


@click.command()
@o.with_options(o.SYSTEM, o.DATA, PARTICLES, SOLVING, o.CONFIG, o.JSON)
@click.pass_context
def simulate(context: click.Context, as_json: bool, **_: Any) -> None:
    """Simulate a SYSTEM from random initial states and write a dataset.

    \b
    Example:
      pympnode simulate kuramoto --topology BA --topology-option k=3 --nodes 20 \\
          --trajectories 100 --out kuramoto.nc
    """
    given = o.gather(context)
    out = given.pop("out", None)
    if out is None:
        raise click.UsageError("say where the dataset goes: --out FILE.nc")
    if "system" not in given:
        raise click.UsageError("name a system: pympnode simulate kuramoto (see pympnode systems)")
    from .. import _api, storage

    ds = _api.simulate(**o.data_keywords(given))
    storage.write_netcdf(ds, out)
    if as_json:
        print_json({"out": out, "system": given["system"], "sizes": dict(ds.sizes)})
    else:
        sizes = ", ".join(f"{name} {size}" for name, size in ds.sizes.items())
        click.echo(f"{out}: {given['system']}, {sizes}")
