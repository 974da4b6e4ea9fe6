"""``from_particles``: a checked dataset of the user's particle trajectories."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from numbers import Real
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import arguments, listing, names_of, text
from ..datasets.names import PARTICLE, SPLITS, TIME, TRAJECTORY, texts
from ..datasets.reading import numbers, time_grid
from ..errors import InvalidData, InvalidOption, shown_value
from ..version import __version__
from .constants import CONSTANT, LAWS, SOFTENING
from .graphs.box import Box
from .named_arrays import EACH_DIMS, PATH_DIMS, by_name, labels_of
from .schema import unpack_particles, validate_particles
from .velocities import check_velocities

UNNAMED = "particles"  # the system of data whose forces are not known


def _split(name: str, value: Any) -> Any:
    return value if isinstance(value, str) else names_of(name, value)


@arguments(system=text, split=_split)
def from_particles(
    position: Any,
    velocity: Any,
    mass: Any,
    *,
    dt: float | None = None,
    time: Any = None,
    charge: Any = None,
    side: float | Sequence[float | None] | None = None,
    system: str | None = None,
    constant: float | None = None,
    softening: float | None = None,
    split: str | Sequence[str] | None = None,
    fixed: Any = None,
    type: Any = None,
) -> xr.Dataset:
    """A checked dataset of your particle trajectories, for ``train(data=...)``.

    Main arguments:
        position, velocity: (trajectory, time, particle, axis), or (time, particle, axis) for one
            trajectory; two or three axes. Velocities are those at the times of the positions, not
            between them. They are required: differences of positions are off by the square of the
            step within a trajectory, and by the step itself at its ends, where rollouts start. An
            `xarray.DataArray` with these dims may have them in any order; its labels are taken, and
            what else is labelled is matched to them.
        mass: one number, (particle,), or (trajectory, particle).
        dt, time: the step of an even time grid, or the times (time,). Models of particles learn
            steps of one length, so that training asks for an even grid.
    Other arguments:
        charge: like ``mass``, where the particles are charged.
        side: edge length of a periodic box, a square or a cube; or one for each axis, None for open
            ones (models of cells need a square or a cube); None is open space, in which paths
            that jump as in a box are refused. Positions are wrapped into the box around the origin,
            [-side/2, side/2): those of a box that begins at 0, or paths that were never wrapped,
            may be given as they are.
        system, constant, softening: "gravity" or "coulomb" where the forces are those of
            `pympnode.simulate`, with their constant and softening length: `evaluate` then computes
            energies. With any other name, "particles" by default, forces are not known; a softening
            length may still be given, which models use as their unit of near distances (without one
            0.058 of the mean distance, less where particles come closer than twice that, as the repr of
            a model then says).
        fixed: true for particles that never move (walls, pinned atoms), false for others: (particle,) or
            (trajectory, particle). They act on others, stay where they are in a rollout, and are in no
            loss; their velocities must be 0.
        type: label of the kind of each particle, numbers or text, in the same shapes. Models take it
            as an input.
        split: "train", "validation" or "test" for each trajectory, or one word for all.
    Returns: an `xarray.Dataset` as `pympnode.particles.schema` describes it, float64.
    Raises: `InvalidData`, `InvalidOption`: got, allowed, fix. Trajectories of different length, or
        of different numbers of particles, go into datasets of their own; `train` takes a list.

    >>> import numpy as np
    >>> t = 0.1 * np.arange(21)[:, None]                        # two particles, one circle
    >>> x = np.stack([np.cos(t + [0, np.pi]), np.sin(t + [0, np.pi])], axis=-1)
    >>> v = np.stack([-np.sin(t + [0, np.pi]), np.cos(t + [0, np.pi])], axis=-1)
    >>> ds = from_particles(x, v, mass=1.0, dt=0.1)
    >>> dict(ds.sizes)
    {'trajectory': 1, 'time': 21, 'particle': 2, 'axis': 2}
    """
    labels = labels_of(position)
    if dt is None and time is None and TIME in labels:
        time = position[TIME].values
    position = by_name("position", position, PATH_DIMS, {})
    velocity = by_name("velocity", velocity, PATH_DIMS, labels)
    mass = by_name("mass", mass, EACH_DIMS, labels)
    charge = by_name("charge", charge, EACH_DIMS, labels)
    fixed = by_name("fixed", fixed, EACH_DIMS, labels)
    type = by_name("type", type, EACH_DIMS, labels)
    x = _paths("position", position)
    if velocity is None:
        raise InvalidData(
            "particles need velocities",
            got="velocity=None",
            allowed=f"like position: shape {np.shape(position)}",
            fix="store them with the positions; np.gradient(position, dt, axis=-3, edge_order=2) "
            "stands in for them where a second-order error will do (not across a border)",
        )
    v = _paths("velocity", velocity)
    if v.shape != x.shape:
        raise InvalidData(
            "velocity does not fit position",
            got=f"shapes {np.shape(velocity)} and {np.shape(position)}",
            allowed="the same shape",
            fix="give velocities at the times of the positions",
        )
    trajectories, count, particles, _ = x.shape
    times = time_grid(count, dt, time, "position", "(trajectory, time, particle, axis)")
    box = _box(side, x.shape[-1])
    open_axes = np.isinf(box.sides(x.shape[-1]))
    if open_axes.any():
        _refuse_jumps(x[..., open_axes], v[..., open_axes], times)
    check_velocities(x, v, times, box)
    if system in LAWS and isinstance(box.side, tuple):
        raise InvalidOption(
            f"the forces of {system} are known in squares, cubes and open space",
            got=f"side={side!r}",
            allowed="one number, or None",
            fix="leave system out: models are trained in any box",
        )
    parameters = _physics(system, charge, constant, softening)
    ds = unpack_particles(
        box.wrap(x),
        v,
        _each("mass", mass, trajectories, particles),
        times,
        charge=None if charge is None else _each("charge", charge, trajectories, particles),
        split=None if split is None else _labels(split, trajectories),
        fixed=None if fixed is None else _fixed(fixed, x, v),
        type=None if type is None else texts(_marks("type", type, trajectories, particles)),
        about={
            "kind": "given",
            "system": UNNAMED if system is None else str(system),
            "parameters": {**parameters, "side": _recorded(box)},
            "version": __version__,
        },
    )
    named = {dim: labels[dim] for dim in (PARTICLE, TRAJECTORY) if dim in labels}
    return validate_particles(ds.assign_coords(named))


# ---- checks -----------------------------------------------------------------------------------


def _paths(name: str, values: Any) -> NDArray[np.float64]:
    array = numbers(name, values)
    array = array[None] if array.ndim == 3 else array
    if array.ndim != 4 or array.shape[-1] not in (2, 3):
        raise InvalidData(
            f"{name} has the wrong shape",
            got=f"shape {np.shape(values)}",
            allowed="(trajectory, time, particle, axis) or (time, particle, axis), 2 or 3 axes",
            fix="np.moveaxis puts axes in order; one particle is x[..., None, :]",
        )
    _finite(name, array)
    return array


def _each(name: str, values: Any, trajectories: int, particles: int) -> NDArray[np.float64]:
    """``values`` for each particle of each trajectory: (trajectory, particle)."""
    array = numbers(name, values)
    if array.shape not in ((), (particles,), (trajectories, particles)):
        raise InvalidData(
            f"{name} does not fit position",
            got=f"shape {array.shape}",
            allowed=f"one number, ({particles},), or ({trajectories}, {particles}): "
            "(particle,) or (trajectory, particle)",
            fix="it is constant in time: leave the time axis out" if array.ndim > 1 else None,
        )
    _finite(name, array)
    if name == "mass" and (array < 0).any():
        raise InvalidData("a mass cannot be negative", got=float(array.min()), allowed=">= 0")
    return np.array(np.broadcast_to(array, (trajectories, particles)))


def _marks(name: str, values: Any, trajectories: int, particles: int) -> NDArray:
    """Labels or marks of each particle of each trajectory: (trajectory, particle)."""
    array = np.asarray(values)
    if array.shape not in ((particles,), (trajectories, particles)):
        raise InvalidData(
            f"{name} does not fit position",
            got=f"shape {array.shape}",
            allowed=f"({particles},) or ({trajectories}, {particles}): (particle,) or (trajectory, "
            "particle)",
        )
    return np.array(np.broadcast_to(array, (trajectories, particles)))


def _fixed(values: Any, x: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which particles are fixed (trajectory, particle); those do not move."""
    marks = _marks("fixed", values, x.shape[0], x.shape[2])
    if marks.dtype != bool:
        raise InvalidData(
            "fixed is true or false for each particle",
            got=f"dtype {marks.dtype}",
            allowed="bool",
            fix="np.isin(np.arange(particles), numbers) marks particles by their numbers",
        )
    moving = ((np.ptp(x, axis=1) > 0) | (v != 0).any(1)).any(-1) & marks
    if moving.any():
        trajectory, particle = np.argwhere(moving)[0].tolist()
        raise InvalidData(
            "fixed particles move",
            got=f"{int(moving.sum())}; first particle {particle} of trajectory {trajectory}",
            allowed="the same position at all times, velocity 0",
            fix="velocity = np.where(fixed[:, None], 0, velocity), or leave fixed out",
        )
    return marks


def _finite(name: str, array: NDArray[np.float64]) -> None:
    bad = ~np.isfinite(array)
    if bad.any():
        names: tuple[str, ...] = ("trajectory", "time", "particle", "axis")
        if array.ndim < 4:
            names = ("trajectory", "particle")[2 - array.ndim :]
        first = ", ".join(f"{n} {i}" for n, i in zip(names, np.argwhere(bad)[0].tolist()))
        raise InvalidData(
            f"{name} holds values that are not finite",
            got=f"{int(bad.sum())} of {bad.size}, the first at {first or 'its only value'}",
            allowed="finite numbers: missing values of particles are not supported",
            fix="cut trajectories before they end, and leave out those with gaps",
        )


def _refuse_jumps(
    x: NDArray[np.float64], v: NDArray[np.float64], times: NDArray[np.float64]
) -> None:
    """Raise InvalidData for positions that jump, as in a periodic box, without the velocity to do so."""
    step = np.abs(np.diff(x, axis=1))
    covered = 0.5 * np.abs(v[:, 1:] + v[:, :-1]) * np.diff(times)[:, None, None]
    bad = (step > 0.5 * np.ptp(x, axis=(0, 1, 2))) & (covered < 0.1 * step)
    if bad.any():
        trajectory, time, particle, axis = np.argwhere(bad)[0].tolist()
        first = (trajectory, time, particle, axis)
        raise InvalidData(
            "positions jump further than velocities allow",
            got=f"{int(bad.sum())} times; first particle {particle} of trajectory {trajectory} by "
            f"{step[first]:.4g} after time {times[time]:.4g}, where its velocity covers "
            f"{covered[first]:.4g}",
            allowed="steps that velocities cover",
            fix="give the length of a periodic box with side=, or unwrapped positions",
        )


def _physics(
    system: str | None, charge: Any, constant: float | None, softening: float | None
) -> dict[str, float]:
    """constant and softening, as far as they are given."""
    if system in LAWS and (charge is not None) != (system == "coulomb"):
        raise InvalidData(
            f"{system} {'has no charges' if charge is not None else 'needs charges'}",
            got=f"system={system!r} {'with' if charge is not None else 'without'} charge=",
            allowed='system="coulomb" with charge=, system="gravity" without',
            fix="leave system out where the forces are others",
        )
    given = {
        name: float(_positive(name, value, zero=True))
        for name, value in (("constant", constant), ("softening", softening))
        if value is not None
    }
    if system in LAWS and len(given) < 2:
        raise InvalidOption(
            f"the forces of {system} need their constant and their softening length",
            got=", ".join(given) or "neither",
            allowed="constant= and softening=, in the units of the data",
            fix=f"constant={CONSTANT}, softening={SOFTENING} are those of simulate; leave system out "
            "where the forces are others",
        )
    if system not in LAWS and "constant" in given:
        raise InvalidOption(
            "a constant belongs to known forces",
            got=f"constant={constant!r}, system={system!r}",
            allowed=f"with system={' or '.join(map(repr, LAWS))}",
            fix="leave constant out, or name the system",
        )
    return given


def _box(side: Any, dims: int) -> Box:
    """The box of one side, or of one for each axis."""
    if hasattr(side, "data_vars"):
        raise InvalidOption("side is one number, or one for each axis", got=shown_value(side))
    if not isinstance(side, str | bytes) and isinstance(side, Iterable) and np.ndim(_flat(side)):
        side = listing("side", side)
        if len(side) != dims:
            raise InvalidOption(
                "a box has a side for each axis",
                got=f"{len(side)} sides for {dims} axes",
                allowed=f"{dims} sides, or one number",
                fix="None for axes that are open",
            )
        return Box(tuple(_side(one) for one in side))
    return Box(_side(side))


def _flat(side: Any) -> Any:
    """``side`` itself where it is a number, else a list of as many zeros as it has entries."""
    try:
        return [0] * len(side)
    except TypeError:
        return 0


def _side(value: Any) -> float:
    """The length of a side; infinity for an open axis."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    is_open = value is None or (isinstance(value, float) and value == inf)
    return inf if is_open else _positive("side", value)


def _recorded(box: Box) -> Any:
    """The side as the record of a dataset has it: None for what is open."""
    if not isinstance(box.side, tuple):
        return box.side if box.periodic else None
    return [one if np.isfinite(one) else None for one in box.side]


def _positive(name: str, value: Any, zero: bool = False) -> float:
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    good = isinstance(value, Real) and not isinstance(value, bool)
    if not good or not 0 <= value < 1e300 or (value == 0 and not zero):
        raise InvalidOption(
            f"{name} is one number",
            got=shown_value(value),
            allowed=f"{'>=' if zero else '>'} 0",
            fix="leave side out for open space; one for each axis of a rectangle"
            if name == "side"
            else f"leave {name} out where it is not known",
        )
    return float(value)


def _labels(split: str | Sequence[str], trajectories: int) -> NDArray[np.str_]:
    labels = [split] * trajectories if isinstance(split, str) else [str(s) for s in split]
    if len(labels) != trajectories or not set(labels) <= set(SPLITS):
        raise InvalidData(
            "split labels each trajectory",
            got=f"{len(labels)}: {', '.join(labels[:6])}",
            allowed=f"{trajectories} of {', '.join(SPLITS)}",
        )
    return np.array(labels)
