"""Public names keep what they mean, whatever was imported before."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import pytest

import pympnode

ROOMS = ("graphs", "systems", "data", "plotting", "experiments")


@pytest.mark.parametrize("room", ROOMS)
def test_no_module_has_the_name_of_a_public_function(room: str) -> None:
    """Importing a.b sets the attribute b of a: a module of that name would hide the function."""
    package = import_module(f"pympnode.{room}")
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert modules & set(package.__all__) == set()


def test_every_public_name_is_there() -> None:
    for name in pympnode.__all__:
        assert getattr(pympnode, name) is not None
    for room in ROOMS:
        package = import_module(f"pympnode.{room}")
        for name in package.__all__:
            assert getattr(package, name) is not None, f"{room}.{name}"
