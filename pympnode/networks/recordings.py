"""Long and few recordings: their memory, one recording split in time, and the windows to train on.

Trajectories of up to `LONG` intervals are trained on as they are: the curriculum ends in windows as
long as the trajectory. Longer ones are trained on in windows that end at a few times the memory of
the data, because the cost of an update grows with the window while a window far beyond the memory
adds no information.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import TrainConfig
from ..datasets.names import (
    EDGE_WEIGHT,
    FEATURE,
    NODE,
    SPLIT,
    STATE,
    STATE_DIMS,
    TIME,
    TRAJECTORY,
    texts,
)
from ..datasets.record import record
from ..datasets.split import check_split
from ..errors import InvalidOption
from .arrays import Arrays
from .node_types import by_type, types_of

LONG = 200  # intervals; longer trajectories are trained on in windows of at most that many
_LEAST = 10  # intervals of the longest window of a curriculum that the data's memory limits
_MEMORIES = 4.0  # the longest window, in memories of the data
_PRESET = 50  # intervals of the trajectories that the curricula of the presets are made for
_KNOWN_STARTS = 0.1  # share of times with a known state below which states are interpolated
_SHORTEST = 10  # intervals: a recording with fewer is not split
_FALLEN = float(np.exp(-1))  # the memory ends where the autocorrelation has fallen to this
_STARTS, _SERIES, _LAGS = 2048, 64, 48  # samples that the memory is estimated from


def memory(x: NDArray, intervals: int | None = None) -> int:
    """Memory of states (trajectory, time, node, feature) in intervals, at least 1.

    The first lag at which the autocorrelation has fallen to 1/e: the mean over at most 64 pairs of
    node and feature, each about its own mean, from at most 2048 pairs of times a lag. NaN is
    missing. ``intervals``: the longest lag looked at, half of the trajectory by default; returned
    where the autocorrelation stays above.
    """
    trajectories, times, nodes, features = x.shape
    most = max(1, (times - 1) // 2 if intervals is None else min(intervals, times - 1))
    some = np.unique(np.linspace(0, trajectories - 1, min(trajectories, 8)).astype(int))
    series = np.unique(
        np.linspace(0, nodes * features - 1, min(nodes * features, _SERIES)).astype(int)
    )
    columns = x.reshape(trajectories, times, -1)
    lags = np.unique(np.geomspace(1, most, _LAGS).astype(int))
    each = max(2, _STARTS // len(some))
    sampled = np.unique(np.linspace(0, times - 1, min(times, each)).astype(int))
    level = columns[np.ix_(some, sampled, series)].astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = _mean((level - _mean(level, (0, 1))) ** 2, (0, 1))
    moving = variance > 0
    if not moving.any():
        return most
    series, variance = series[moving], variance[moving]
    before, was = 0, 1.0  # the lag before, and its correlation
    for lag in lags.tolist():
        starts = np.unique(np.linspace(0, times - 1 - lag, min(times - lag, each)).astype(int))
        change = (
            columns[np.ix_(some, starts + lag, series)].astype(np.float64)
            - columns[np.ix_(some, starts, series)]
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            here = 1.0 - _mean(_mean(change**2, (0, 1)) / (2 * variance), 0)
        if not np.isfinite(here):  # no pair of known times at this lag
            continue
        if here <= _FALLEN:
            share = (was - _FALLEN) / max(was - float(here), 1e-12)
            return max(1, round(before + share * (lag - before)))
        before, was = lag, float(here)
    return most


def _mean(values: NDArray, axis: int | tuple[int, ...]) -> NDArray[np.float64]:
    """Mean of the known values; NaN where there are none."""
    known = np.isfinite(values)
    return np.where(known, values, 0.0).sum(axis=axis) / known.sum(axis=axis)


# ---- one recording, split in time ---------------------------------------------------------------


def split_recordings(
    datasets: Sequence[xr.Dataset], share: float
) -> tuple[list[xr.Dataset], str | None]:
    """Datasets of one trajectory split in time where no trajectory would be left for validation.

    Each is cut into the first ``share`` of its intervals, labelled "train", and the rest, labelled
    "validation", with a gap of one memory of the data (at most a twentieth of the recording) between
    them, so that the first validation states are not copies of the last training states. Also
    returns what was done, as text; None where nothing was.

    The second block begins at the first time from there on at which the whole state is known; where
    there is none, what is missing of its first state is interpolated in time.
    Left as they are: trajectories whose ``split`` the user gave, ``share=1``, fewer than 10
    intervals, and data that hold several trajectories.
    """
    if not datasets or not 0 < share < 1 or not all(map(_splittable, datasets)):
        return list(datasets), None
    out, said = [], []
    for ds in datasets:
        steps = ds.sizes[TIME] - 1
        ds = by_type(ds)
        # Nodes and features of all types are series side by side here.
        states = [f"{STATE}_{name}" for name in types_of(ds)] or [STATE]
        dims = [_dims_of(ds, name) for name in states]
        each = [ds[name].transpose(*of).values for name, of in zip(states, dims)]
        x = each[0]
        if len(each) > 1:
            x = np.concatenate([v.reshape(*v.shape[:2], 1, -1) for v in each], axis=-1)
        gap = min(memory(x), max(1, steps // 20))
        # Both blocks hold intervals, whatever the share.
        last = min(max(round(share * steps), 2), steps - gap - 2)
        known = np.flatnonzero(np.isfinite(x[0, last + gap : -1]).all(axis=(1, 2)))
        first = last + gap + (int(known[0]) if known.size else 0)
        time = ds[TIME].values
        blocks = {"train": slice(0, last + 1), "validation": slice(first, None)}
        estimated = not known.size and _numeric(time) and np.isnan(x[0, first]).any()
        for label, times in blocks.items():
            block = ds.isel({TIME: times})
            if estimated and label == "validation":
                for name, of, values in zip(states, dims, each):
                    state = values[:, times].copy()
                    state[0, 0] = _interpolated_state(values[0], time, first)
                    block = block.assign({name: (of, state, ds[name].attrs)})
            out.append(block.assign({SPLIT: (TRAJECTORY, np.array([label], dtype="U10"))}))
        said.append(
            f"one recording of {steps:,} intervals, split in time: training to "
            f"{_short(time[last])}, validation from {_short(time[first])}"
            + (", whose first state is interpolated where it is missing" if estimated else "")
        )
    text = "; ".join(said[:3]) + (f"; {len(said) - 3} more likewise" if len(said) > 3 else "")
    return out, text


def _numeric(time: NDArray | np.generic) -> bool:
    return time.dtype.kind in "fiu"


def _short(time: np.generic) -> str:
    return f"{float(time):.6g}" if _numeric(time) else str(time)


def _interpolated_state(x: NDArray, time: NDArray, at: int) -> NDArray:
    """The state (node, feature) at time number ``at`` of states (time, node, feature), missing
    values interpolated in time; those that are known on one side alone stay NaN."""
    state = x[at].copy()
    for node, feature in np.argwhere(np.isnan(state)):
        series = x[:, node, feature]
        known = np.flatnonzero(np.isfinite(series))
        if known.size and known[0] < at < known[-1]:
            state[node, feature] = np.interp(time[at], time[known], series[known])
    return state


def _splittable(ds: xr.Dataset) -> bool:
    """Whether a dataset is one recording whose split the user did not give."""
    if not isinstance(ds, xr.Dataset):
        return False
    states = [f"{STATE}_{name}" for name in types_of(ds)] if STATE not in ds else [STATE]
    if not states or any(set(ds[name].dims) != set(_dims_of(ds, name)) for name in states):
        return False
    # `simulate` labels a single trajectory too; that label was not chosen by the user.
    check_split(ds)
    labelled = SPLIT in ds and not (
        record(ds).get("kind") == "simulation" and list(texts(ds[SPLIT].values)) == ["train"]
    )
    numbers = all(ds[name].dtype.kind in "fiu" for name in states)
    return ds.sizes[TRAJECTORY] == 1 and ds.sizes[TIME] > _SHORTEST and numbers and not labelled


def _dims_of(ds: xr.Dataset, state: str) -> tuple[str, ...]:
    """The dims of ``state``, or of ``state_TYPE``."""
    suffix = state.removeprefix(STATE)
    return tuple(f"{dim}{suffix}" if dim in (NODE, FEATURE) else dim for dim in STATE_DIMS)


def cut_windows(ds: xr.Dataset, steps: int, every: int | None = None) -> xr.Dataset:
    """A recording cut into windows of ``steps`` intervals, as trajectories of one dataset.

    ``every``: intervals from the start of one window to the next (``steps`` by default: they share
    one time). Times count from the start of each window; the coordinate ``start`` (trajectory,) is
    its time in the recording. Useful to score a simulator over many starts:
    ``evaluate(result, cut_windows(result.test_set(), 100))``. Raises `InvalidOption`.
    """
    length = ds.sizes[TIME] - 1
    if not 1 <= steps <= length:
        raise InvalidOption(
            "a window is longer than the recording, or holds no interval",
            got=f"steps={steps}",
            allowed=f"1 to {length}",
            fix="give a shorter window",
        )
    time = ds[TIME].values
    starts = np.arange(0, length - steps + 1, every or steps)
    windows = [
        ds.isel({TIME: slice(int(first), int(first) + steps + 1)}).assign_coords(
            {TIME: time[: steps + 1] - time[0]}
        )
        for first in starts
    ]
    varying = [name for name in ds.data_vars if TRAJECTORY in ds[name].dims]
    if EDGE_WEIGHT in ds and TIME in ds[EDGE_WEIGHT].dims and EDGE_WEIGHT not in varying:
        # Weights that vary in time are others in each window: `concat` adds the axis.
        varying.append(EDGE_WEIGHT)
    out = xr.concat(
        windows, TRAJECTORY, data_vars=varying, coords="minimal", compat="override", join="override"
    )
    out[TIME].attrs.update(ds[TIME].attrs)
    out = out.assign_coords({TRAJECTORY: np.arange(out.sizes[TRAJECTORY])})
    repeated = np.repeat(time[starts], ds.sizes[TRAJECTORY])
    return out.assign_coords(start=(TRAJECTORY, repeated, dict(ds[TIME].attrs)))


# ---- windows to train on --------------------------------------------------------------------------


@dataclass(frozen=True)
class Windows:
    """The windows of a run. ``longest`` intervals, None for whole trajectories; ``curriculum`` as in
    `TrainConfig`; ``text`` what was decided, None where the preset's windows are used as they are."""

    longest: int | None
    curriculum: tuple[tuple[int, float], ...]
    text: str | None


def choose_windows(
    config: TrainConfig,
    arrays: Sequence[Arrays],
    train: NDArray[np.int64],
    *,
    split_in_time: bool = False,
    window: float | None = None,
    max_window: float | None = None,
    time_unit: str = "1",
) -> Windows:
    """The windows to train ``arrays`` on, of which ``train`` numbers the training trajectories
    through all datasets; ``split_in_time``: they are parts of one recording.

    ``window``: every window has this length, in the unit of time of the data. ``max_window``: the
    curriculum ends at this length. Without either the curriculum of the preset ends in windows as long
    as the trajectories where these have at most 200 intervals; else, and for parts of one recording, at
    four memories of the data (see `memory`), at least 10 and at most 200 intervals, and its earlier
    windows keep their share of the longest. Raises `InvalidOption` for lengths below one time step.
    """
    ends = np.cumsum([a.trajectories for a in arrays])
    holding = np.unique(np.searchsorted(ends, train, side="right"))
    training = [arrays[number] for number in holding] or list(arrays)
    steps = min(a.steps for a in arrays)
    recorded = min(a.steps for a in training)
    long = split_in_time or recorded > LONG
    step = float(np.mean([(a.time[-1] - a.time[0]) / a.steps for a in arrays]))
    unit = "" if time_unit in ("", "1") else f" {time_unit}"

    def span(intervals: int) -> str:
        return f"{intervals * step:.4g}{unit} ({intervals} intervals)"

    for name, value in (("window", window), ("max_window", max_window)):
        if value is not None and value < 0.5 * step:
            raise InvalidOption(
                f"{name} is shorter than one time step of the data",
                got=f"{name}={value:g}{unit}",
                allowed=f"at least {step:.4g}{unit}; the recording lasts {steps * step:.4g}{unit}",
                fix=f"{name} is a length of time: give {name}={10 * step:.4g} for ten time steps",
            )
    if window is not None:
        longest = _intervals(window, step, steps)
        text = f"all windows last {span(longest)}: window={window:g}"
        return Windows(longest, ((longest, 1.0),), text)
    if max_window is not None:
        longest = _intervals(max_window, step, steps)
        text = f"the longest windows last {span(longest)}: max_window={max_window:g}"
    elif long:
        remembered = max(_memory(a) for a in training)
        wanted = round(_MEMORIES * remembered)
        longest = min(max(wanted, _LEAST), LONG, steps)
        why = f"{_MEMORIES:g} times the memory of the data, {span(remembered)}"
        if longest != wanted:
            limit = "at most" if wanted > longest else "at least"
            why += f", {limit} {longest} intervals"
        text = f"the longest windows last {span(longest)} of {recorded:,} intervals: {why}"
    else:
        return Windows(None, config.curriculum, None)
    curriculum = config.curriculum or ((0, 1.0),)
    if long:
        stages = tuple(
            (longest if w <= 0 else min(longest, max(1, round(w * longest / _PRESET))), share)
            for w, share in curriculum
        )
    else:
        stages = tuple((longest if w <= 0 else min(w, longest), share) for w, share in curriculum)
    return Windows(longest, stages, text)


# ---- first states of windows where values are missing ----------------------------------------------


def interpolate_starts(
    arrays: Sequence[Arrays],
) -> tuple[list[Arrays], list[NDArray[np.bool_]] | None, str | None]:
    """Arrays whose missing values are interpolated in time, the times (time,) of every trajectory at
    which a window may start, and what was done, as text; None where the known times suffice.

    A window needs a first state. Where less than a tenth of the times have a wholly known one, those
    count too whose missing values lie within half a memory of the data of known ones, before and
    after. The masks stay: interpolated values are never compared with a prediction.
    """
    masks = [a.mask for a in arrays]
    if all(mask is None for mask in masks):
        return list(arrays), None, None
    whole: list[NDArray[np.bool_]] = [
        np.ones(a.x.shape[:2], bool) if a.mask is None else np.asarray(a.mask.all(axis=(2, 3)))
        for a in arrays
    ]
    share = sum(int(w.sum()) for w in whole) / sum(w.size for w in whole)
    if share >= _KNOWN_STARTS:
        return list(arrays), None, None
    filled: list[Arrays] = []
    starts: list[NDArray[np.bool_]] = []
    for each, known in zip(arrays, whole):
        if each.mask is None:
            filled.append(each)
            starts += [known[row] for row in range(len(known))]
            continue
        reach = max(1, _memory(each) // 2)
        x, near = _interpolated(each, reach)
        filled.append(replace(each, x=x))
        starts += [known[row] | near[row] for row in range(len(known))]
    usable = sum(int(start.sum()) for start in starts)
    text = (
        f"the whole state is known at {share:.2%} of the times; first states of windows are "
        f"interpolated in time where it is not, so that windows start at "
        f"{usable / sum(w.size for w in whole):.0%} of the times"
    )
    return filled, starts, text


def _interpolated(arrays: Arrays, reach: int) -> tuple[NDArray, NDArray[np.bool_]]:
    """States with missing values interpolated, and (trajectory, time) whether all of them are within
    ``reach`` intervals of known ones on both sides."""
    assert arrays.mask is not None
    x = arrays.x.copy()
    near = np.ones(x.shape[:2], bool)
    every = np.arange(x.shape[1])
    columns, masks = x.reshape(*x.shape[:2], -1), arrays.mask.reshape(*x.shape[:2], -1)
    for row in range(x.shape[0]):
        for column in range(columns.shape[2]):
            known = np.flatnonzero(masks[row, :, column])
            if len(known) == len(every):
                continue
            if not len(known):  # never known in this trajectory: as its first state was filled
                columns[row, :, column] = columns[row, 0, column]
                continue
            after = np.searchsorted(known, every)
            later = known[after.clip(max=len(known) - 1)]
            # At a known time the one before is that time too.
            before = known[(np.searchsorted(known, every, side="right") - 1).clip(min=0)]
            close = (np.abs(later - every) <= reach) & (np.abs(every - before) <= reach)
            near[row] &= close & (after < len(known)) & (every >= known[0])
            values = columns[row, known, column]
            columns[row, :, column] = np.interp(
                arrays.time, arrays.time[known], values.astype(np.float64)
            )
    return x, near


def _intervals(length: float, step: float, steps: int) -> int:
    return steps if length >= steps * step else max(1, round(length / step))


def _memory(arrays: Arrays) -> int:
    x = arrays.x
    if arrays.types is not None:
        x = arrays.known.reshape(*x.shape[:2], 1, -1)[..., arrays.real.ravel()]
    elif arrays.mask is not None:
        x = np.where(arrays.mask, x, np.nan)
    return memory(x, LONG)
