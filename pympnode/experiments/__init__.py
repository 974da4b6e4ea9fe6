"""Experiments: the published tables and figures as TOML files, and the function that runs them.

``names()`` lists those that come with the package; ``experiment(name)`` reads one of them, or a TOML
file of the user; ``run(name, budget="20m", seeds=3)`` trains and evaluates its rows and continues
where it stopped; ``results`` and ``table`` return the finished cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader as _lazy

if TYPE_CHECKING:
    from .catalogue import experiment, names
    from .description import Experiment, Row, Test
    from .finished import results
    from .running import run
    from .tables import table

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "catalogue": ["experiment", "names"],
        "description": ["Experiment", "Row", "Test"],
        "finished": ["results"],
        "running": ["run"],
        "tables": ["table"],
    },
)
