"""Z scores: fitted to the training data, stored with the model, undone in rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InvalidData


@dataclass(frozen=True, eq=False)
class Normalisation:
    """Affine scaling of the last axis: z = (x - mean) / scale.

    mean, scale: float64 (feature,), in the units of the data; scale is positive. Raises InvalidData.
    """

    mean: np.ndarray
    scale: np.ndarray

    def __post_init__(self) -> None:
        mean = np.array(self.mean, dtype=np.float64)
        scale = np.array(self.scale, dtype=np.float64)
        if mean.ndim != 1 or mean.shape != scale.shape:
            raise InvalidData(
                "mean and scale have different shapes",
                got=f"{mean.shape} and {scale.shape}",
                allowed="(feature,) both",
            )
        if not np.all(np.isfinite(mean)) or not np.all(np.isfinite(scale)) or np.any(scale <= 0):
            raise InvalidData(
                "a normalisation needs finite means and positive scales",
                got=f"mean {mean.tolist()}, scale {scale.tolist()}",
            )
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "scale", scale)

    @classmethod
    def fit(cls, x: np.ndarray, mask: np.ndarray | None = None) -> Normalisation:
        """Mean and standard deviation of each feature over all other axes.

        x (..., feature); mask of the shape of x, True where a value is used. A feature that is
        constant to rounding gets scale 1: its z score is 0, and `undo` returns its value.
        Raises InvalidData for values that are used and not finite, and features without values.
        """
        x = np.asarray(x, dtype=np.float64)
        flat = x.reshape(-1, x.shape[-1])
        known = None if mask is None else np.asarray(mask, dtype=bool).reshape(flat.shape)
        if known is None:
            known = np.ones(flat.shape, dtype=bool)
        count = known.sum(axis=0)
        if np.any(count == 0):
            raise InvalidData(
                "a feature has no known value", got=f"feature {int(np.argmin(count))}"
            )
        values = np.where(known, flat, 0.0)
        if not np.all(np.isfinite(values)):
            raise InvalidData(
                "the data are not finite",
                got=f"{int((~np.isfinite(values)).sum())} values",
                fix='remove NaN and infinity, or use missing="mask"',
            )
        mean = values.sum(axis=0) / count
        # Two passes: the mean of squares minus the squared mean would cancel for large offsets.
        deviation = np.where(known, flat - mean, 0.0)
        scale = np.sqrt((deviation * deviation).sum(axis=0) / count)
        largest = np.abs(values).max(axis=0)
        return cls(mean, np.where(scale <= 1e-12 * largest, 1.0, scale))

    @classmethod
    def identity(cls, features: int) -> Normalisation:
        """Mean 0 and scale 1."""
        return cls(np.zeros(features), np.ones(features))

    @property
    def features(self) -> int:
        """Number of features."""
        return int(self.mean.size)

    def apply(self, x: np.ndarray) -> np.ndarray:
        """z (..., feature) of x, float32 where x is, float64 otherwise."""
        self._check(x)
        return _like(x, (np.asarray(x, dtype=np.float64) - self.mean) / self.scale)

    def undo(self, z: np.ndarray) -> np.ndarray:
        """x (..., feature) of z, float32 where z is, float64 otherwise."""
        self._check(z)
        return _like(z, np.asarray(z, dtype=np.float64) * self.scale + self.mean)

    def same(self, other: Normalisation) -> bool:
        """Whether ``other`` has the same mean and scale."""
        return np.array_equal(self.mean, other.mean) and np.array_equal(self.scale, other.scale)

    def _check(self, values: np.ndarray) -> None:
        if np.shape(values)[-1:] != (self.features,):
            raise InvalidData(
                "the data have another number of features than the normalisation",
                got=np.shape(values),
                allowed=f"(..., {self.features})",
            )


def natural_time(x: Sequence[np.ndarray], time: Sequence[np.ndarray]) -> float:
    """The time in which z scores change by about one: the unit of time of a learned field.

    x (trajectory, time, node, feature) in z units, NaN where a value is missing, and time (time,) of
    each dataset: the mean interval over the root mean square of the changes from one time to the
    next. The mean interval stands for all, so that a short one with noise does not decide. It is
    that interval itself where nothing changes, and at most the length of the longest recording.
    """
    interval = np.concatenate([np.diff(t) for t in time]).mean()
    square = count = 0.0
    for values in x:
        for row in values:  # one trajectory at a time, for little memory
            change = np.diff(row, axis=0)
            change = change[np.isfinite(change)].astype(np.float64)
            square += float(change @ change)
            count += change.size
    if square == 0.0:
        return float(interval)
    longest = max(float(t[-1] - t[0]) for t in time)
    return float(min(interval / np.sqrt(square / count), longest))


def _like(template: np.ndarray, values: np.ndarray) -> np.ndarray:
    dtype = getattr(template, "dtype", None)
    return values.astype(dtype) if dtype == np.float32 else values
