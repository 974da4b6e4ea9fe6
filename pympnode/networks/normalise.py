"""Z scores: fitted to the training data, stored with the model, undone in rollouts."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InvalidData
from ..training.group import ALONE, Group, gathered


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
    def fit(
        cls, x: np.ndarray, mask: np.ndarray | None = None, group: Group = ALONE
    ) -> Normalisation:
        """Mean and standard deviation of each feature over all other axes.

        x (..., feature); mask of the shape of x, True where a value is used; ``group``: each of its
        processes has a part of x. A feature that is constant to rounding gets scale 1: its z score is
        0, and `undo` returns its value. Raises InvalidData for values that are used and not finite, and
        features without values.
        """
        return Moments.of(x, mask).over(group).normalisation()

    @classmethod
    def identity(cls, features: int) -> Normalisation:
        """Mean 0 and scale 1."""
        return cls(np.zeros(features), np.ones(features))

    @property
    def features(self) -> int:
        """Number of features."""
        return int(self.mean.size)

    def apply(self, x: np.ndarray, node_type: np.ndarray | None = None) -> np.ndarray:
        """z (..., feature) of x, float32 where x is, float64 otherwise; ``node_type`` is that of
        `NormalisationByType`, and not used here."""
        self._check(x)
        return _like(x, (np.asarray(x, dtype=np.float64) - self.mean) / self.scale)

    def undo(self, z: np.ndarray, node_type: np.ndarray | None = None) -> np.ndarray:
        """x (..., feature) of z, float32 where z is, float64 otherwise."""
        self._check(z)
        return _like(z, np.asarray(z, dtype=np.float64) * self.scale + self.mean)

    def scale_of(self, node_type: np.ndarray | None = None) -> np.ndarray:
        """The scale of each value of x: (feature,), or (node, feature) of nodes of several types."""
        return self.scale

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


@dataclass(frozen=True, eq=False)
class Moments:
    """What a normalisation is made of, by feature; those of parts of the data are added with `joined`.

    ``count`` of the known values, their ``mean``, the sum of the squares of their deviations, and the
    ``largest`` absolute value, all (feature,); ``span`` (2, feature) the smallest and largest value, of
    parts.
    """

    count: np.ndarray
    mean: np.ndarray
    square: np.ndarray
    largest: np.ndarray
    span: np.ndarray | None = None

    @classmethod
    def of(cls, x: np.ndarray, mask: np.ndarray | None = None) -> Moments:
        """Of x (..., feature); mask of its shape, True where a value is used. Raises InvalidData for
        values that are used and not finite."""
        x = np.asarray(x, dtype=np.float64)
        flat = x.reshape(-1, x.shape[-1])
        known = None if mask is None else np.asarray(mask, dtype=bool).reshape(flat.shape)
        if known is None:
            known = np.ones(flat.shape, dtype=bool)
        count = known.sum(axis=0)
        values = np.where(known, flat, 0.0)
        if not np.all(np.isfinite(values)):
            raise InvalidData(
                "the data are not finite",
                got=f"{int((~np.isfinite(values)).sum())} values",
                fix='remove NaN and infinity, or use missing="mask"',
            )
        mean = values.sum(axis=0) / np.maximum(count, 1)
        # Two passes: the mean of squares minus the squared mean would cancel for large offsets.
        deviation = np.where(known, flat - mean, 0.0)
        square = (deviation * deviation).sum(axis=0)
        return cls(count, mean, square, np.abs(values).max(axis=0, initial=0.0))

    @classmethod
    def of_part(cls, x: np.ndarray) -> Moments:
        """Of a part of the data, x (..., feature), NaN where a value is missing; several times as fast as
        `of`, with other rounding."""
        columns = np.ascontiguousarray(x.reshape(-1, x.shape[-1]).T, dtype=np.float64)
        span = np.stack([np.fmin.reduce(columns, 1), np.fmax.reduce(columns, 1)])
        total = columns.sum(axis=1)
        count = np.full(len(columns), columns.shape[1])
        if not np.isfinite(total).all():
            known = np.isfinite(columns)
            count = known.sum(axis=1)
            total = np.where(known, columns, 0.0).sum(axis=1)
        mean = total / np.maximum(count, 1)
        columns -= mean[:, None]
        if not np.isfinite(total).all() or (count < columns.shape[1]).any():
            np.nan_to_num(columns, copy=False)
        square = np.einsum("ij,ij->i", columns, columns)
        largest = np.nan_to_num(np.abs(span).max(axis=0))
        return cls(count, mean, square, largest, span)

    def joined(self, other: Moments) -> Moments:
        """Those of both parts together (Chan, Golub & LeVeque 1983, equation 2.1)."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        change = other.mean - self.mean
        span = None
        if self.span is not None and other.span is not None:
            low, high = np.fmin(self.span, other.span)[0], np.fmax(self.span, other.span)[1]
            span = np.stack([low, high])
        return Moments(
            count,
            self.mean + share * change,
            self.square + other.square + self.count * share * change * change,
            np.maximum(self.largest, other.largest),
            span,
        )

    def over(self, group: Group) -> Moments:
        """Those of the parts of all processes together."""
        if group.size == 1:
            return self
        every = gathered(group, np.stack([self.count, self.mean, self.square, self.largest]))
        return functools.reduce(Moments.joined, (Moments(*rows) for rows in every))

    def normalisation(self) -> Normalisation:
        """See `Normalisation.fit`. Raises InvalidData for features without values."""
        if np.any(self.count == 0):
            raise InvalidData(
                "a feature has no known value", got=f"feature {int(np.argmin(self.count))}"
            )
        scale = np.sqrt(self.square / self.count)
        return Normalisation(self.mean, np.where(scale <= 1e-12 * self.largest, 1.0, scale))


@dataclass(frozen=True, eq=False)
class NormalisationByType:
    """A `Normalisation` for each type of nodes.

    x and z are (..., node, feature) with 0 where a node does not have the feature, which is 0 in the
    other too; ``node_type`` int64 (node,) the types of the nodes. ``mean`` and ``scale`` (component,)
    are those of all types in one list.
    """

    types: tuple[Normalisation, ...]

    @property
    def mean(self) -> np.ndarray:
        """Means of all types."""
        return np.concatenate([one.mean for one in self.types])

    @property
    def scale(self) -> np.ndarray:
        """Scales of all types."""
        return np.concatenate([one.scale for one in self.types])

    @property
    def features(self) -> int:
        """Number of components of all types."""
        return sum(one.features for one in self.types)

    @classmethod
    def of(cls, mean: np.ndarray, scale: np.ndarray, widths: Sequence[int]) -> NormalisationByType:
        """The normalisation of lists for all types; ``widths``: components of each type."""
        ends = np.cumsum([0, *widths])
        return cls(tuple(Normalisation(mean[a:b], scale[a:b]) for a, b in itertools.pairwise(ends)))

    def apply(self, x: np.ndarray, node_type: np.ndarray | None = None) -> np.ndarray:
        """z (..., node, feature) of x, float32 where x is, float64 otherwise."""
        mean, scale = self._of_nodes(x, node_type)
        return _like(x, (np.asarray(x, dtype=np.float64) - mean) / scale)

    def undo(self, z: np.ndarray, node_type: np.ndarray | None = None) -> np.ndarray:
        """x (..., node, feature) of z, float32 where z is, float64 otherwise."""
        mean, scale = self._of_nodes(z, node_type)
        return _like(z, np.asarray(z, dtype=np.float64) * scale + mean)

    def scale_of(self, node_type: np.ndarray | None = None) -> np.ndarray:
        """The scales (node, feature), 1 where a node does not have the feature."""
        return self._tables()[1][node_type]

    def same(self, other: Normalisation | NormalisationByType) -> bool:
        """Whether ``other`` has the same means and scales."""
        return np.array_equal(self.mean, other.mean) and np.array_equal(self.scale, other.scale)

    def _tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Means and scales (type, feature)."""
        width = max(one.features for one in self.types)
        mean, scale = np.zeros((len(self.types), width)), np.ones((len(self.types), width))
        for number, one in enumerate(self.types):
            mean[number, : one.features], scale[number, : one.features] = one.mean, one.scale
        return mean, scale

    def _of_nodes(
        self, values: np.ndarray, node_type: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        mean, scale = self._tables()
        shape = np.shape(values)
        if node_type is None or shape[-2:] != (len(node_type), mean.shape[1]):
            raise InvalidData(
                "the data do not fit a normalisation by type of nodes",
                got=f"{shape}, types of {'no' if node_type is None else len(node_type)} nodes",
                allowed=f"(..., node, {mean.shape[1]}) and the type of each node",
            )
        return mean[node_type], scale[node_type]


def natural_time(
    x: Sequence[np.ndarray], time: Sequence[np.ndarray], group: Group = ALONE
) -> float:
    """The time in which z scores change by about one: the unit of time of a learned field.

    x (trajectory, time, node, feature) in z units, NaN where a value is missing, and time (time,) of
    each dataset: the mean interval over the root mean square of the changes from one time to the
    next. The mean interval stands for all, so that a short one with noise does not decide. It is
    that interval itself where nothing changes, and at most the length of the longest recording.
    ``group``: each of its processes has some of the nodes.
    """
    interval = np.concatenate([np.diff(t) for t in time]).mean()
    square = count = 0.0
    for values in x:
        for row in values:  # one trajectory at a time, for little memory
            change = np.diff(row, axis=0)
            change = change[np.isfinite(change)].astype(np.float64)
            square += float(change @ change)
            count += change.size
    square, count = group.sum(np.array([square, count])).tolist()
    if square == 0.0:
        return float(interval)
    longest = max(float(t[-1] - t[0]) for t in time)
    return float(min(interval / np.sqrt(square / count), longest))


def _like(template: np.ndarray, values: np.ndarray) -> np.ndarray:
    dtype = getattr(template, "dtype", None)
    return values.astype(dtype) if dtype == np.float32 else values


def scaled(
    scale: Normalisation | NormalisationByType | None,
    values: np.ndarray | None,
    node_type: np.ndarray | None = None,
) -> np.ndarray | None:
    """z scores of ``values``; None where there are no values or no scale."""
    return None if values is None or scale is None else scale.apply(values, node_type)
