"""Engines: what turns a specification and a parameter vector into rollouts, losses, gradients."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...config import one_of
from ...errors import unknown_name

if TYPE_CHECKING:
    from ..spec import ModelSpec
    from .base import Engine

logger = logging.getLogger("pympnode.networks.engines")

NAMES = ("torch", "julia")
TORCH_KERNELS = ("numba", "torch", "eager")

# solve(x0, graph, parameters, times, tolerance, controls=...) -> data.integrate.Solution
Solve = Callable[..., Any]


def engine(name: str) -> Engine:
    """The engine of that name ("torch", "julia"); imported on first use."""
    if name == "torch":
        from .torch.engine import TorchEngine

        return TorchEngine()
    if name == "julia":
        from .julia.engine import JuliaEngine

        return JuliaEngine()
    raise unknown_name("engine", name, ("auto", *NAMES))


def choose(
    name: str = "auto",
    *,
    kernel: str = "auto",
    device: str = "auto",
    weighted: bool = False,
    varied: bool = False,
    spec: ModelSpec | None = None,
) -> tuple[str, str]:
    """(engine, why) for ``name`` = "auto" | "torch" | "julia".

    "auto" takes Julia only where ``pympnode julia install`` was run for this environment, never
    because a julia is on PATH, and not for a device or a kernel that it has not, nor for ``weighted``
    graphs, node attributes ``varied`` by trajectory or a ``spec`` that it cannot run; it fetches and
    starts no engine.
    """
    one_of("engine", name, ("auto", *NAMES))
    if name != "auto":
        return name, "asked for"
    from .julia import installed

    record = installed.read()
    if record is None:
        chosen, why = "torch", "the embedded engine; Julia is not installed for this environment"
    elif kernel in TORCH_KERNELS or device not in ("auto", "cpu"):
        chosen, why = "torch", f"the embedded engine has kernel={kernel!r} and device={device!r}"
    elif weighted:
        chosen, why = "torch", "the embedded engine; Julia takes no weights of edges yet"
    elif varied:
        chosen, why = "torch", "the embedded engine; Julia takes no attributes by trajectory yet"
    elif spec is not None and (reason := engine("julia").supports(spec)) is not None:
        chosen, why = "torch", f"the embedded engine; Julia cannot run {reason}"
    else:
        chosen, why = "julia", f"installed for this environment ({record['path']})"
    logger.info("engine %s: %s", chosen, why)
    return chosen, why


def solver_for(name: str, system: Any) -> tuple[Solve | None, str]:
    """What solves ``system`` under the engine ``name``: None for the solver in Python, and why."""
    if name != "julia":
        return None, "the solver in Python"
    from .julia.systems import reason_for_python

    reason = reason_for_python(system)
    if reason is not None:
        return None, f"the solver in Python: {reason}"
    chosen = engine(name)
    return functools.partial(chosen.integrate, system, check=False), "Tsit5 in Julia"
