"""Preparation: datasets of any origin made ready for training: checked, split, in z units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from . import schema
from .data.generate import split_trajectories
from .data.normalise import Normalisation
from .errors import InvalidData, InvalidOption
from .schema import Arrays


@dataclass(frozen=True, eq=False)
class Prepared:
    """Training data. ``physical`` and ``scaled`` hold the same datasets in both units; ``train`` and
    ``validation`` number their trajectories one dataset after the other."""

    physical: list[Arrays]
    scaled: list[Arrays]
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    state: Normalisation
    control: Normalisation | None
    attribute: Normalisation | None
    features: tuple[str, ...]
    units: tuple[str, ...]
    controls: tuple[str, ...]
    attributes: tuple[str, ...]
    parameters: dict[str, Any]
    graphs: tuple[str, ...]
    system: str
    time_unit: str


def prepare(
    datasets: Sequence[xr.Dataset],
    *,
    split: float,
    seed: int,
    missing: schema.Missing,
    training_noise: float,
    dtype: str,
    scales: tuple[Normalisation, Normalisation | None, Normalisation | None] | None,
) -> Prepared:
    """Check, split and normalise; ``scales`` of a start model are kept when given."""
    if not datasets:
        raise InvalidData("there are no datasets", got="an empty list", allowed="at least one")
    physical = [schema.pack(ds, missing=missing) for ds in datasets]
    _agree(datasets, physical)
    labels = np.concatenate([labels_of(ds, split, seed) for ds in datasets])
    state, control, attribute = scales or (None, None, None)
    state = state or _fit([a.x for a in physical], [a.mask for a in physical])
    if control is None and physical[0].u is not None:
        # The last control of a trajectory is never used and may be missing.
        control = _fit([a.u[:, :-1] for a in physical if a.u is not None])
    if attribute is None and physical[0].attribute is not None:
        attribute = _fit([a.attribute for a in physical if a.attribute is not None])
    scaled, at = [], 0
    for number, arrays in enumerate(physical):
        x = state.apply(arrays.x)
        here = labels[at : at + arrays.trajectories] == "train"
        if training_noise:
            rng = np.random.default_rng([seed, 3, number])
            x[here] += training_noise * rng.standard_normal(x[here].shape)
        scaled.append(
            replace(
                arrays,
                x=x.astype(dtype),
                u=None if arrays.u is None or control is None else control.apply(arrays.u),
                attribute=None
                if arrays.attribute is None or attribute is None
                else attribute.apply(arrays.attribute),
            )
        )
        at += arrays.trajectories
    first = datasets[0]
    features = tuple(str(f) for f in first[schema.FEATURE].values)
    units = ("1",) * len(features)
    if schema.UNIT in first.coords:
        units = tuple(str(u) for u in first[schema.UNIT].values)
    facts = schema.record(first)
    parameters = dict(facts.get("parameters", {}))
    for name in first.data_vars:
        if name not in schema.OWN_VARIABLES:
            parameters[str(name)] = first[name].values
    graphs = tuple(text for ds in datasets for text in schema.record(ds).get("topology", ()))
    return Prepared(
        physical,
        scaled,
        np.flatnonzero(labels == "train"),
        np.flatnonzero(labels == "validation"),
        state,
        control,
        attribute,
        features,
        units,
        _names(first, schema.CONTROL_FEATURE),
        _names(first, schema.ATTRIBUTE),
        parameters,
        graphs,
        str(facts.get("system", "")),
        str(first[schema.TIME].attrs.get("units", "1")),
    )


def labels_of(ds: xr.Dataset, split: float, seed: int) -> NDArray[np.str_]:
    """The split of a dataset: its own, or a seeded draw with the share ``split`` for training."""
    if schema.SPLIT in ds:
        return ds[schema.SPLIT].values.astype("U10")
    if not 0 < split <= 1:
        raise InvalidOption(
            "split is the share of the trajectories that train",
            got=split,
            allowed="above 0, at most 1",
            fix="leave split=0.7",
        )
    drawn = split_trajectories(ds.sizes[schema.TRAJECTORY], split, seed)
    return np.array(schema.SPLITS, dtype="U10")[drawn]


def _fit(values: list[NDArray], masks: list[NDArray | None] | None = None) -> Normalisation:
    width = values[0].shape[-1]
    rows = []
    for number, value in enumerate(values):
        flat = np.asarray(value, dtype=np.float64).reshape(-1, width)
        mask = masks[number] if masks is not None else None
        if mask is not None:
            flat = np.where(mask.reshape(-1, width), flat, np.nan)
        rows.append(flat)
    together = np.concatenate(rows)
    mask = np.isfinite(together)
    return Normalisation.fit(together, mask=None if mask.all() else mask)


def _names(ds: xr.Dataset, dim: str) -> tuple[str, ...]:
    return tuple(str(v) for v in ds[dim].values) if dim in ds.coords else ()


def _agree(datasets: Sequence[xr.Dataset], arrays: list[Arrays]) -> None:
    """Datasets that train together must agree in everything but size, graphs and length."""

    def widths(a: Arrays) -> tuple[int, int, int]:
        u = 0 if a.u is None else a.u.shape[-1]
        b = 0 if a.attribute is None else a.attribute.shape[-1]
        return a.x.shape[-1], u, b

    first = widths(arrays[0])
    for number, each in enumerate(arrays[1:], start=1):
        if widths(each) != first:
            raise InvalidData(
                f"dataset {number} cannot train together with dataset 0",
                got=f"(features, controls, attributes) = {widths(each)}",
                allowed=str(first),
                fix="give datasets with the same features and inputs",
            )
        if not np.isclose(np.diff(each.time).mean(), np.diff(arrays[0].time).mean(), rtol=1e-6):
            raise InvalidData(
                f"dataset {number} has another time step than dataset 0",
                got=f"{np.diff(each.time).mean():.6g}",
                allowed=f"{np.diff(arrays[0].time).mean():.6g}",
                fix="simulate both with the same dt, or interpolate with ds.interp(time=...)",
            )
