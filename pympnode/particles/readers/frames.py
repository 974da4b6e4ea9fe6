"""Frames of a trajectory, as readers collect them, to a dataset with the units of their library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ...datasets.names import CHARGE, MASS, POSITION, TIME, VELOCITY
from ...datasets.reading import numbers
from ...errors import InvalidData, InvalidOption
from ...training.ranges import warn_user
from ..from_particles import from_particles

DIFFERENCES = "differences"


@dataclass(frozen=True)
class Units:
    """Names of units; the velocity is in length / time."""

    length: str
    time: str
    mass: str
    charge: str = "e"


@dataclass(frozen=True, eq=False)
class Frames:
    """One trajectory of ``library``, in its ``units``.

    position: (time, particle, axis). velocity: like it, or None where the library has none. mass:
    (particle,). time: (time,), or None where the library has none. box: (time, axis), the lengths
    of a periodic box with the axes of the coordinates, inf in an open direction; None in open space.
    Where the box begins does not matter: positions are compared across its borders.
    """

    library: str
    units: Units
    position: NDArray
    velocity: NDArray | None
    mass: NDArray
    time: NDArray | None
    box: NDArray | None = None
    charge: NDArray | None = None


def to_dataset(
    frames: Frames,
    *,
    velocity: Any,
    dt: float | None,
    time: Any,
    split: str | None,
    no_velocity: str,
    **physics: Any,
) -> xr.Dataset:
    """The checked dataset; ``no_velocity`` is the advice where the library has no velocities."""
    if not len(frames.position):
        raise InvalidData(
            f"the trajectory of {frames.library} has no frames", got=0, allowed="at least two"
        )
    x = numbers("position", frames.position)
    if dt is not None and time is not None:
        raise InvalidOption("give the time step or the times", got="both", allowed="dt= or time=")
    if dt is not None:
        times = None
    elif time is not None:
        times = numbers("time", time)
    elif frames.time is None:
        raise InvalidData(
            f"{frames.library} keeps no times of its frames",
            got="neither dt= nor time=",
            allowed=f"dt= between frames, or time=, in {frames.units.time}",
            fix="dt is the time step of the simulation times the steps between frames",
        )
    else:
        times = even(numbers("time", frames.time))
    lengths = _constant_box(frames)
    # from_particles takes one length; a box of other lengths is for it to take or to refuse.
    side = None if lengths is None else lengths[0] if len(set(lengths)) == 1 else tuple(lengths)
    v = _velocities(frames, velocity, x, times if times is not None else dt, lengths, no_velocity)
    made = from_particles(
        x,
        v,
        frames.mass,
        dt=dt,
        time=times,
        charge=frames.charge,
        side=side,  # type: ignore[arg-type]
        split=split,
        **physics,
    )
    units = frames.units
    named = {
        POSITION: units.length,
        VELOCITY: f"{units.length} / {units.time}",
        MASS: units.mass,
        CHARGE: units.charge,
        TIME: units.time,
    }
    for name, unit in named.items():
        if name in made.variables:
            made[name].attrs["units"] = unit
    return made


def even(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Times that are even but for the rounding of single precision, in which files keep them."""
    if times.size < 3:
        return times
    grid = np.linspace(times[0], times[-1], times.size)
    slack = 2 * float(np.finfo(np.float32).eps) * np.abs(times).max()
    return grid if np.abs(times - grid).max() <= slack else times


def same_particles(counts: list[int], library: str) -> None:
    """Raise InvalidData where frames differ in their number of particles."""
    if len(set(counts)) > 1:
        at = next(i for i, count in enumerate(counts) if count != counts[0])
        raise InvalidData(
            f"frames of {library} differ in their number of particles",
            got=f"{counts[0]} in the first, {counts[at]} in frame {at}",
            allowed="one number of particles",
            fix=f"read the frames before {at}, and those from there, as two datasets; train takes a "
            "list",
        )


def given_mass(mass: Any, count: int) -> NDArray[np.float64]:
    """The ``mass=`` of a user: one number, or one for each particle."""
    array = numbers("mass", mass)
    if array.shape not in ((), (count,)):
        raise InvalidData(
            "mass does not fit the particles", got=f"shape {array.shape}", allowed=f"({count},)"
        )
    return np.broadcast_to(array, (count,)).copy()


def _constant_box(frames: Frames) -> list[float] | None:
    if frames.box is None or not np.isfinite(frames.box).any():
        return None
    box = np.asarray(frames.box, np.float64)
    first = box[0]
    change = np.abs(np.where(np.isfinite(box), box / first - 1, 0.0)).max()
    # Boxes of constant volume differ by the rounding of single precision.
    if np.any(np.isfinite(box) != np.isfinite(first)) or change > 1e-5:
        raise InvalidData(
            "the box changes in time",
            got=f"lengths {_text(box.min(0))} to {_text(box.max(0))} {frames.units.length}",
            allowed="a box of constant size",
            fix="a simulation at constant volume (NVE, NVT)",
        )
    lengths = [float(f"{length:.7g}") for length in first]
    return lengths


def _text(values: NDArray) -> str:
    return " x ".join(f"{value:.6g}" for value in values)


def _velocities(
    frames: Frames,
    given: Any,
    x: NDArray[np.float64],
    times: Any,
    lengths: list[float] | None,
    advice: str,
) -> Any:
    if isinstance(given, str):
        if given != DIFFERENCES:
            raise InvalidOption(
                "velocity is an array, or differences", got=repr(given), allowed=f'"{DIFFERENCES}"'
            )
        return _by_differences(x, times, lengths)
    if given is not None:
        return given
    if frames.velocity is None:
        raise InvalidData(
            f"the trajectory of {frames.library} has no velocities",
            got="positions alone",
            allowed=f"velocities in {frames.units.length} / {frames.units.time}",
            fix=f'{advice}; velocity="differences" estimates them from the positions, off by the '
            "square of the time between frames",
        )
    return frames.velocity


def _by_differences(
    x: NDArray[np.float64], times: Any, lengths: list[float] | None
) -> NDArray[np.float64]:
    """Second-order differences of the paths, unwrapped: no step is longer than half the box."""
    if len(x) < 3:
        raise InvalidData("differences need three frames", got=len(x), allowed=">= 3")
    path = x
    if lengths is not None:
        length = np.array(lengths)
        steps = np.diff(x, axis=0)
        finite = np.isfinite(length)
        periods = np.where(finite, length, 1.0)
        steps = steps - np.where(finite, periods * np.round(steps / periods), 0.0)
        path = np.concatenate([x[:1], x[:1] + np.cumsum(steps, axis=0)])
    return np.gradient(path, times, axis=0, edge_order=2)


def warn_numbered_frames(times: NDArray, library: str) -> None:
    """A warning where times are 0, 1, 2, ...: the numbers of frames, where a format has no times."""
    if len(times) > 2 and np.array_equal(times, np.arange(len(times))):
        warn_user(
            f"{library} counts frames, 0, 1, 2, ..., where a format has no times, and these are the "
            "times of this trajectory: pass dt= in ps if they are frames"
        )
