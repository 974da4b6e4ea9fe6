"""The solar system as a dataset of particles, from the ephemeris DE421 of the Jet Propulsion Laboratory.

    pip install "pympnode[examples]"        # brings jplephem and de421
    python examples/solar_system.py

The package `de421` carries the Chebyshev coefficients of the ephemeris (1900 to 2050, 27 MB), and
`jplephem` evaluates them: nothing is downloaded at run time. Lengths are in astronomical units, times
in days, masses in solar masses, coordinates those of the solar system's barycentre in the equatorial
frame. The task, to find the law and the masses from the orbits, is that of Lemos, Jeffrey, Cranmer,
Ho, Battaglia, "Rediscovering orbital mechanics with machine learning" (2023).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import pympnode

G = 0.01720209895**2  # au^3 / (solar mass day^2), the square of Gauss's constant
# Earth and Moon together, at their barycentre: the Moon's orbit of 27 days is a task of its own.
BODIES = (
    "Sun", "Mercury", "Venus", "Earth and Moon", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune",
    "Pluto",
)  # fmt: skip
DAYS = 30  # in a window
TRAIN, TEST = (1970, 2000), (2000, 2008)  # years: first, and first after the last


def ephemeris() -> object:
    """The ephemeris DE421, read from the files of its package."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jplephem calls this format its old one
        import de421
        from jplephem import Ephemeris

        return Ephemeris(de421)


def masses(bodies: Sequence[str] = BODIES) -> NDArray[np.float64]:
    """Masses (body,) in solar masses, from the constants of the ephemeris."""
    eph = ephemeris()
    both, ratio = eph.GMB, eph.EMRAT  # Earth and Moon together, Earth over Moon
    gm = {
        "Sun": eph.GMS, "Mercury": eph.GM1, "Venus": eph.GM2, "Earth": both * ratio / (1 + ratio),
        "Moon": both / (1 + ratio), "Mars": eph.GM4, "Jupiter": eph.GM5, "Saturn": eph.GM6,
        "Uranus": eph.GM7, "Neptune": eph.GM8, "Pluto": eph.GM9, "Earth and Moon": both,
    }  # fmt: skip
    return np.array([float(gm[name]) for name in bodies]) / float(eph.GMS)


def states(
    days: NDArray[np.float64], bodies: Sequence[str] = BODIES
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions and velocities (day, body, axis) in au and au/day at Julian dates ``days`` (day,)."""
    eph = ephemeris()
    centre = "earthmoon"  # of Earth and Moon together, whose distance is stored beside it
    shares = {"Earth": -1 / (1 + eph.EMRAT), "Moon": eph.EMRAT / (1 + eph.EMRAT)}
    found = []
    for name in bodies:
        stored = centre if name.startswith("Earth") or name == "Moon" else name.lower()
        state = np.stack(eph.position_and_velocity(stored, days))
        if name in shares:
            state = state + shares[name] * np.stack(eph.position_and_velocity("moon", days))
        found.append(state / eph.AU)  # (2, axis, day)
    x, v = np.moveaxis(np.array(found), (1, 3, 0, 2), (0, 1, 2, 3))
    return x, v


def first_day(year: int) -> float:
    """The Julian date of the first of January of a year, at noon (a date of the calendar, no more)."""
    return (
        float((np.datetime64(f"{year}-01-01") - np.datetime64("2000-01-01")).astype(int))
        + 2451545.0
    )


def windows(
    years: tuple[int, int],
    days: int = DAYS,
    *,
    every: int | None = None,
    bodies: Sequence[str] = BODIES,
    split: str | None = None,
) -> xr.Dataset:
    """Daily states in windows of ``days`` steps that start in ``years``, every ``every`` days.

    years: the first, and the first after the last. every: ``days`` by default, so that windows touch.
    """
    start, end = (first_day(year) for year in years)
    first = np.arange(start, end, days if every is None else every)
    x, v = states((first[:, None] + np.arange(days + 1)).ravel(), bodies)
    shape = (len(first), days + 1, len(bodies), 3)
    particle = xr.DataArray(x.reshape(shape), dims=("trajectory", "time", "particle", "axis"),
                            coords={"particle": list(bodies), "trajectory": first})  # fmt: skip
    return pympnode.from_particles(particle, v.reshape(shape), masses(bodies), dt=1.0, split=split)
