"""Public names refer to the same objects, whatever was imported before."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType

import pytest

PACKAGES = (
    "systems", "networks", "networks.graphs", "particles", "particles.graphs", "plotting",
    "experiments",
)  # fmt: skip


@pytest.mark.parametrize("name", ["", *PACKAGES])
def test_no_module_has_the_name_of_a_public_function(name: str) -> None:
    """Importing a.b sets the attribute b of a: a module of that name would hide the function."""
    package = import_module(f"pympnode.{name}".rstrip("."))
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    public = {n for n in package.__all__ if not isinstance(getattr(package, n), ModuleType)}
    assert modules & public == set()


def test_every_public_name_exists() -> None:
    for name in ("", *PACKAGES):
        package = import_module(f"pympnode.{name}".rstrip("."))
        assert package.__all__
        for public in package.__all__:
            assert getattr(package, public) is not None, f"{package.__name__}.{public}"
