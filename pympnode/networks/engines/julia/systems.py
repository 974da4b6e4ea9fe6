"""The systems that Julia integrates, and `solve`, which does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....graph import Graph
from .client import JuliaClient
from .program import edges_of

if TYPE_CHECKING:
    from ...integrate import Solution

# Module and class in pympnode.networks.systems -> name in the bundled Julia package.
JULIA_NAMES = {
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
    """The name of a system in Julia; None if it has none, as subclasses (their field may differ)."""
    kind = type(system)
    package, _, module = kind.__module__.rpartition(".")
    if package != "pympnode.networks.systems":
        return None
    return JULIA_NAMES.get(f"{module}.{kind.__name__}")


def reason_for_python(system: Any) -> str | None:
    """None, or the reason why this engine integrates a system in Python."""
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
    """Integrate in Julia. A trajectory that fails is NaN from there on; see `Solution.failures`."""
    from ...integrate import Failure, Solution

    times = np.asarray(times, np.float64)
    solved = client.call(
        "simulate",
        system=julia_name(system),
        x0=np.asarray(x0, np.float64),
        time=times,
        graph=edges_of(graph),
        parameters={name: plain(value) for name, value in parameters.items()},
        tolerance=float(tolerance),
        u=None if controls is None else np.asarray(controls, np.float64),
    )
    x, codes = solved["x"], solved["retcode"]
    failures = []
    for trajectory, code in enumerate(codes):
        if code == "Success":
            continue
        nonfinite = np.argwhere(~np.isfinite(x[trajectory]))
        time, node, feature = nonfinite[0] if len(nonfinite) else (len(times) - 1, 0, 0)
        reason = f"Tsit5 stopped with {code}"
        failures.append(
            Failure(trajectory, int(node), int(feature), float(times[max(time - 1, 0)]), reason)
        )
    status = np.array([code != "Success" for code in codes], dtype=np.int8)
    return Solution(
        x=x, status=status, failures=tuple(failures), evaluations=solved["evaluations"],
        steps=solved["accepted"], rejected=solved["rejected"], method="tsit5 (Julia)",
        rtol=tolerance, atol=tolerance,
    )  # fmt: skip


def plain(value: Any) -> Any:
    """A parameter as a float or float64 array, for the protocol."""
    return np.asarray(value, np.float64) if np.ndim(value) else float(value)
