"""Groups of features whose squares add up to 1, as the components of a unit quaternion.

The coordinate ``unit_norm`` of the features numbers the groups from 1; it is 0 for all other features.
Rollouts of a model divide the features of a group by their norm after each interval of time, in
physical units. What a kernel integrates is the learned field without this constraint, in training too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import names_of
from ..datasets.names import FEATURE, UNIT_NORM, texts
from ..errors import InvalidData, InvalidOption, unknown_name
from .node_types import NodeTypes, types_of

if TYPE_CHECKING:
    from .engines.base import Rollout

Groups = tuple[tuple[str, ...], ...]
# A norm of data that are not of unit length differs more than this.
_TOLERANCE = 0.1


def with_unit_norm(ds: xr.Dataset, *groups: Sequence[str]) -> xr.Dataset:
    """``ds`` with groups of features whose squares add up to 1.

    groups: names of features, two or more each, as ``("qw", "qx", "qy", "qz")``; no groups take the mark
    away. Of several types of nodes the groups are those of each type that has all of their features.
    Raises `UnknownName`, `InvalidOption` for groups that overlap or have one feature, and `InvalidData` where
    the norm of a group is not 1 within 10 % in the data.

    >>> import numpy as np
    >>> from pympnode import from_arrays
    >>> angle = np.linspace(0, 3, 40).reshape(2, 10, 2)
    >>> x = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    >>> ds = from_arrays(x, dt=0.1, edges=[(0, 1)], features=["a", "b"])
    >>> with_unit_norm(ds, ("a", "b")).unit_norm.values.tolist()
    [1, 1]
    """
    named = [tuple(names_of("unit_norm", group)) for group in groups]
    used = [name for group in named for name in group]
    if len(set(used)) < len(used) or any(len(group) < 2 for group in named):
        raise InvalidOption(
            "groups of unit norm have two features or more, each in one group",
            got=repr(named),
            allowed='groups as ("qw", "qx", "qy", "qz")',
        )
    types = types_of(ds)
    typed = types if types and FEATURE not in ds.dims else ()
    dims = [f"{FEATURE}_{name}" for name in typed] or [FEATURE]
    marks, found = {}, set()
    for dim in dims:
        suffix = dim.removeprefix(FEATURE)
        features = [str(name) for name in texts(ds[dim].values)] if dim in ds.coords else []
        number = np.zeros(ds.sizes[dim], np.int64)
        for group in named:
            if set(group) <= set(features):
                found.add(group)
                columns = [features.index(name) for name in group]
                number[columns] = number.max() + 1
                _check(ds, suffix, columns, group)
        if number.any() or f"{UNIT_NORM}{suffix}" in ds.coords:
            marks[f"{UNIT_NORM}{suffix}"] = (dim, number)
    for group in named:
        if group not in found:
            known = [str(f) for d in dims if d in ds.coords for f in ds[d].values]
            lacking = next((name for name in group if name not in known), group[0])
            raise unknown_name("feature of unit_norm", lacking, known)
    return ds.assign_coords(marks)


def _check(ds: xr.Dataset, suffix: str, columns: list[int], group: tuple[str, ...]) -> None:
    state = ds.get(f"state{suffix}")
    if state is None:
        return
    values = state.isel({f"{FEATURE}{suffix}": columns})
    norm = np.sqrt(np.square(values.values.astype(np.float64)).sum(axis=values.get_axis_num(
        f"{FEATURE}{suffix}")))  # fmt: skip
    norm = norm[np.isfinite(norm)]
    if norm.size and np.abs(np.median(norm) - 1) > _TOLERANCE:
        raise InvalidData(
            f"the features {', '.join(group)} are not of unit norm",
            got=f"a norm of {np.median(norm):.3g} (median)",
            allowed="1",
            fix="divide them by their norm, or leave unit_norm out",
        )


def groups_of(ds: xr.Dataset, features: Sequence[str]) -> Groups:
    """The groups of a dataset of nodes of one type, by the names of its ``features``."""
    if UNIT_NORM not in ds.coords or ds[UNIT_NORM].dims != (FEATURE,):
        return ()
    number = np.asarray(ds[UNIT_NORM].values)
    return tuple(
        tuple(features[int(i)] for i in np.flatnonzero(number == group))
        for group in np.unique(number[number > 0])
    )


Columns = list[tuple["int | None", list[int]]]


def columns_of(groups: Groups, features: Sequence[str], types: NodeTypes | None) -> Columns:
    """(type, columns of its states) of each group; the type is None where all nodes have one."""
    found: Columns = []
    for group in groups:
        at = [features.index(name) for name in group]
        if types is None:
            found.append((None, at))
            continue
        number, first = types.columns(types.channels)[at[0]]
        found.append((number, [first + column - at[0] for column in at]))
    return found


def normalise(x: NDArray, columns: Columns, node_type: NDArray | None) -> NDArray:
    """x (..., node, feature) in physical units, its groups divided by their norms.

    A norm of 0, or one that is not finite, is left.
    """
    out = np.array(x, dtype=np.float64)
    for number, features in columns:
        nodes = np.arange(x.shape[-2])
        if number is not None:
            nodes = np.flatnonzero(node_type == number)
        at = (..., nodes[:, None], np.array(features))
        norm = np.sqrt(np.square(out[at]).sum(axis=-1, keepdims=True))
        with np.errstate(divide="ignore", invalid="ignore"):
            out[at] = np.where((norm > 0) & np.isfinite(norm), out[at] / norm, out[at])
    return out


def rollout_by_intervals(
    program: Any,
    theta: NDArray,
    z: NDArray,
    graph: Any,
    times: NDArray,
    unit: Any,
    *,
    u: NDArray | None = None,
    edge_weight: NDArray | None = None,
    **same: Any,
) -> Rollout:
    """A rollout of ``program`` (`engines.base.Program.rollout`) with ``unit`` applied to the states
    (trajectory, node, feature) in z units after each interval; of fields without messages of their own
    that are integrated."""
    from .engines.base import Rollout

    states, messages, finite = [], [], np.ones(len(z), bool)
    for k in range(len(times) - 1):
        held = {} if edge_weight is None else {"edge_weight": edge_weight[..., k : k + 2, :]}
        one = program.rollout(
            theta, z, graph, times[k : k + 2],
            u=None if u is None else u[:, k : k + 2], **held, **same,
        )  # fmt: skip
        z = unit(one.state[:, 1]).astype(one.state.dtype)
        states.append(z)
        if not k:
            states.insert(0, one.state[:, 0])
            messages.append(one.message[:, 0])
        messages.append(one.message[:, 1])
        finite &= one.finite
    return Rollout(np.stack(states, axis=1), np.stack(messages, axis=1), finite)


def all_of(groups: Iterable[Sequence[str]], name: str) -> Groups:
    """Groups with the names of a type, "type.name"."""
    return tuple(tuple(f"{name}.{feature}" for feature in group) for group in groups)
