"""Calibration of networks, and the measurement noise in the likelihood of ``loss="gaussian"``.

See `pympnode.uncertainty` for the variances that a calibration finds.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import FEATURE, NODE, STATE, TIME, TRAJECTORY
from ..errors import InvalidData, PympnodeError, PympnodeWarning, shown_value
from ..losses import Gaussian
from ..uncertainty import Errors, calibration_of, mean_and_variance, noise_std, thinned, windows_of
from . import schema
from .agreement import agree
from .uncertainty import DIMS
from .velocities import for_model

logger = logging.getLogger("pympnode.training")

_MOST, _LEAST = 256, 16  # trajectories that a calibration rolls out
_VALUES = 20_000_000  # of their states, where that allows the least number
_INTERVALS = 256  # windows of one interval that the noise of a likelihood is estimated on, at most
_TIMES = 4  # of their starts


def calibrated(
    model: Any,
    datasets: Sequence[xr.Dataset],
    *,
    longest: int | None = None,
    ignore_weights: bool = False,
) -> Any:
    """``model`` with a `Calibration` on ``datasets``, in windows of ``longest`` intervals.

    Raises `InvalidData` where there is nothing to calibrate on.
    """
    windows = _windows(model, datasets, longest)
    most = _MOST
    if windows:
        one = windows[0].isel({TRAJECTORY: 0})
        most = min(_MOST, max(_LEAST, _VALUES // max(one[STATE].size, 1)))
    given = sum(ds.sizes[TRAJECTORY] for ds in windows)
    parts = [_errors(model, ds, ignore_weights) for ds in thinned(windows, most)]
    scale = np.asarray(model.state_scale.scale) if windows else np.ones(0)

    def noise_of(readings: list[NDArray], time: NDArray[np.float64]) -> NDArray[np.float64]:
        found = noise_std([_continuous(model, x) for x in readings], time, scale)
        if found is None:  # differences in time do not show it; the likelihood may
            found = np.zeros(len(scale)) if model.noise is None else model.noise
        return found

    return replace(model, calibration=calibration_of(parts, noise_of, given=given))


def calibrated_or_not(model: Any, datasets: Sequence[xr.Dataset], **options: Any) -> Any:
    """`calibrated` where it can be; the log has the reason where it cannot."""
    if not datasets or not np.isfinite(model.theta).all() or model.types is not None:
        return model
    return _without_warnings(
        model, "the ensemble is not calibrated", lambda: calibrated(model, datasets, **options)
    )


def with_noise(
    model: Any, datasets: Sequence[xr.Dataset], loss: Any, *, ignore_weights: bool = False
) -> Any:
    """``model`` with the measurement noise in its likelihood, where ``loss`` is `losses.Gaussian`.

    It is ``std`` of that loss where it was given, else `estimated_noise` of ``datasets``; the log has
    the reason where it cannot be estimated.
    """
    if not isinstance(loss, Gaussian) or model.types is not None:
        return model
    if loss.std is not None:
        return replace(model, noise=np.array([loss.std[name] for name in model.features]))
    if not datasets or not np.isfinite(model.theta).all():
        return model
    return _without_warnings(
        model,
        "the measurement noise is not estimated",
        lambda: replace(model, noise=estimated_noise(model, datasets, ignore_weights)),
    )


def estimated_noise(
    model: Any, datasets: Sequence[xr.Dataset], ignore_weights: bool = False
) -> NDArray[np.float64]:
    """Standard deviation (feature,) of white measurement noise in ``datasets``, in the units of the features.

    Where differences in time show noise (`uncertainty.noise_variance`) it is that, else what predictions
    over one interval leave: the start of a prediction is a reading too, so that of independent noise s

        mean of the square error of feature k = s_k^2 + sum over j of A_kj s_j^2

    with A_kj the mean square of the change of the predicted feature k by a change of feature j of the
    start by 1. Errors of the model itself count as noise there. Raises `InvalidData` where there is no
    interval that can be predicted, as with delayed messages.
    """
    from scipy.optimize import nnls

    scale = np.asarray(model.state_scale.scale)
    shown = np.zeros(len(scale))
    for ds in datasets:
        arrays = schema.pack(agree(for_model(ds, model.features), model.names), missing="mask")
        x = arrays.x if arrays.mask is None else np.where(arrays.mask, arrays.x, np.nan)
        found = noise_std([_continuous(model, x)], arrays.time, scale)
        shown = np.maximum(shown, 0.0 if found is None else found)
    if shown.all():
        return shown
    windows = _windows(model, datasets, 1)
    # A few times of many trajectories: a rollout of many costs little more than one of a few.
    windows = [windows[i] for i in np.unique(np.linspace(0, len(windows) - 1, _TIMES).astype(int))]
    windows = thinned(windows, _INTERVALS)
    square = _mean_square([_errors(model, ds, ignore_weights).error for ds in windows])
    rng = np.random.default_rng(0)
    gain = np.zeros((len(scale), len(scale)))
    for j, unit in enumerate(scale):
        size = max(np.sqrt(square[j]), 1e-3 * unit)
        changes = []
        for ds in windows:
            state = ds[STATE].transpose(*DIMS)
            sign = rng.choice([-1.0, 1.0], size=state.shape[:3])
            moved = state.values.astype(np.float64)
            moved[..., j] += size * sign
            other = ds.assign({STATE: state.copy(data=moved)})
            both = [_errors(model, one, ignore_weights) for one in (ds, other)]
            # Errors less true states: predictions, but for their sign.
            before, after = (each.error - each.truth for each in both)
            changes.append(model.difference(after - before))
        gain[:, j] = _mean_square(changes) / size**2
    variance, _ = nnls(np.eye(len(scale)) + gain, square)
    return np.where(shown > 0, shown, np.sqrt(variance))


def _continuous(model: Any, x: NDArray) -> NDArray:
    """States whose circular features go on beyond the circle; NaN after a missing one."""
    circular = list(model.spec.circular)
    if not circular:
        return x
    out = np.array(x, np.float64)
    moved = np.cumsum(model.difference(np.diff(out, axis=1)), axis=1)
    out[:, 1:, :, circular] = (out[:, :1] + moved)[..., circular]
    return out


def _mean_square(values: Sequence[NDArray]) -> NDArray[np.float64]:
    """Mean squares (feature,) of arrays (trajectory, time, node, feature) at the last time."""
    rows = np.concatenate([each[:, -1].reshape(-1, each.shape[-1]) for each in values])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # features without a reading
        return np.nan_to_num(np.nanmean(np.square(rows), axis=0))


def _without_warnings(model: Any, what: str, make: Callable[[], Any]) -> Any:
    """The model that ``make`` returns, or ``model`` itself and the reason in the log."""
    try:
        with warnings.catch_warnings():
            # The training has warned of what is unusual in its data.
            warnings.simplefilter("ignore", PympnodeWarning)
            return make()
    except PympnodeError as error:  # no reason to lose what was trained
        logger.warning("%s: %s", what, error.message)
        return model


def _windows(model: Any, datasets: Sequence[xr.Dataset], longest: int | None) -> list[xr.Dataset]:
    """Windows of at most ``longest`` intervals, and of trajectories whose first state is known. Raises
    `InvalidData`."""
    out = []
    for ds in datasets:
        if model.types is not None or not isinstance(ds, xr.Dataset) or STATE not in ds:
            raise InvalidData(
                "models of one type of nodes are calibrated on datasets of them",
                got=shown_value(getattr(ds, "data_vars", ds), 80)
                if model.types is None
                else f"a model of the types {', '.join(model.types.names)}",
                allowed="a dataset with state(trajectory, time, node, feature)",
            )
        schema.validate(ds, missing="mask")
        for window in windows_of(ds, longest):
            start = window[STATE].isel({TIME: 0}).transpose(TRAJECTORY, NODE, FEATURE)
            known = np.isfinite(start.values).all((1, 2))
            window = window.isel({TRAJECTORY: np.flatnonzero(known)})
            if window.sizes[TRAJECTORY]:
                out.append(window)
    return out


def _errors(model: Any, ds: xr.Dataset, ignore_weights: bool) -> Errors:
    """Errors of a rollout, from the start on."""
    ds = agree(for_model(ds, model.features), model.names)
    arrays = schema.pack(ds, missing="mask")
    model.check(arrays)
    rollout = model.rollout(ds, ignore_weights=ignore_weights, check=False)
    state = rollout[STATE].transpose(..., *DIMS)
    begin = 0
    if "predicted_from" in state.attrs:
        begin = int((arrays.time < state.attrs["predicted_from"]).sum()) - 1
    values = state.values if state.ndim == 5 else state.values[None]
    mean, variance = mean_and_variance(values[:, :, begin:])
    truth = arrays.x if arrays.mask is None else np.where(arrays.mask, arrays.x, np.nan)
    truth = truth[:, begin:]
    time = arrays.time[begin:] - arrays.time[begin]
    return Errors(time, truth, model.difference(truth - mean), variance)
