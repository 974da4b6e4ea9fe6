"""Calibration, intervals and scores of predicted particles (see `pympnode.uncertainty`).

Position and velocity are the two features, with one factor, floor and noise each for all axes: forces have no
preferred axis. Rollouts have ``spread_position``, ``spread_velocity`` (trajectory, time, particle, axis),
and of a calibrated model ``state_std_`` and ``reading_std_`` of both. Positions are compared by nearest
image; fixed particles are left out.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import one_of
from ..datasets.names import FEATURE, PARTICLE_DIMS, POSITION, TIME, TRAJECTORY, VELOCITY
from ..errors import InvalidData, PympnodeError, PympnodeWarning
from ..uncertainty import (
    LEVEL,
    LONG_NAMES,
    MEMBER,
    READING_STD,
    SPREAD,
    STATE_STD,
    STD_OF,
    Errors,
    calibration_of,
    distribution_scores,
    interval_about,
    mean_and_variance,
    noise_std,
    std_for,
    thinned,
)
from . import schema
from .graphs.box import Box

logger = logging.getLogger("pympnode.training")

FEATURES = (POSITION, VELOCITY)
_MOST, _LEAST = 64, 8  # trajectories that a calibration rolls out
_VALUES = 2_000_000  # of their states, where that allows the least number


def with_uncertainty(model: Any, rollout: xr.Dataset, box: Box) -> xr.Dataset:
    """A rollout with its spread and, of a calibrated model, the two standard deviations."""
    dims = tuple(d for d in rollout[POSITION].dims if d != MEMBER)
    variances = [np.zeros([rollout.sizes[d] for d in dims]) for _ in FEATURES]
    if MEMBER in rollout.dims:
        _, variances = _mean_and_variance(rollout, box)
        for name, values in zip(FEATURES, variances):
            about = {"long_name": f"{LONG_NAMES[SPREAD]}, of the {name}"}
            rollout[f"{SPREAD}_{name}"] = dims, np.sqrt(values), about
    if model.calibration is None:
        return rollout
    time = rollout[TIME].values.astype(np.float64)
    of_both = model.calibration.variances(_features(*variances), time - time[0])
    for std, values in zip((STATE_STD, READING_STD), of_both, strict=True):
        for number, name in enumerate(FEATURES):
            one = np.sqrt(values[..., number]).reshape(variances[0].shape)
            about = {"long_name": f"{LONG_NAMES[std]}, of the {name}"}
            rollout[f"{std}_{name}"] = dims, one, about
    return rollout


def interval(
    prediction: xr.Dataset,
    level: float = LEVEL,
    *,
    readings: bool = False,
    variable: str = POSITION,
) -> xr.DataArray:
    """The intervals of particles; see `pympnode.interval`. Bounds of positions may be outside of a
    periodic box. Raises `InvalidData`, `UnknownName`."""
    one_of("variable", variable, FEATURES)
    if VELOCITY not in prediction:
        raise InvalidData(
            "there are no states to make intervals of",
            got=", ".join(map(str, prediction.data_vars)),
            allowed="a rollout",
        )
    std, calibrated = std_for(prediction, readings, f"_{variable}")
    mean = prediction[variable]
    if MEMBER in mean.dims:
        means, _ = _mean_and_variance(prediction, schema.box_of(prediction))
        mean = mean.isel({MEMBER: 0}, drop=True).copy(data=means[FEATURES.index(variable)])
    return interval_about(mean, std, level, readings=readings, calibrated=calibrated)


def scores(model: Any, rollout: xr.Dataset, truth: xr.Dataset) -> xr.Dataset:
    """Coverage, CRPS and sharpness (target, time, feature) of the predicted distributions against ``truth``,
    and the CRPS of the members themselves (time, feature); the features are "position" and "velocity".
    Of an empty dataset where there is no distribution."""
    sigma = {}
    for target, std in STD_OF.items():
        name = std if f"{std}_{POSITION}" in rollout else SPREAD
        if f"{name}_{POSITION}" in rollout:
            of_each = (rollout[f"{name}_{one}"].transpose(*PARTICLE_DIMS) for one in FEATURES)
            sigma[target] = _features(*(one.values for one in of_each))
    if not sigma:
        return xr.Dataset()
    found, of_members = _errors(rollout, truth)
    return distribution_scores(
        found.error,
        ~np.isnan(found.truth),
        sigma,
        of_members,
        rollout[TIME],
        calibrated=model.calibration is not None,
    ).assign_coords({FEATURE: list(FEATURES)})


def calibrated(model: Any, datasets: Sequence[xr.Dataset]) -> Any:
    """``model`` with a `Calibration` on ``datasets``. Raises `InvalidData` where there is nothing to
    calibrate on, and what `ParticleModel.rollout` raises."""
    given = sum(ds.sizes[TRAJECTORY] for ds in datasets)
    most = _MOST
    if given:
        one = datasets[0].isel({TRAJECTORY: 0})
        most = min(_MOST, max(_LEAST, _VALUES // max(one[POSITION].size, 1)))
    parts = []
    for ds in thinned(datasets, most):
        if ds.sizes[TRAJECTORY]:
            parts.append(_errors(model.rollout(ds, check=False), ds)[0])
    scale = np.array([model.scales.length, model.scales.velocity])

    def noise_of(readings: list[NDArray], time: NDArray[np.float64]) -> NDArray[np.float64]:
        found = noise_std(readings, time, scale)
        return np.zeros(len(scale)) if found is None else found

    return replace(model, calibration=calibration_of(parts, noise_of, given=given))


def calibrated_or_not(model: Any, datasets: Sequence[xr.Dataset]) -> Any:
    """`calibrated` where it can be; the log has the reason where it cannot."""
    if model.members < 2 or not datasets or not np.isfinite(model.theta).all():
        return model
    try:
        with warnings.catch_warnings():
            # The training has warned of what is unusual in its data.
            warnings.simplefilter("ignore", PympnodeWarning)
            return calibrated(model, datasets)
    except PympnodeError as error:  # no reason to lose what was trained
        logger.warning("the ensemble is not calibrated: %s", error.message)
        return model


def _errors(rollout: xr.Dataset, truth: xr.Dataset) -> tuple[Errors, NDArray]:
    """Errors of a rollout, and those (member, ...) of its members; NaN for fixed particles."""
    data = schema.pack_particles(truth)
    box = data.box
    position, velocity = data.position.astype(np.float64), data.velocity.astype(np.float64)
    if data.fixed is not None:
        moving = ~np.asarray(data.fixed, bool)[:, None, :, None]
        position, velocity = np.where(moving, position, np.nan), np.where(moving, velocity, np.nan)
    (mean_x, mean_v), variances = _mean_and_variance(rollout, box)
    of_members = [
        _features(box.displacement(position - x), velocity - v)
        for x, v in zip(*(_with_members(rollout, name) for name in FEATURES))
    ]
    moved = np.cumsum(box.displacement(np.diff(position, axis=1)), axis=1)
    path = np.concatenate([position[:, :1], position[:, :1] + moved], axis=1)
    found = Errors(
        (data.time - data.time[0]).astype(np.float64),
        _features(path, velocity),
        _features(box.displacement(position - mean_x), velocity - mean_v),
        _features(*variances),
    )
    return found, np.stack(of_members)


def _with_members(rollout: xr.Dataset, name: str) -> NDArray[np.float64]:
    """Positions or velocities (member, trajectory, time, particle, axis); one member of a single model."""
    values = rollout[name].transpose(..., *PARTICLE_DIMS).values.astype(np.float64)
    return values if values.ndim == 5 else values[None]


def _mean_and_variance(rollout: xr.Dataset, box: Box) -> tuple[list[NDArray], list[NDArray]]:
    """Means and variances over the members of position and velocity, of positions by the image that is
    nearest to the first member's."""
    position, velocity = (_with_members(rollout, name) for name in FEATURES)
    finite = np.isfinite(position)
    first = np.take_along_axis(position, finite.argmax(axis=0)[None], axis=0)
    off, variance = mean_and_variance(box.displacement(position - first))
    mean, of_velocity = mean_and_variance(velocity)
    return [first[0] + off, mean], [variance, of_velocity]


def _features(position: NDArray, velocity: NDArray) -> NDArray[np.float64]:
    """Arrays (trajectory, time, particle, axis) as (trajectory, time, particle and axis, variable)."""
    both = np.stack([position, velocity], axis=-1)
    return both.reshape(*both.shape[:2], -1, 2)
