"""Datasets of an experiment: simulated once, written to its folder, and read from there later."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from .. import _api
from ..datasets.names import TIME
from ..errors import FileDamaged
from ..files import netcdf
from ..halves import half_of_system, keywords_of
from .cells import fingerprint
from .validity import keyword

_LARGE = 500  # particles from which a trajectory takes seconds: written in parts, and continued


class Datasets:
    """The datasets in a folder, by the keywords of `pympnode.simulate`.

    All rows and seeds with the same keywords share a dataset: seeds differ in the initial weights and
    in the order of batches, as in the published tables.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: dict[str, xr.Dataset] = {}

    def get(self, data: Mapping[str, Any]) -> xr.Dataset:
        """The dataset of these keywords. Raises what `pympnode.simulate` raises."""
        name = f"{data['system']}-{fingerprint(data)}"
        if name not in self._held:
            # Two in memory are enough: one for training, one for evaluation.
            while len(self._held) > 1:
                self._held.pop(next(iter(self._held)))
            self._held[name] = self._made(name, data)
        return self._held[name]

    def _made(self, name: str, data: Mapping[str, Any]) -> xr.Dataset:
        if (
            "path" in keywords_of(half_of_system(data["system"]).Simulation)
            and data.get("particles", 100) >= _LARGE
        ):
            return simulated(data, path=self.folder / name)
        path = self.folder / f"{name}.nc"
        if path.exists():
            try:
                return netcdf.read_netcdf(path, checksums=True)
            except FileDamaged:
                path.unlink()  # simulated again from its seed, with the same numbers
        ds = simulated(data)
        netcdf.write_netcdf(ds, path, checksums=True)
        return ds


def parts(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The keywords of each dataset in ``data``: several where ``mixed`` lists changes, else one."""
    shared = {name: value for name, value in data.items() if name != "mixed"}
    return [{**shared, **changes} for changes in data.get("mixed", [{}])]


def simulated(data: Mapping[str, Any], **more: Any) -> xr.Dataset:
    """The dataset of the keywords of one test or training set in a file.

    ``initial`` is the name of the system whose random initial states are taken: those that it would
    have with the same nodes, trajectories and seed. Raises what `pympnode.simulate` raises.
    """
    words = {name: keyword(value) for name, value in data.items()}
    system, drawn_from = words.pop("system"), words.pop("initial", None)
    if drawn_from is not None:
        sizes = {n: words[n] for n in ("nodes", "trajectories", "seed") if n in words}
        first = _api.simulate(drawn_from, **sizes, steps=1)
        words.pop("trajectories", None)
        more["initial"] = first.state.isel({TIME: 0}).values
    return _api.simulate(system, **words, **more)
