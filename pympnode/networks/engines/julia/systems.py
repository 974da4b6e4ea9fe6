"""Which systems Julia integrates, and the call that does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....graph import Graph
from .client import JuliaClient
from .program import edges_of

if TYPE_CHECKING:
    from ...integrate import Solution

# the class of a system in pympnode.systems -> its name in the bundled Julia package
KNOWN = {
    "gene.Gene": "gene",
    "gene.GeneHotSpots": "gene",
    "heat.Heat": "heat",
    "kuramoto.ControlledKuramoto": "kuramoto",
    "kuramoto.Kuramoto": "kuramoto",
    "lorenz.DiagonalLorenz": "lorenz",
    "lorenz.Lorenz": "lorenz",
    "pendulum.CoupledPendulum": "coupled_pendulum",
}


def julia_name(system: Any) -> str | None:
    """The system's name in Julia; None for one that only Python knows, a subclass among them."""
    kind = type(system)
    room, _, module = kind.__module__.rpartition(".")
    return KNOWN.get(f"{module}.{kind.__name__}") if room == "pympnode.networks.systems" else None


def reason_for_python(system: Any) -> str | None:
    """None, or why a system is integrated in Python under this engine too."""
    if julia_name(system) is not None:
        return None
    return f"the bundled Julia package has no system {getattr(system, 'name', system)!r}"


def solve(
    client: JuliaClient,
    system: Any,
    x0: NDArray[np.float64],
    graph: Graph,
    parameters: dict[str, Any],
    times: NDArray[np.float64],
    tolerance: float,
    controls: NDArray[np.float64] | None,
) -> Solution:
    """Integrate in Julia. A trajectory that fails is NaN from there on, and `Solution` says why."""
    from ...integrate import Failure, Solution

    times = np.asarray(times, np.float64)
    made = client.call(
        "simulate",
        system=julia_name(system),
        x0=np.asarray(x0, np.float64),
        time=times,
        graph=edges_of(graph),
        parameters={name: plain(value) for name, value in parameters.items()},
        tolerance=float(tolerance),
        u=None if controls is None else np.asarray(controls, np.float64),
    )
    x, codes = made["x"], made["retcode"]
    failures = []
    for trajectory, code in enumerate(codes):
        if code == "Success":
            continue
        lost = np.argwhere(~np.isfinite(x[trajectory]))
        time, node, feature = lost[0] if len(lost) else (len(times) - 1, 0, 0)
        reason = f"Tsit5 stopped with {code}"
        failures.append(
            Failure(trajectory, int(node), int(feature), float(times[max(time - 1, 0)]), reason)
        )
    status = np.array([code != "Success" for code in codes], dtype=np.int8)
    return Solution(
        x=x,
        status=status,
        failures=tuple(failures),
        evaluations=made["evaluations"],
        steps=made["accepted"],
        rejected=made["rejected"],
        method="tsit5 (Julia)",
        rtol=tolerance,
        atol=tolerance,
    )


def plain(value: Any) -> Any:
    """A parameter as the protocol carries it."""
    return np.asarray(value, np.float64) if np.ndim(value) else float(value)
