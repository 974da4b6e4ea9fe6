"""Seeds of trajectories and the split: which trajectories train, validate and test."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import InvalidData, InvalidOption, one_line, shown_value
from ..files.netcdf import checksum
from .names import NODE_NUMBER, SPLIT, SPLITS, TRAJECTORY, texts
from .record import record

# Streams of random numbers of a trajectory. Each has its own generator, so that drawing more of
# one changes none of the others.
INITIAL_STREAM, CONTROL_STREAM, NOISE_STREAM, SPLIT_STREAM, PARAMETER_STREAM = range(5)


def rng_of(seed: int, stream: int, trajectory: int) -> np.random.Generator:
    """The random generator of one stream of one trajectory; it depends on these three only."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, trajectory)))


def split_trajectories(
    trajectories: int, share: float = 0.7, seed: int = 0, first: int = 0
) -> np.ndarray:
    """Which trajectories train: int8 (trajectory,), 0 train, 1 validation.

    Exactly round(share * trajectories) train. Trajectories are numbered from ``first``. Raises
    InvalidOption for a share outside 0 to 1.
    """
    share = _share(share)
    draw = [rng_of(seed, SPLIT_STREAM, first + i).random() for i in range(trajectories)]
    out = np.ones(trajectories, dtype=np.int8)
    out[np.argsort(draw, kind="stable")[: round(share * trajectories)]] = 0
    return out


def _share(value: Any) -> float:
    if (
        isinstance(value, bool | np.timedelta64)
        or not isinstance(value, Real)
        or not 0.0 <= float(value) <= 1.0
    ):
        raise InvalidOption(
            "split is the training share",
            got=shown_value(value),
            allowed="0 to 1",
            fix="0.7 is usual",
        )
    return float(value)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Trajectories to test on, and their label: "test", "validation", or "train" for want of others."""

    data: xr.Dataset
    label: str


def held_out_of(datasets: Sequence[xr.Dataset], labels: Sequence[NDArray[np.str_]]) -> HeldOut:
    """The trajectories labelled "test" of the first dataset that has some; without any, those
    labelled "validation", then "train".

    ``labels``: text (trajectory,) of each dataset.
    """
    for name in ("test", "validation", "train"):
        for ds, marks in zip(datasets, labels, strict=True):
            chosen = np.flatnonzero(marks == name)
            if chosen.size:
                return HeldOut(ds.isel({TRAJECTORY: chosen}), name)
    return HeldOut(datasets[0], "train")


def labels_of(ds: xr.Dataset, split: float, seed: int) -> NDArray[np.str_]:
    """Labels (trajectory,): the variable ``split``, else a draw with that share for training.

    Raises InvalidOption for a share that is not above 0 and at most 1.
    """
    if SPLIT in ds:
        return texts(ds[SPLIT].values).astype("U10")
    split = _share(split)
    if not 0 < split:
        raise InvalidOption(
            "split is the share of the trajectories that train",
            got=split,
            allowed="above 0, at most 1",
            fix="leave split=0.7",
        )
    drawn = split_trajectories(ds.sizes[TRAJECTORY], split, seed)
    return np.array(SPLITS, dtype="U10")[drawn]


def is_unsplit(ds: xr.Dataset) -> bool:
    """Whether a dataset is one simulated trajectory, which `simulate` labels without a choice."""
    return record(ds).get("kind") == "simulation" and list(texts(ds[SPLIT].values)) == ["train"]


def data_fingerprint(datasets: Sequence[xr.Dataset], split: float, seed: int) -> dict[str, Any]:
    """What identifies the data of a run in its folder.

    "sha256" of all variables and coordinates, and "split": for each label its number of
    trajectories by dataset, and the "sha256" of all labels.
    """
    values, marks = hashlib.sha256(), hashlib.sha256()
    counts: dict[str, Any] = {name: [] for name in SPLITS}
    for ds in datasets:
        for name in sorted(map(str, ds.variables)):
            if name == NODE_NUMBER:  # follows from the number of nodes; older files lack it
                continue
            values.update(name.encode() + checksum(ds[name].values).encode())
        labels = labels_of(ds, split, seed)
        marks.update(checksum(labels).encode())
        for name, found in counts.items():
            found.append(int((labels == name).sum()))
    return {"sha256": values.hexdigest(), "split": {**counts, "sha256": marks.hexdigest()}}


def check_split(ds: xr.Dataset) -> None:
    """Raise InvalidData unless ``split``, where there is one, labels every trajectory."""
    if SPLIT not in ds:
        return
    if ds[SPLIT].dims != (TRAJECTORY,):
        raise InvalidData(
            "'split' has the wrong dims",
            got=f"({', '.join(map(str, ds[SPLIT].dims))})",
            allowed=f"({TRAJECTORY},): one label for each trajectory",
            fix='ds["split"] = ("trajectory", ["train", ...])',
        )
    found = set(texts(ds[SPLIT].values).ravel().tolist())
    if not found <= set(SPLITS):
        raise InvalidData(
            "'split' holds unknown names",
            got=one_line(", ".join(sorted(found))),
            allowed=", ".join(SPLITS),
            fix='ds["split"] = ("trajectory", ["train", ...])',
        )
