"""Systems by name: the built-in ones, whose modules are imported on first use, and registered ones."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..errors import InvalidOption, one_line, unknown_name
from .base import System

_BUILT_IN = {
    "coulomb": "particles.systems.coulomb:Coulomb",
    "gravity": "particles.systems.gravity:Gravity",
    "coupled_pendulum": "networks.systems.pendulum:CoupledPendulum",
    "fitzhugh_nagumo": "networks.systems.fitzhugh_nagumo:FitzHughNagumo",
    "gene": "networks.systems.gene:Gene",
    "gene_hot_spots": "networks.systems.gene:GeneHotSpots",
    "heat": "networks.systems.heat:Heat",
    "kuramoto": "networks.systems.kuramoto:Kuramoto",
    "kuramoto_controlled": "networks.systems.kuramoto:ControlledKuramoto",
    "lorenz": "networks.systems.lorenz:Lorenz",
    "lorenz_diagonal": "networks.systems.lorenz:DiagonalLorenz",
    "pendulum": "networks.systems.pendulum:Pendulum",
    "quadrotors": "networks.systems.quadrotors:Quadrotors",
    "rossler": "networks.systems.rossler:Rossler",
    "sis": "networks.systems.sis:SIS",
    "swing": "networks.systems.swing:Swing",
}
# Other names of systems, which `names` leaves out: datasets and models record the first name.
_ALIASES = {"diffusion": "heat"}
_REGISTERED: dict[str, System] = {}


def names() -> tuple[str, ...]:
    """The names of all systems, built-in and registered, sorted.

    >>> "kuramoto" in names() and "gravity" in names()
    True
    """
    return tuple(sorted({*_BUILT_IN, *_REGISTERED}))


def first_name(name: str) -> str:
    """The name that a system of this name is recorded under.

    >>> first_name("diffusion"), first_name("kuramoto")
    ('heat', 'kuramoto')
    """
    return name if name in _REGISTERED else _ALIASES.get(name, name)


def get(system: str | System) -> System:
    """The system of that name; a `System` is returned as it is, a class of one is instantiated.

    Raises `UnknownName` (with the closest name), `InvalidOption`.

    >>> get("kuramoto")
    System('kuramoto': Kuramoto oscillators, three phases per node; state of a node: phase_1, phase_2, phase_3)
    """
    if not isinstance(system, str):
        if isinstance(system, type) and issubclass(system, System):
            return system()
        if isinstance(system, System):
            return system
        raise InvalidOption(
            "a system is a name or a System",
            got=f"{type(system).__name__}: {one_line(repr(system), 80)}",
            allowed=", ".join(names()),
            fix="data go into data=: train(data=ds); of arrays and tables they are made by "
            "pympnode.from_arrays and from_frame"
            if _is_data(system)
            else "define a subclass of pympnode.systems.System and pass an instance of it",
        )
    system = first_name(system)
    if system in _REGISTERED:
        return _REGISTERED[system]
    if system not in _BUILT_IN:
        is_path = "/" in system or "." in system or system.startswith("~")
        fix = f"a file of data goes into data=: train(data={system!r})" if is_path else None
        raise unknown_name("system", system, names(), fix)
    module, _, name = _BUILT_IN[system].partition(":")
    return getattr(import_module(f"..{module}", __package__), name)()


def _is_data(value: Any) -> bool:
    """Whether a value is a dataset, a table, an array, or several of them."""
    several = isinstance(value, list | tuple) and bool(value)
    first = value[0] if several else value
    return several or any(hasattr(first, name) for name in ("data_vars", "iloc", "shape"))


def register(system: System, *, replace: bool = False) -> System:
    """Register a system under its name, in this process; returns the system.

    Raises `InvalidOption` for a name that is taken, unless ``replace``.
    """
    if isinstance(system, type) and issubclass(system, System):
        system = system()
    if not isinstance(system, System) or not getattr(system, "name", ""):
        raise InvalidOption(
            "register takes a System with a name", got=repr(system), fix="set its name="
        )
    if not replace and system.name in names():
        raise InvalidOption(
            f"there is a system {system.name!r} already",
            got=repr(system.name),
            fix="choose another name, or register(..., replace=True)",
        )
    _REGISTERED[system.name] = system
    return system
