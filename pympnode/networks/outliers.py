"""Outliers that become the scale of a feature: a few values that decide its standard deviation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .arrays import Arrays

_SHARE = 1e-3  # of the values of a feature, at least one: what may be outliers
_TIMES = 5.0  # the standard deviation with them over that without them


def outliers_in_words(arrays: Sequence[Arrays], features: Sequence[str]) -> list[str]:
    """A sentence for each feature whose standard deviation a few values decide.

    All other values are then close to 0 in z units, and a model learns the outliers alone.
    """
    found = []
    for channel, name in enumerate(features):
        values = [each.x[..., channel] for each in arrays]
        known = [
            np.isfinite(v) if each.mask is None else each.mask[..., channel] & np.isfinite(v)
            for v, each in zip(values, arrays)
        ]
        flat = np.concatenate([v[k] for v, k in zip(values, known)])
        few = max(1, int(_SHARE * flat.size))
        if flat.size < 20:
            continue
        off = np.abs(flat - np.median(flat))
        usual = flat[np.argpartition(off, -few)[:-few]].std()
        with_all = flat.std()
        if not usual > 0 or not with_all > _TIMES * usual:
            continue
        found.append(_sentence(name, values, known, float(usual), float(with_all)))
    return found


def _sentence(
    name: str, values: list[NDArray], known: list[NDArray], usual: float, with_all: float
) -> str:
    middle = float(np.median(np.concatenate([v[k] for v, k in zip(values, known)])))
    off = [np.where(k, np.abs(v - middle), -1.0) for v, k in zip(values, known)]
    number = int(np.argmax([o.max() for o in off]))
    i, t, node = np.unravel_index(int(np.argmax(off[number])), off[number].shape)
    which = f"dataset {number}, " if len(values) > 1 else ""
    return (
        f"a few outliers decide the scale of {name}: its standard deviation is {with_all:.3g}, and "
        f"{usual:.3g} without them; the farthest is {values[number][i, t, node]:.6g} in {which}trajectory "
        f'{i}, time number {t}, node {node}; set wrong values to NaN and train with missing="mask"'
    )
