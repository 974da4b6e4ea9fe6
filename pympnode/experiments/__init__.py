"""Experiments: the published tables and figures as TOML files, and one way to run them.

``names()`` lists those that come with the package; ``experiment(name)`` is one of them, or that of a
TOML file of your own; ``run(name, budget="20m", seeds=3)`` trains and judges its rows and goes on
where it stopped; ``results`` and ``table`` show what is finished.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "Experiment": "description",
    "Row": "description",
    "Test": "description",
    "names": "catalogue",
    "experiment": "catalogue",
    "run": "running",
    "results": "finished",
    "table": "tables",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
