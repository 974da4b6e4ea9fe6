"""Experiments: the published tables and figures as TOML files, and one way to run them.

``names()`` lists those that come with the package; ``experiment(name)`` is one of them, or that of a
TOML file of your own; ``run(name, budget="20m", seeds=3)`` trains and judges its rows and goes on
where it stopped; ``results`` and ``table`` show what is finished.
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
