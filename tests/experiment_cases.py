"""Small experiments, and their files, for the tests of experiments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tomli_w
import xarray as xr

PARTICLES: dict[str, Any] = {
    "title": "Tiny particles",
    "source": "nowhere",
    "note": "Says nothing.",
    "columns": ["rmse_published_4", "energy_error_4", "not_finite_4", "updates"],
    "beside": ["free_flight", "constant_acceleration"],
    "data": {"system": "gravity", "particles": 16, "trajectories": 4, "steps": 4},
    "train": {"batch_size": 2, "edge_width": 8, "node_width": 8, "kernel": "eager"},
    "grid": {"train": {"levels": [2, 3]}},
    "test": [
        {"name": "held out", "trajectories": 2},
        {"name": "N = 9", "particles": 9, "trajectories": 2},
    ],
    "published": [{"row": "levels 2", "rmse_published_4": ".1 ± .02"}],
}
NETWORK: dict[str, Any] = {
    "title": "Tiny network",
    "source": "nowhere",
    "columns": ["loss", "rmse_z", "valid_time", "loss_epochs"],
    "beside": ["persistence", "uncoupled"],
    "data": {
        "system": "kuramoto", "nodes": 4, "topology": "ring", "trajectories": 10, "steps": 5,
    },
    "train": {"kernel": "eager", "hidden": 4},
    "start": {"data": {"topology": "complete"}},
    "row": [
        {"name": "as it is", "start": "unchanged"},
        {"name": "fine-tuned", "start": "finetune"},
        {"name": "scratch"},
    ],
    "test": [{"name": "ring", "trajectories": 3}],
}  # fmt: skip
QUICK: dict[str, Any] = dict(seeds=1, progress=False, device="cpu")


def written(folder: Path, values: dict[str, Any], name: str = "tiny") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(tomli_w.dumps(values), encoding="utf-8")
    return path


def changed(values: dict[str, Any], **parts: Any) -> dict[str, Any]:
    out = json.loads(json.dumps(values))
    for name, part in parts.items():
        out[name] = (
            {**out[name], **part}
            if isinstance(part, dict) and isinstance(out.get(name), dict)
            else part
        )
    return out


def numbers(ds: xr.Dataset) -> xr.Dataset:
    """The results without measured times, which differ at every run."""
    return ds.drop_vars([name for name in ("seconds", "forward_ms") if name in ds])


def cell_files(out: Path) -> list[Path]:
    return sorted((out / "cells").glob("*/seed-*.json"))
