"""Descriptions of files: models, run folders, datasets, evaluations, histories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..datasets.record import record
from ..errors import MissingFile


def describe(path: str) -> dict[str, Any]:
    """Facts about a file or run folder by name; ``kind`` comes first."""
    folder = Path(path)
    if folder.is_dir():
        return _folder(folder)
    from ..files import netcdf

    ds = netcdf.read_netcdf(path)
    facts = record(ds)
    kind = facts.get("kind")
    size = folder.stat().st_size
    if kind in ("model", "particle_model"):
        from ..halves import load

        model = load(path)
        about = {k: v for k, v in model.about.items() if not isinstance(v, dict)}
        return {"kind": kind, **model.lines(), **about, "bytes": size}
    if kind is None:
        kind = _guess(ds)
    known = {k: v for k, v in facts.items() if k != "kind"}
    variables = {
        str(name): " ".join(
            [f"({', '.join(map(str, v.dims))})", str(v.dtype), v.attrs.get("units", "")]
        ).strip()
        for name, v in ds.data_vars.items()
    }
    sizes = {str(k): int(v) for k, v in ds.sizes.items()}
    return {"kind": kind, "sizes": sizes, "variables": variables, **known, "bytes": size}


def _guess(ds: Any) -> str:
    if "counters" in ds:
        return "checkpoint"
    if "validation_loss" in ds:
        return "history"
    states = any(str(n) == "state" or str(n).startswith("state_") for n in ds.data_vars)
    return "dataset" if states or "position" in ds else "netCDF file of another kind"


def _folder(folder: Path) -> dict[str, Any]:
    import tomllib

    if not (folder / "config.toml").is_file():
        raise MissingFile(
            f"the folder {str(folder)!r} is no run folder",
            got=", ".join(sorted(p.name for p in folder.iterdir())[:6]) or "an empty folder",
            allowed="a folder given with --run, or a netCDF file",
        )
    from ..files import netcdf

    config = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
    points = sorted(p.name for p in (folder / "checkpoints").glob("*.nc"))
    # A model is written whenever a run ends, also after Ctrl-C; its record has the status.
    status = "no model yet"
    if (folder / "model.nc").is_file():
        about = record(netcdf.read_netcdf(folder / "model.nc")).get("about", {})
        status = str(about.get("status", "completed"))
    finished = status not in ("no model yet", "interrupted")
    facts: dict[str, Any] = {"kind": "run", "finished": finished, "status": status}
    facts["checkpoints"] = points
    if (folder / "history.nc").is_file():
        history = netcdf.read_netcdf(folder / "history.nc")
        losses = history["validation_loss"].values
        facts["epochs"] = int(history.sizes["epoch"])
        facts["best_validation_loss"] = float(losses.min()) if losses.size else None
    return {**facts, **config}
